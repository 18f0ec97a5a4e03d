"""The loop, its loss, optimiser, checkpoints and adapters, against transformers, torch and PEFT."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import FAMILIES, tiny_net
from torch.nn.functional import cross_entropy

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, read_jsonl, write_json
from shuyuan.prepare.chat import Encoded
from shuyuan.prepare.pack import Pack, Row
from shuyuan.train import attention
from shuyuan.train.adapter import adapter_weights, with_adapter
from shuyuan.train.checkpoint import newest_checkpoint, save_checkpoint
from shuyuan.train.head import head_loss
from shuyuan.train.loop import Fitted, Loss, Plan, fit
from shuyuan.train.optimiser import AdamW
from shuyuan.train.supervised import Supervised


def sequences(count: int, seed: int = 0, longest: int = 40) -> list[Encoded]:
    """Random conversations: a question that is not learned, then an answer that is."""
    draw = np.random.default_rng(seed)
    made = []
    for number in range(count):
        size = int(draw.integers(6, longest))
        cut = int(draw.integers(1, size - 1))
        ids = tuple(int(i) for i in draw.integers(0, 320, size))
        made.append(Encoded(ids, (False,) * cut + (True,) * (size - cut), f"row {number}"))
    return made


def reference_loss(net: torch.nn.Module, row: Row) -> torch.Tensor:
    """What transformers computes for each sequence on its own, summed."""
    total = torch.zeros(())
    for sequence in row:
        ids = torch.tensor([sequence.ids])
        labels = torch.tensor([[i if on else -100 for i, on in zip(sequence.ids, sequence.learned, strict=True)]])
        total = total + net(input_ids=ids, labels=labels).loss * sequence.targets
    return total


def plan(folder: Path, rows: list[Row], steps: int, mark: str = "a", rate: float = 1e-3) -> Plan:
    return Plan("teaching", steps, lambda step: [rows[step % len(rows)]], rate, folder, mark)


@pytest.mark.parametrize("longest", [1024, 8], ids=["short", "long"])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_loss_and_gradients_equal_transformers(
    family: str, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "LONGEST", longest)  # above it, torch's own kernel computes each sequence
    row = tuple(sequences(5))
    ours, theirs = tiny_net(family), tiny_net(family)
    ours.set_attn_implementation("packed")
    loss, expected = Supervised().loss(ours, row), reference_loss(theirs, row)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.backward()
    for (name, weight), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_a_sequence_is_blind_to_its_neighbours_in_the_row() -> None:
    first, second, other = sequences(3)
    net = tiny_net()
    net.set_attn_implementation("packed")
    together = Supervised().loss(net, (first, second)) - Supervised().loss(net, (second,))
    beside_other = Supervised().loss(net, (first, other)) - Supervised().loss(net, (other,))
    torch.testing.assert_close(together, beside_other, rtol=1e-5, atol=1e-4)


def test_chunks_change_neither_loss_nor_gradients() -> None:
    row = tuple(sequences(8))
    whole, chunked = tiny_net(), tiny_net()
    for net, chunk in ((whole, 4096), (chunked, 16)):
        net.set_attn_implementation("packed")
        Supervised(chunk=chunk).loss(net, row).backward()
    for a, b in zip(whole.parameters(), chunked.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_head_equals_torch_with_a_bias_and_a_last_short_chunk(frozen: bool) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(75, 32, requires_grad=True)
    head = torch.nn.Linear(32, 200).requires_grad_(not frozen)
    targets = torch.randint(0, 200, (75,))
    found = []
    counts = torch.rand(75)  # no two positions count alike
    for loss in (head_loss(hidden, head, targets, 16), cross_entropy(head(hidden), targets, reduction="none")):
        hidden.grad = head.weight.grad = head.bias.grad = None
        loss.backward(counts)
        found.append((loss.detach(), hidden.grad, head.weight.grad, head.bias.grad))
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("row_tokens", [64, 128, 4096])
def test_eight_by_one_equals_one_by_eight_equals_packed(tmp_path: Path, row_tokens: int) -> None:
    batch = sequences(8)
    groupings = {"single": [(s,) for s in batch], "packed": list(Pack(row_tokens=row_tokens).pack(batch))}
    weights = {}
    for name, rows in groupings.items():
        net = tiny_net()
        order = Plan("teaching", 4, lambda step, rows=rows: rows, 1e-3, tmp_path / name, "a")
        fit(net, dict(net.named_parameters()), Supervised(), order)
        weights[name] = torch.cat([w.flatten() for w in net.parameters()])
    torch.testing.assert_close(weights["single"], weights["packed"], rtol=1e-4, atol=2e-5)


def test_optimiser_equals_torch() -> None:
    torch.manual_seed(0)
    ours = {"a": torch.randn(5, 7, requires_grad=True), "b": torch.randn(7, requires_grad=True)}
    theirs = [w.detach().clone().requires_grad_() for w in ours.values()]
    reference = torch.optim.AdamW(theirs, lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    optimiser = AdamW(ours)
    for _ in range(20):
        for weight, other in zip(ours.values(), theirs, strict=True):
            weight.grad = torch.randn_like(weight)
            other.grad = weight.grad.clone()
        optimiser.step(1e-2)
        reference.step()
    for weight, other in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-6, atol=1e-6)


def test_bfloat16_weights_follow_the_float32_ones_exactly() -> None:
    """The masters are equal bit for bit; each weight is one of its master's two neighbours, on average the master."""
    torch.manual_seed(0)
    start = torch.randn(640, 640).bfloat16()
    start[0, :2] = torch.tensor([0.0, -0.0])
    half = start.clone().requires_grad_()
    whole = start.float().requires_grad_()
    small, reference = AdamW({"w": half}), AdamW({"w": whole})
    push = torch.randn_like(start)
    for _ in range(20):
        half.grad = push + torch.randn_like(start)
        whole.grad = half.grad.float()
        small.step(1e-5)  # each step alone is far below half a bfloat16 step
        reference.step(1e-5)
    low = small.state()["low/w"]
    bits, exact = (t.detach().view(kind).int() for t, kind in ((half, torch.int16), (whole, torch.int32)))
    assert torch.equal(low, exact.to(torch.int16))
    assert set((bits - (exact >> 16)).unique().tolist()) == {0, 1}
    learned, seen = (whole - start.float()).detach(), (half.float() - start.float()).detach()
    assert learned.abs().median() < start.float().abs().median() / 2048  # a fraction of the digit it is kept in
    assert (seen * learned).sum() / learned.square().sum() == pytest.approx(1, abs=0.05)


