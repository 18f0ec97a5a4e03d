"""The preference loss against the formula of its paper over transformers' own forward pass, and in the loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import FAMILIES, tiny_net
from torch.nn.functional import logsigmoid

from shuyuan.base.files import read_json, read_jsonl
from shuyuan.base.guards import Guards
from shuyuan.prepare.chat import Encoded
from shuyuan.prepare.endings import Pair, Pairs
from shuyuan.prepare.pack import Pack, Row, tokens_of
from shuyuan.train import attention
from shuyuan.train.adapter import adapter_weights, with_adapter
from shuyuan.train.loop import Fitted, Loss, Plan, fit
from shuyuan.train.preference import Beside, Preference
from shuyuan.train.supervised import token_losses
from shuyuan.train.watch import Sample, Watch


def pairs(count: int, seed: int = 0) -> list[Pair]:
    """Random conversations with two endings; the better one may be the shorter or the longer one."""
    draw = np.random.default_rng(seed)
    made: list[Encoded] = []
    for number in range(count):
        asked = draw.integers(0, 320, int(draw.integers(2, 20))).tolist()
        for _ in range(2):
            said = draw.integers(0, 320, int(draw.integers(2, 20))).tolist()
            learned = (False,) * len(asked) + (True,) * len(said)
            made.append(Encoded((*asked, *said), learned, f"pairs.jsonl:{number + 1}"))
    return list(Pairs(made))


def log_likelihood(net: torch.nn.Module, sequence: Encoded) -> torch.Tensor:
    """What transformers says of a sequence on its own."""
    labels = torch.tensor([[i if on else -100 for i, on in zip(sequence.ids, sequence.learned, strict=True)]])
    return -net(input_ids=torch.tensor([sequence.ids]), labels=labels).loss * sequence.targets


def formula(net: torch.nn.Module, reference: torch.nn.Module, row: Sequence[Pair], beta: float) -> torch.Tensor:
    """Equation 7 of arXiv 2305.18290, summed."""
    total = torch.zeros(())
    for pair in row:
        better, worse = (log_likelihood(net, part) for part in pair.parts)
        with torch.no_grad():
            better_before, worse_before = (log_likelihood(reference, part) for part in pair.parts)
        total = total - logsigmoid(beta * (better - better_before) - beta * (worse - worse_before))
    return total


@pytest.mark.parametrize("longest", [1024, 8], ids=["short", "long"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_equal_the_formula(family: str, longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "LONGEST", longest)
    row = tuple(pairs(5))
    ours, theirs, reference = tiny_net(family), tiny_net(family), tiny_net(family, seed=1)
    ours.set_attn_implementation("packed")
    loss = Preference(beta=0.3).beside(reference).loss(ours, row)
    expected = formula(theirs, reference, row, 0.3)
    assert abs(expected.item() - 5 * math.log(2)) > 0.05, "the two nets are too alike to prove anything"
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.backward()
    for (name, weight), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad, rtol=1e-4, atol=1e-5, msg=name)
    assert reference.config._attn_implementation != "packed", "the reference is as it was"


def unshared(pair: Pair) -> Pair:
    """The same pair with its beginning twice."""
    better, worse = pair.parts
    return Pair(better.ids + worse.ids, better.learned + worse.learned, pair.source, 0, len(better.ids))


@pytest.mark.parametrize("longest", [1024, 8], ids=["short", "long"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_beginning_is_computed_once_and_exactly(
    family: str, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "LONGEST", longest)
    parts = [part for pair in pairs(2, seed=3) for part in pair.parts]
    row = (*pairs(6), *late(3), *Pairs(parts[1:3]))
    apart = tuple(unshared(pair) for pair in row)
    assert [pair.parts for pair in row] == [pair.parts for pair in apart]
    assert [pair.shared > 0 for pair in row] == [True] * 9 + [False], "the last one's conversations begin otherwise"
    assert tokens_of([row]) == tokens_of([apart]) - sum(pair.shared for pair in row)
    reference, found = tiny_net(family, seed=1), []
    for packed in (row, apart):
        net = with_adapter(tiny_net(family), 4, 2.0, 0)
        for name, weight in adapter_weights(net).items():
            weight.data = torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))) * 0.1
            weight.requires_grad_(True)
        net.set_attn_implementation("packed")
        loss = Preference(beta=0.3).beside(reference).loss(net, packed)
        loss.backward()
        found.append((loss, torch.cat([weight.grad.flatten() for weight in adapter_weights(net).values()])))
    (loss, grad), (other_loss, other_grad) = found
    torch.testing.assert_close(loss, other_loss, rtol=5e-6, atol=0)
    assert (grad - other_grad).norm() <= 5e-6 * other_grad.norm()


def late(count: int) -> list[Pair]:
    """Endings that begin alike, and one is the beginning of the other: what is learned is computed in each."""
    whole = [Encoded(pair.parts[0].ids * 3, (False,) * 3 + (True,) * (3 * pair.split - 3)) for pair in pairs(count, 2)]
    cut = [Encoded(one.ids[:-4], one.learned[:-4]) for one in whole]
    return list(Pairs([one for both in zip(whole, cut, strict=True) for one in both]))


def test_packed_equals_one_by_one() -> None:
    row = tuple(pairs(8))
    together, alone = tiny_net(), tiny_net()
    for net, rows in ((together, Pack(row_tokens=128).pack(row)), (alone, [(pair,) for pair in row])):
        net.set_attn_implementation("packed")
        loss = Preference().beside(tiny_net(seed=1))
        sum(loss.loss(net, packed) for packed in rows).backward()
    for a, b in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


def test_the_two_endings_cannot_see_each_other() -> None:
    (better, worse), (other, _) = (pair.parts for pair in pairs(2))
    net = tiny_net()
    net.set_attn_implementation("packed")
    alone, *said = (
        token_losses(net, row, 128)[: better.targets]
        for row in ((better,), (better, worse), (better, other), Pairs((better, worse)), Pairs((better, other)))
    )
    for beside in said:
        torch.testing.assert_close(beside, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dora", [False, True])
def test_it_begins_at_the_logarithm_of_two(dora: bool) -> None:
    base = tiny_net()
    net = with_adapter(base, 4, 2.0, 0, dora=dora)
    net.set_attn_implementation("packed")
    row = tuple(pairs(6))
    loss = Preference().beside(base)
    assert loss.loss(net, row).item() / 6 == pytest.approx(math.log(2), rel=1e-6)
    alone = loss.loss(net, row[:1]).item()
    if not dora:
        assert alone == torch.log(torch.tensor(2.0)).item(), "the same products in the same order: no digit is lost"
        assert loss.figures([row[:1]]) == {"accuracy": 0.0, "margin": 0.0}


def test_the_reference_reads_what_it_meets_once() -> None:
    row, reference = tuple(pairs(4)), tiny_net(seed=1)
    net = tiny_net()
    net.set_attn_implementation("packed")
    loss = Preference().beside(reference)
    loss.meet([row[:2], row[1:]])
    expected = Preference().beside(tiny_net(seed=1)).loss(net, row)
    with torch.no_grad():
        for weight in reference.parameters():
            weight.zero_()
    assert loss.loss(net, row).item() == expected.item()


# in the loop


class StopAt:
    """The real loss, and a Ctrl-C after so many rows."""

    unit = Beside.unit

    def __init__(self, loss: Beside, rows: int) -> None:
        self._loss, self.left, self.figures = loss, rows, loss.figures

    def loss(self, net: torch.nn.Module, row: Row) -> torch.Tensor:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return self._loss.loss(net, row)


def order(folder: Path, steps: int = 60) -> Plan:
    """Two rows a step, packed otherwise in each epoch, and looks at other pairs."""
    made, pack = pairs(10), Pack(row_tokens=96)

    def batch(step: int) -> tuple[Row, ...]:
        drawn = np.random.default_rng(step).permutation(len(made))[:4]
        return pack.pack(made[i] for i in drawn)

    watch = Watch(Sample(pack.pack(pairs(5, seed=1))), moments=frozenset({0, 20, 40, 60}), guards=Guards(patience=0))
    return Plan("teaching", steps, batch, 1e-2, folder, "a", watch=watch, checkpoint_every=20)


def taught(plan: Plan, stop: int = -1) -> tuple[torch.nn.Module, Fitted]:
    base = tiny_net()
    net = with_adapter(base, 4, 2.0, 0)
    loss: Loss = Preference().beside(base)
    return net, fit(net, adapter_weights(net), loss if stop < 0 else StopAt(loss, stop), plan)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Fitted, Path]:
    folder = tmp_path_factory.mktemp("straight")
    return *taught(order(folder)), folder


def test_margin_and_accuracy_rise_and_the_log_tells(straight: tuple[torch.nn.Module, Fitted, Path]) -> None:
    _, fitted, folder = straight
    log = [line for line in read_jsonl(folder / "log.jsonl") if line["step"]]
    assert fitted.losses[0] == pytest.approx(math.log(2), rel=1e-5)
    assert fitted.losses[-1] < 0.4
    assert log[-1]["accuracy"] == 1.0
    assert log[-1]["margin"] > 1 > abs(log[0]["margin"])
    assert [line["targets"] for line in log] == [4] * 60, "a pair counts once"
    for line in log:
        assert 0 <= line["accuracy"] <= 1
    first = fitted.looks[0]
    assert first.held_out_loss == pytest.approx(math.log(2), rel=1e-5)
    assert first.held_out_bits_per_byte is None, "a preference has no bits"
    assert all(look.held_out_accuracy is not None for look in fitted.looks)
    curve = read_json(folder / "curve.json")
    assert "nats a pair" in curve["curves"]
    assert "of the pairs right" in curve["curves"]
    assert "bits a byte" not in curve["curves"]


@pytest.mark.parametrize("stop", [9, 60, 110])
def test_stopped_and_resumed_equals_straight_through(
    tmp_path: Path, straight: tuple[torch.nn.Module, Fitted, Path], stop: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        taught(order(tmp_path), stop)
    net, fitted = taught(order(tmp_path))
    assert fitted.losses == straight[1].losses
    assert fitted.looks == straight[1].looks
    for a, b in zip(net.parameters(), straight[0].parameters(), strict=True):
        assert torch.equal(a, b)
    logs = [[replaced(line) for line in read_jsonl(folder / "log.jsonl")] for folder in (tmp_path, straight[2])]
    assert logs[0] == logs[1]


def replaced(line: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in line.items() if "seconds" not in name}


def test_a_pair_is_told_from_its_reverse_and_from_another_split() -> None:
    pair = pairs(1)[0]
    better, worse = pair.parts
    assert better.ids + worse.ids[pair.shared :] == pair.ids
    assert better.ids[: pair.shared] == worse.ids[: pair.shared]
    (reverse,) = Pairs([worse, better])
    assert len({pair, reverse, replace(pair, split=pair.split - 1)}) == 3
    assert pair.targets == 1
    assert better.targets + worse.targets > 1
