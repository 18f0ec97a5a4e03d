"""Weights in four bits (NF4) to put an adapter on, as in QLoRA (Dettmers et al., arXiv 2305.14314); any device.

The code table, blocks of 64, the rounding and the packing are bitsandbytes' (`functional.get_4bit_type`,
`create_dynamic_map`, `backends/default/ops.py`, version 0.50): the same bytes and the same values come out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from shuyuan.base.errors import Fixable
from shuyuan.train.layers import LinearLike, replace_layers, sharing_copy

BLOCK = 64  # weights that share a scale
SCALE_BLOCK = 256  # scales that share a scale, where they are quantised too
SLICE = 1 << 10  # blocks unpacked at once on a CPU: few enough that the copies in between stay in its cache
CODE = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


class Linear4(LinearLike):
    """A frozen linear layer in four bits: two weights a byte (`packed`) and a scale for every 64 of them.

    With `double` the scales are kept in eight bits each: 4.13 instead of 4.5 bits a weight. The weights are unpacked
    for each product, forward and backward, and forgotten at once. `bias` stays as it was.
    """

    packed: Tensor

    def __init__(self, layer: nn.Linear, double: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.shape, self.dtype = list(layer.weight.shape), layer.weight.dtype
        self.bias = layer.bias
        packed, scales = pack(layer.weight)
        self.register_buffer("packed", packed)
        kept = pack_scales(scales) if double else (scales,)
        for name, tensor in zip(("scales", "second", "mean"), kept, strict=False):
            self.register_buffer(name, tensor)

    @property
    def kept_scales(self) -> list[Tensor]:
        """The scales as they are kept: [float32], or [codes, their scales, mean]."""
        return [tensor for name, tensor in self.named_buffers() if name != "packed"]

    @property
    def weight(self) -> Tensor:
        """The matrix unpacked [out, in], in the precision it had."""
        return unpack(self.packed, self.kept_scales, self.shape, self.dtype)

    def product(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """See `layers.product`."""
        out: Tensor = _linear4(x, self.packed, self.kept_scales, self.shape, False, onto)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] → [..., out], in the precision of `x`."""
        out = self.product(x)
        return out if self.bias is None else out + self.bias


def quantised(net: nn.Module, double: bool) -> nn.Module:
    """A copy of `net` with the linear layers of its blocks in four bits; it shares everything else.

    The embedding, the output layer and the norms stay as they are. Adapters stay, on layers in four bits. Raises
    `Fixable` for a weight that is no number.
    """
    small = sharing_copy(net)
    head = small.get_output_embeddings()  # type: ignore[operator]
    layers = {name: m for name, m in small.named_modules() if isinstance(m, nn.Linear) and m is not head}
    for name, layer in layers.items():
        if not layer.weight.isfinite().all():
            raise Fixable(f"the base model is damaged: {name} holds what is no number", "fetch it again")
        replace_layers(small, {name: Linear4(layer, double)})
    return small