class StopAt:
    """The real loss, and a Ctrl-C after so many rows."""

    unit = "token"

    def __init__(self, rows: int) -> None:
        self.left = rows

    def loss(self, net: torch.nn.Module, row: Row) -> torch.Tensor:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return Supervised().loss(net, row)

    def figures(self, rows: Sequence[Row]) -> dict[str, float]:
        return {}


def taught(folder: Path, steps: int, loss: Loss, mark: str = "a") -> tuple[torch.nn.Module, Fitted]:
    net = tiny_net()
    rows = [(s,) for s in sequences(7)]
    return net, fit(net, dict(net.named_parameters()), loss, plan(folder, rows, steps, mark))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Fitted]:
    return taught(tmp_path_factory.mktemp("straight"), 110, Supervised())


@pytest.mark.parametrize("stop", [30, 55, 104])
def test_stopped_and_resumed_equals_straight_through(
    tmp_path: Path, straight: tuple[torch.nn.Module, Fitted], stop: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        taught(tmp_path, 110, StopAt(stop))
    net, fitted = taught(tmp_path, 110, Supervised())
    assert fitted.losses == straight[1].losses
    for a, b in zip(net.parameters(), straight[0].parameters(), strict=True):
        assert torch.equal(a, b)
    assert [line["step"] for line in read_jsonl(tmp_path / "log.jsonl")] == list(range(1, 111))


def test_cut_and_foreign_checkpoints_are_passed_over(
    tmp_path: Path, straight: tuple[torch.nn.Module, Fitted], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        taught(tmp_path, 110, StopAt(105))
    newest = tmp_path / "checkpoints" / "step-000100" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    _, fitted = taught(tmp_path, 110, StopAt(60))
    said = capsys.readouterr().err
    assert "step-000100 is passed over: its content does not match its hash" in said
    assert "going on from step 50 of 110" in said
    assert fitted.losses == straight[1].losses
    with pytest.raises(KeyboardInterrupt):
        taught(tmp_path, 110, StopAt(0), mark="other")
    assert "belongs to other settings" in capsys.readouterr().err


def test_an_old_checkpoint_that_cannot_be_removed_is_named_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "step-000001").write_text("书: a file, where a folder should be", encoding="utf-8")
    for step in (2, 3, 4):
        save_checkpoint(tmp_path, step, {"w": torch.ones(2) * step}, {"fingerprint": "f"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000001", "step-000003", "step-000004"]
    said = [line for line in capsys.readouterr().err.splitlines() if "could not be removed" in line]
    assert len(said) == 2
    assert f"{tmp_path / 'step-000001'} could not be removed" in said[0]
    found = newest_checkpoint(tmp_path, "f")
    assert found is not None
    assert found[1]["step"] == 4


def test_a_checkpoint_of_other_rules_of_learning_is_passed_over(
    tmp_path: Path, straight: tuple[torch.nn.Module, Fitted], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        taught(tmp_path, 110, StopAt(60))
    notes = tmp_path / "checkpoints" / "step-000050" / "checkpoint.json"
    write_json(notes, {**read_json(notes), "rules": 1})
    _, fitted = taught(tmp_path, 110, Supervised())
    assert "passed over: another version of Shuyuan wrote it" in capsys.readouterr().err
    assert fitted.losses == straight[1].losses


def test_a_loss_that_is_no_number_stops_before_the_update(tmp_path: Path) -> None:
    net = tiny_net()
    with torch.no_grad():
        net.get_input_embeddings().weight[7] = float("inf")
    before = copy.deepcopy(net.state_dict())
    bad = Encoded((3, 7, 9), (False, True, True), "faq.jsonl:37")
    with pytest.raises(Fixable, match="not a number at step 1") as refused:
        fit(net, dict(net.named_parameters()), Supervised(), plan(tmp_path, [(bad,)], 3))
    assert "faq.jsonl:37" in refused.value.hint
    for name, weight in net.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_an_adapter_learns_and_its_base_does_not_move(tmp_path: Path) -> None:
    base = tiny_net()
    before = copy.deepcopy(base.state_dict())
    rows = [tuple(sequences(6))]
    net = with_adapter(base, rank=4, scale=2.0, seed=0)
    fitted = fit(net, adapter_weights(net), Supervised(), plan(tmp_path, rows, 12, rate=1e-2))
    assert fitted.losses[-1] < fitted.losses[0] - 0.3
    assert all(w.abs().sum() > 0 for name, w in adapter_weights(net).items() if name.endswith("lora_B"))
    assert base.config._attn_implementation != "packed"
    for name, weight in base.state_dict().items():
        assert torch.equal(weight, before[name]), name
