"""What numba compiles gives what torch gives, on any number of threads; and a numba that does not work is no fault."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from tiny import tiny_net

from shuyuan.load import compiling, narrow, small
from shuyuan.load.anatomy import Norm
from shuyuan.load.between import InTorch
from shuyuan.load.engines import Feed, engine_of
from shuyuan.load.products import Packed
from shuyuan.load.slots import Cache, Shape


@pytest.fixture
def threads_kept() -> Iterator[None]:
    """How many threads torch uses is afterwards as before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_network_at_which_our_forward_pass_breaks_off_answers_from_its_own(capsys: pytest.CaptureFixture) -> None:
    """NumPy knows no bfloat16, so a norm in it is nothing for what is compiled; transformers takes it as it is."""
    net = tiny_net()
    net.model.norm.bfloat16()
    engine = engine_of(net, "tiny", range(9))
    ours = engine.read([Feed(engine.open(9), range(9), 9)])
    torch.testing.assert_close(ours, net(torch.arange(9)[None]).logits[0].detach(), rtol=1e-4, atol=1e-4)
    said = capsys.readouterr().err
    assert ("our forward pass breaks off: TypeError: " in said) == compiling.compiles()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("threads_kept")
def test_products_from_half_the_bytes_are_those_of_whole_weights(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    for N, D in ((1, 1), (5, 3), (37, 130), (64, 896)):
        whole = [torch.randn(N, D).bfloat16().float(), torch.full((2, D), 1e-39).bfloat16().float()]
        bits = narrow.narrowed(whole)
        assert bits is not None
        assert (N + 2) * D * 2 <= bits.nbytes < (N + 6) * D * 2
        for rows in (*range(1, 11), narrow.ROWS):
            x = torch.randn(rows, D)
            right = x.double() @ torch.cat(whole).double().T
            torch.testing.assert_close(
                narrow.product(x, bits)[:, : N + 2].double(), right, rtol=1e-5, atol=1e-5 * D**0.5
            )
    x = torch.randn(896, 3).T
    torch.testing.assert_close(narrow.product(x, bits), narrow.product(x.contiguous(), bits))
    x = torch.tensor([[1.0, float("inf")], [float("nan"), 0.0], [2.0, 3.0]])
    ended = narrow.product(x, narrow.narrowed([torch.tensor([[1.0, -2.0]])]))
    assert [str(float(value)) for value in ended[:, 0]] == ["-inf", "nan", "-4.0"]
    assert narrow.narrowed([torch.tensor([[1.0]]), torch.tensor([[1.0 + 2**-8]])]) is None, "it would change"
    assert torch.get_num_threads() == threads


def test_a_numba_that_does_not_work_is_told_and_done_without(monkeypatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setitem(sys.modules, "shuyuan.load.narrow", None)
    compiling.compiles.cache_clear()
    net = tiny_net().bfloat16().float()
    engines_ = [engine_of(net, "tiny", range(9)) for _ in range(2)]
    compiling.compiles.cache_clear()
    assert all(isinstance(engine.parts.head.copy, Packed) for engine in engines_)
    assert not any(engine._small for engine in engines_)
    assert capsys.readouterr().err.count("numba does not work here") == 1


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("threads_kept")
def test_small_operations_compiled_are_those_of_torch(threads: int) -> None:
    """Rows of several lengths in two tables, some read further than others, with and without wanted tokens."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    H, G, D, scale = 6, 2, 16, 0.25
    cache = Cache(Shape(1, G, D, torch.float32, torch.device("cpu")))
    lengths, counts, wanted = [0, 31, 300, 255, 7], [3, 1, 2, 1, 4], [1, 1, 0, 1, 4]
    places = [cache.open(length + 5) for length in lengths]
    for table in {place.table.size: place.table for place in places}.values():
        table.keys[0].normal_(), table.values[0].normal_()
    for place, length in zip(places, lengths, strict=True):
        place.length = length
    feeds = [Feed(place, [0] * count, want) for place, count, want in zip(places, counts, wanted, strict=True)]
    T = sum(counts)
    given = feeds, [torch.randn(T, D), torch.randn(T, D)], {0: torch.randn(1, G, D)}, scale
    asks, values = torch.randn(T, H + G, D), torch.randn(T, 2 * G, D)[:, G:]
    gate = torch.cat([torch.randn(T, 8) * 30, torch.randn(T, 8)], dim=1)
    tables = [places[0].table, places[2].table]
    found = []
    for kind in (InTorch, small.Compiled):
        then = kind(*given)
        out = [then.attended(0, asks.clone(), values, last) for last in (False, True)]
        x, more = torch.arange(T * 12.0).view(T, 12), torch.ones(T, 12)
        norm = Norm(torch.linspace(-1, 1, 12), 1e-3)
        out += [then.normed(x, norm, more), x, then.normed(x.view(T, 3, 4)[:, 1:], Norm(torch.ones(4), 0.1))]
        found.append([*out, then.gated(gate), *(one[0].clone() for t in tables for one in (t.keys, t.values))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert len(found[0][1]) == sum(wanted)


def test_powers_of_e_are_right_to_the_last_digits_and_keep_what_is_no_number() -> None:
    x = torch.linspace(-87, 88, 100_001)
    one = torch.ones(1, len(x))
    shares = small.Compiled([], [x[:0], x[:0]], {}, 1.0).gated(torch.cat([x[None], one], dim=1))
    right = x.double() / (1 + torch.exp(-x.double()))
    assert ((shares[0] - right) / right).abs().nan_to_num().max() < 5e-7
    ends = torch.tensor([[float("nan"), float("inf"), -1e9, 1.0, 1.0, 1.0]])
    nan, large, none = small.Compiled([], [x[:0], x[:0]], {}, 1.0).gated(ends)[0].tolist()
    assert math.isnan(nan)
    assert large == math.inf
    assert -1e-20 < none <= 0


def test_products_of_several_threads_at_once_are_their_own() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(512, 256).bfloat16().float() for _ in range(4)]
    kept = [narrow.narrowed([weight]) for weight in weights]
    x, wrong = torch.randn(3, 256), list[int]()

    def many(number: int) -> None:
        for _ in range(50):
            if not torch.allclose(narrow.product(x, kept[number]), x @ weights[number].T, atol=1e-3):
                wrong.append(number)

    threads = [threading.Thread(target=many, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