def pack(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight in NF4: bytes [blocks · 32], the first of two weights in the upper half; scales [blocks], float32.

    Row after row in blocks of 64, the last one filled up with zeros. A value goes to the nearest code of its block, the
    lower one of two equally near.
    """
    flat = nn.functional.pad(weight.detach().reshape(-1), (0, -weight.numel() % BLOCK))
    code = torch.tensor(CODE, device=weight.device)
    middles = (code[:-1] + code[1:]) / 2
    packed, scales = [], []
    for part in torch.split(flat, SLICE * BLOCK):
        blocks = part.view(-1, BLOCK).float()
        largest = blocks.abs().amax(1)
        scaled = (blocks * (1.0 / largest.clamp(min=1e-38))[:, None]).clamp_(-1, 1)
        codes = torch.bucketize(scaled, middles, out_int32=True).to(torch.uint8).view(-1)
        packed.append(codes[::2] << 4 | codes[1::2])
        scales.append(largest)
    return torch.cat(packed), torch.cat(scales)


def pack_scales(scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scales in eight bits (QLoRA's double quantisation): codes [blocks], a scale for every 256 of them, their mean."""
    mean = scales.mean()
    rest = scales - mean
    blocks = nn.functional.pad(rest, (0, -len(rest) % SCALE_BLOCK)).view(-1, SCALE_BLOCK)
    largest = blocks.abs().amax(1)
    scaled = (blocks * (1.0 / largest.clamp(min=1e-38))[:, None]).clamp_(-1, 1)
    code = _dynamic_code(scales.device)
    codes = torch.bucketize(scaled, (code[:-1] + code[1:]) / 2, out_int32=True).to(torch.uint8)
    return codes.view(-1)[: len(scales)].clone(), largest, mean


def unpack(packed: Tensor, scales: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """The weights of a `shape` again: code times scale in float32, rounded to `dtype`."""
    scale = _unpack_scales(*scales) if len(scales) > 1 else scales[0]
    pairs = _code_pairs(packed.device)
    out = torch.empty(len(scale), BLOCK, dtype=dtype, device=packed.device)
    step = SLICE if packed.device.type == "cpu" else len(scale)
    for start in range(0, len(scale), step):
        at = slice(start, start + step)
        codes = packed[start * BLOCK // 2 : (start + step) * BLOCK // 2].to(torch.int32)
        values = pairs.index_select(0, codes).view(torch.float32).view(-1, BLOCK)
        out[at] = values.mul_(scale[at, None])
    return out.view(-1)[: math.prod(shape)].view(*shape)


def _unpack_scales(codes: Tensor, second: Tensor, mean: Tensor) -> Tensor:
    values = _dynamic_code(codes.device).index_select(0, codes.to(torch.int32))
    return values * second.repeat_interleave(SCALE_BLOCK)[: len(codes)] + mean


@cache
def _code_pairs(device: torch.device) -> Tensor:
    """For each byte its two codes, as the bits of one number [256]: one look-up for two weights."""
    code = torch.tensor(CODE)
    byte = torch.arange(256)
    return torch.stack([code[byte >> 4], code[byte & 15]], dim=1).view(torch.int64).view(-1).to(device)


@cache
def _dynamic_code(device: torch.device) -> Tensor:
    """The 256 values of dynamic 8-bit quantisation (Dettmers, arXiv 1511.04561): seven decades, finer at the top."""
    values = [0.0, 1.0]
    for decade in range(7):
        edges = torch.linspace(0.1, 1, 2**decade + 1)
        middles = 10.0 ** (decade - 6) * ((edges[:-1] + edges[1:]) / 2)
        values += [*middles.tolist(), *(-middles).tolist()]
    return torch.tensor(sorted(values), device=device)


# An operator of our own: autograd keeps the packed weight alone, and torch.compile takes it as it is.
@torch.library.custom_op(
    "shuyuan::linear4",
    mutates_args=(),
    schema="(Tensor x, Tensor packed, Tensor[] scales, int[] shape, bool back, Tensor? onto) -> Tensor",
)
def _linear4(  # noqa: PLR0917  (an operator's arguments have places)
    x: Tensor, packed: Tensor, scales: Sequence[Tensor], shape: Sequence[int], back: bool, onto: Tensor | None
) -> Tensor:
    """`x Wᵀ`, or `x W` on the way `back`; `onto` is added before it is rounded."""
    weight = unpack(packed, scales, shape, x.dtype)
    right = weight if back else weight.T
    if onto is None:
        return x @ right
    return torch.addmm(onto.flatten(0, -2), x.flatten(0, -2), right).view_as(onto)


@_linear4.register_fake
def _(  # noqa: PLR0917
    x: Tensor, packed: Tensor, scales: Sequence[Tensor], shape: Sequence[int], back: bool, onto: Tensor | None
) -> Tensor:
    return x.new_empty(*x.shape[:-1], shape[1] if back else shape[0])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, packed, scales, ctx.shape, ctx.back, onto = inputs
    ctx.added = onto is not None
    ctx.save_for_backward(packed, *scales)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    packed, *scales = ctx.saved_tensors
    back = _linear4(grad, packed, scales, ctx.shape, not ctx.back, None)
    return back, None, [None] * len(scales), None, None, grad if ctx.added else None


_linear4.register_autograd(_backward, setup_context=_keep)
