"""What the sequences of a row begin with in common is computed once, and neither loss nor gradients know of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_train import reference_loss, sequences
from tiny import FAMILIES, tiny_net

from shuyuan.prepare import pack
from shuyuan.prepare.chat import Encoded
from shuyuan.prepare.pack import WORTH, Pack
from shuyuan.train import attention
from shuyuan.train.adapter import adapter_weights, with_adapter
from shuyuan.train.laying import laid_out
from shuyuan.train.loop import prepared
from shuyuan.train.supervised import Supervised, token_losses

SYSTEM, TOOLS = (tuple(range(at, at + 30)) for at in (100, 200))


def after(beginning: tuple[int, ...], sequence: Encoded) -> Encoded:
    """The sequence behind a beginning that is only read."""
    return Encoded(beginning + sequence.ids, (False,) * len(beginning) + sequence.learned, sequence.source)


def family_tree() -> tuple[Encoded, ...]:
    """Some with nothing in common, some with a beginning, some with two, one twice, and one begun by another."""
    made = sequences(14, seed=5, longest=150)
    row = made[:2]
    row += [after(SYSTEM, one) for one in made[2:6]]
    row += [after(SYSTEM + TOOLS, one) for one in made[6:12]]
    row += [after(TOOLS, made[12]), after(TOOLS, made[12]), after(SYSTEM[:20], made[13])]
    return tuple(row)


@pytest.mark.parametrize("longest", [1024, 8], ids=["short", "long"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_every_gradient_equal_those_of_transformers(
    family: str, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "LONGEST", longest)
    row = family_tree()
    saved = sum(len(one.ids) for one in row) - len(laid_out(row).ids)
    assert saved >= 10 * len(SYSTEM) + 6 * len(TOOLS)
    ours, theirs = tiny_net(family), tiny_net(family)
    ours.set_attn_implementation("packed")
    loss, expected = Supervised().loss(ours, row), reference_loss(theirs, row)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.backward()
    for (name, weight), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_an_adapter_learns_the_same_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    row, found = family_tree(), []
    for worth in (WORTH, 10_000):
        monkeypatch.setattr(pack, "WORTH", worth)
        net = with_adapter(tiny_net(), 4, 2.0, 0)
        weights = adapter_weights(net)
        for name, weight in weights.items():
            weight.data = torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))) * 0.1
        with prepared(net, weights):
            Supervised().loss(net, row).backward()
        found.append(torch.cat([weight.grad.flatten() for weight in weights.values()]))
    assert 0 < (found[0] - found[1]).norm() <= 1e-5 * found[1].norm()


def test_losses_come_sequence_by_sequence_in_the_order_given() -> None:
    row, net = family_tree(), tiny_net()
    net.set_attn_implementation("packed")
    with torch.no_grad():
        together = token_losses(net, row, 128).split([one.targets for one in row])
        for losses, one in zip(together, row, strict=True):
            torch.testing.assert_close(losses, token_losses(net, (one,), 128), rtol=1e-4, atol=1e-5)


def test_what_is_learned_is_computed_in_each() -> None:
    (one,) = sequences(1, longest=100, seed=1)
    whole = Encoded(one.ids * 4, (False,) * 20 + (True,) * (4 * len(one.ids) - 20))
    laid = laid_out((whole, whole))
    assert len(laid.ids) == 2 * len(whole.ids) - 20
    assert len(laid.targets) == 2 * whole.targets
    untaught = Encoded(whole.ids, (True,) * len(whole.ids))
    assert len(laid_out((untaught, untaught)).ids) == 2 * len(whole.ids)


def test_those_that_begin_alike_come_into_one_row_and_take_room_once() -> None:
    made = sequences(12, seed=2, longest=20)
    documents = [tuple(range(at, at + 60)) for at in (0, 80, 160, 240)]
    asked = [after(documents[number % 4], one) for number, one in enumerate(made)]
    rows = Pack(row_tokens=120).pack(asked)
    assert [{one.ids[:60] for one in row} for row in rows] == [{row[0].ids[:60]} for row in rows]
    assert len(rows) == 4
    assert all(len(laid_out(row).ids) <= 120 < sum(len(one.ids) for one in row) for row in rows)
    assert Pack(row_tokens=120).pack(reversed(asked)) == rows


SHORT = st.lists(st.integers(0, 1), min_size=1, max_size=12)


@given(st.lists(st.tuples(SHORT, st.lists(st.booleans(), min_size=12, max_size=12)), min_size=1, max_size=8))
def test_any_row_can_be_read_back_from_its_parts(drawn: list[tuple[list[int], list[bool]]]) -> None:
    row = [Encoded(tuple(ids), tuple(learned[: len(ids)])) for ids, learned in drawn]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "WORTH", 2)
        laid = laid_out(row)
    start, read = 0, []
    for length, begun in zip(laid.lengths, laid.begun, strict=True):
        assert all(part.stop <= start for part in begun), "what a sequence goes on from lies ahead of it"
        read.append(tuple(token for part in (*begun, slice(start, start + length)) for token in laid.ids[part]))
        start += length
    assert sorted(read) == sorted(one.ids for one in row)
    assert laid.targets == [i for one in row for i, on in zip(one.ids[1:], one.learned[1:], strict=True) if on]
    before = [i for one in row for i, on in zip(one.ids, one.learned[1:], strict=False) if on]
    assert [laid.ids[place] for place in laid.at] == before
