"""Four bits: bitsandbytes' bytes and values, gradients of the unpacked weight, and memory that falls."""

from __future__ import annotations

import copy
import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import FAMILIES, tiny_net
from torch.autograd.graph import saved_tensors_hooks

from shuyuan.base.errors import Fixable
from shuyuan.train.adapter import with_adapter
from shuyuan.train.quantise import BLOCK, CODE, Linear4, _unpack_scales, pack, pack_scales, quantised, unpack

IDS = torch.tensor([[5, 17, 300, 41, 41, 8, 250, 99, 3, 120]])


def sample(rows: int = 40, columns: int = 48) -> torch.Tensor:
    """Numbers that are the same on every machine, of very different sizes by row."""
    number = torch.arange(rows * columns, dtype=torch.float32).view(rows, columns)
    return ((number * 7919) % 1009 - 504) / 504 * (1 + torch.arange(rows)[:, None] % 7) / 64


def layer(
    rows: int = 40, columns: int = 48, bias: bool = True, double: bool = False
) -> tuple[torch.nn.Linear, Linear4]:
    torch.manual_seed(0)
    whole = torch.nn.Linear(columns, rows, bias=bias).requires_grad_(False)
    return whole, Linear4(whole, double)


def test_bytes_and_values_are_those_of_bitsandbytes() -> None:
    """Frozen from bitsandbytes 0.50.2 (its torch backend): quantize_4bit(sample(), blocksize=64, quant_type="nf4")."""
    packed, scales = pack(sample())
    assert bytes(packed[:24].tolist()).hex() == "2ba8643cb97532ca8643db97542ca8653dba8643cb97532c"
    assert digest(packed) == "92d0202410604384"
    assert digest(scales) == "53c61a97869d2c73"
    assert digest(unpack(packed, [scales], [40, 48], torch.float32)) == "048024b5d062e192"
    codes, second, mean = pack_scales(scales)  # compress_statistics=True
    assert codes[:6].tolist() == [0, 27, 52, 217, 240, 235]
    whole = unpack(packed, [codes, second, mean], [40, 48], torch.float32).flatten()
    theirs = [0.10671727359294891, 0.06004095450043678, 0.03606139495968819, 0.0, -0.030354809015989304]
    assert whole[640:645].tolist() == pytest.approx(theirs, rel=1e-6)
    assert whole.double().square().sum().item() == pytest.approx(2.9512199715056444, rel=1e-6)


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 200), st.floats(1e-30, 1e30))
def test_every_weight_goes_to_the_nearest_code(rows: int, columns: int, size: float) -> None:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows * 1000 + columns)) * size
    packed, scales = pack(weight)
    assert packed.dtype == torch.uint8
    assert len(packed) * 2 == len(scales) * BLOCK
    back = unpack(packed, [scales], [rows, columns], torch.float32)
    scale = scales.repeat_interleave(BLOCK)[: weight.numel()].view(rows, columns)
    nearest = (torch.tensor(CODE) * scale[..., None] - weight[..., None]).abs().amin(-1)
    torch.testing.assert_close((back - weight).abs(), nearest, rtol=1e-5, atol=1e-6 * size)


def test_zeros_stay_zeros() -> None:
    packed, scales = pack(torch.zeros(3, 50))
    assert torch.equal(unpack(packed, [scales], [3, 50], torch.float32), torch.zeros(3, 50))
    whole = unpack(packed, list(pack_scales(scales)), [3, 50], torch.float32)
    assert torch.equal(whole, torch.zeros(3, 50))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_product_and_gradient_are_those_of_the_unpacked_weight(dtype: torch.dtype, double: bool, bias: bool) -> None:
    whole, small = layer(bias=bias, double=double)
    whole, small = whole.to(dtype), Linear4(whole.to(dtype), double)
    with torch.no_grad():
        whole.weight.copy_(small.weight)
    assert small.weight.dtype == dtype
    x = torch.randn(2, 5, 48, dtype=dtype, requires_grad=True)
    grads = []
    for net in (whole, small):
        out = net(x)
        assert out.dtype == dtype
        (grad,) = torch.autograd.grad(out.float().square().sum(), x)
        grads.append((out.detach(), grad))
    exact = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, **exact)


@pytest.mark.parametrize("onto", [None, torch.ones(3, 40, requires_grad=True)])
def test_the_operator_keeps_the_rules_of_torch(onto: torch.Tensor | None) -> None:
    from shuyuan.train.quantise import _linear4

    _, small = layer(double=True)
    x = torch.randn(3, 48, requires_grad=True)
    torch.library.opcheck(_linear4, (x, small.packed, small.kept_scales, [40, 48], False, onto))


@pytest.mark.parametrize("double", [False, True])
def test_memory_falls(double: bool) -> None:
    whole, small = layer(256, 512, bias=False, double=double)
    held = sum(buffer.untyped_storage().nbytes() for buffer in small.buffers())
    assert not list(small.parameters())
    assert held * 8 / whole.weight.numel() == pytest.approx(4.127 if double else 4.5, abs=0.01)


def kept_for_backward(net: torch.nn.Module) -> int:
    """Bytes that autograd holds between forward and backward and that the network does not hold anyway."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*net.parameters(), *net.buffers())}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        loss = net(input_ids=IDS, labels=IDS).loss
    size = sum(kept.values())
    loss.backward()
    return size


def test_no_unpacked_weight_is_kept_for_the_way_back() -> None:
    base = tiny_net()
    whole, small = (with_adapter(net, 2, 2.0, 0) for net in (base, quantised(base, double=False)))
    assert kept_for_backward(small) <= kept_for_backward(whole)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_blocks_are_in_four_bits_and_the_rest_is_shared(family: str) -> None:
    base = tiny_net(family)
    before = copy.deepcopy(base.state_dict())
    small = quantised(base, double=True)
    assert small.get_input_embeddings().weight is base.get_input_embeddings().weight
    assert sum(isinstance(module, Linear4) for module in small.modules()) == 14
    logits, whole = small(IDS).logits, base(IDS).logits
    assert 0 < (logits - whole).abs().max() < 0.5 * whole.abs().max()
    assert all(torch.equal(weight, before[name]) for name, weight in base.state_dict().items())
    twice = quantised(small, double=True)
    assert torch.equal(twice(IDS).logits, logits)


def test_a_damaged_base_is_refused() -> None:
    net = tiny_net()
    with torch.no_grad():
        net.model.layers[1].mlp.up_proj.weight[3, 4] = float("nan")
    with pytest.raises(Fixable, match=r"layers\.1\.mlp\.up_proj holds what is no number"):
        quantised(net, double=True)


def test_unpacked_scales_are_near() -> None:
    scales = torch.rand(1000, generator=torch.Generator().manual_seed(1))
    back = _unpack_scales(*pack_scales(scales))
    assert back.shape == scales.shape
    assert (back - scales).abs().max() < 0.02
