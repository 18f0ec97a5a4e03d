"""A model's matrix products as generation calls them: weights of one input fused and copied once, adapters beside them.

A copy holds the weights as they are read fastest: in the order of oneDNN's products, 2.3 times as fast for one row in
bfloat16; or in half the bytes, where the processor computes in float32 (`narrow`). It is shared by every network that
shares the weights, so several adapters on one base copy them once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from shuyuan.load.compiling import compiles

_WIDTH = 512  # outputs of a float32 product of a few rows: a wider one takes MKL up to twice the time for each


class Product(Protocol):
    """What linear layers give, [T, in] → [T, all their outputs]."""

    def __call__(self, x_TD: Tensor) -> Tensor: ...


class Packed:
    """Plain linear layers as one product in oneDNN's own order."""

    def __init__(self, weights: Sequence[Tensor], bias: Tensor | None) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(torch.cat([*weights]) if len(weights) > 1 else weights[0])
        self.bias = bias
        self._least = 2 if weights[0].dtype == torch.float32 and not _wide_vectors() else 1

    def suits(self, rows: int) -> bool:
        """Whether this is faster than the weights themselves: without AVX-512, MKL reads one row in 5/7 of the time."""
        return rows >= self._least

    def __call__(self, x_TD: Tensor, onto_TN: Tensor | None = None) -> Tensor:
        """See `Product`; `onto_TN` is added before it is rounded."""
        linear = torch.ops.mkldnn._linear_pointwise
        if onto_TN is None:
            out: Tensor = linear(x_TD, self.weight, self.bias, "none", [], "")
        else:
            out = linear.binary(x_TD, onto_TN, self.weight, self.bias, "add")
        return out


class Narrow:
    """Plain linear layers in float32 as one product of few rows, their weights in bfloat16."""

    def __init__(self, bits_ND: Any, width: int, bias: Tensor | None) -> None:
        from shuyuan.load import narrow

        self._product, self._rows = narrow.product, narrow.ROWS
        self.bits_ND, self._width, self.bias = bits_ND, width, bias

    def suits(self, rows: int) -> bool:
        """Whether this is faster than the weights themselves."""
        return rows <= self._rows

    def __call__(self, x_TD: Tensor, onto_TN: Tensor | None = None) -> Tensor:
        """See `Packed`."""
        return _added(self._product(x_TD, self.bits_ND)[:, : self._width], self.bias, onto_TN)


class Copied:
    """A product by a copy of the weights where that is faster, else by the weights themselves.

    It stands beside the copy, which is kept for as long as the first of the weights, and so may not hold them.
    """

    def __init__(self, copy: Packed | Narrow, weights: Sequence[Tensor]) -> None:
        self.copy = copy
        many = copy.suits(1)  # then only many rows are left to the weights, else a single one, which reads them whole
        self._parts = [part for weight in weights for part in (torch.split(weight, _WIDTH) if many else (weight,))]

    def __call__(self, x_TD: Tensor, onto_TN: Tensor | None = None) -> Tensor:
        """See `Packed`."""
        if self.copy.suits(len(x_TD)):
            return self.copy(x_TD, onto_TN)
        outs = [functional.linear(x_TD, part) for part in self._parts]
        return _added(torch.cat(outs, dim=1) if len(outs) > 1 else outs[0], self.copy.bias, onto_TN)


def _added(out_TN: Tensor, *more: Tensor | None) -> Tensor:
    for each in more:
        if each is not None:
            out_TN += each
    return out_TN


class Plain:
    """Layers of any kind, one after the other."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers = layers

    def __call__(self, x_TD: Tensor) -> Tensor:
        """See `Product`."""
        outs = [layer(x_TD) for layer in self.layers]
        return torch.cat(outs, dim=-1) if len(outs) > 1 else outs[0]


class LowRank:
    """A product with the low-rank changes of its layers beside it; R is the sum of their ranks."""

    def __init__(self, inner: Copied, down_RD: Tensor, up_RN: Tensor) -> None:
        self.inner, self.down_RD, self.up_RN = inner, down_RD, up_RN

    def __call__(self, x_TD: Tensor) -> Tensor:
        """See `Product`."""
        return self.inner(x_TD, functional.linear(x_TD, self.down_RD) @ self.up_RN)


_copies: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # the first weight → all copied with it, and the copy


def is_copied(weight: Tensor) -> bool:
    """Whether there is a copy already of the layers that begin with this weight."""
    return weight in _copies


def copy_bytes(weights: Sequence[Tensor]) -> int:
    """What a copy of all these takes in memory; the first one tells in which form it would be."""
    takes = sum(weight.numel() * weight.itemsize for weight in weights)
    return takes if _narrows([weights[0][:64]]) is None else takes // 2


@torch.no_grad()  # a graph would keep the weights alive after their network
def product_of(layers: Sequence[nn.Module], copy: bool) -> Product:
    """The product of linear layers that read the same input.

    `copy` False, or a number format that oneDNN has no products for on this processor: their weights stay as they are.
    """
    bases: list[Any] = [_base(layer) for layer in layers]
    if not copy or not all(type(base) is nn.Linear and _packs(base.weight.dtype) for base in bases):
        return Plain(layers)
    found = Copied(_shared(bases), [base.weight for base in bases])
    return found if bases == list(layers) else _beside(found, layers, bases)


def _wide_vectors() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


def _narrows(weights: Sequence[Tensor]) -> Any:
    """The weights in bfloat16, for processors on which that was measured to help; None where they would change."""
    if weights[0].dtype != torch.float32 or _wide_vectors():
        return None
    if not compiles():
        return None
    from shuyuan.load.narrow import narrowed

    return narrowed(weights)


def _packs(dtype: torch.dtype) -> bool:
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype != torch.float16 or bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


def _base(layer: nn.Module) -> nn.Module:
    """The layer under an adapter of the form `W x + scale · B A x`, told by its parts; else the layer itself."""
    low_rank = all(hasattr(layer, part) for part in ("base", "factors", "scale"))
    return layer.base if low_rank and not hasattr(layer, "lora_magnitude_vector") else layer  # type: ignore[return-value]


def _shared(bases: Sequence[Any]) -> Packed | Narrow:
    weights = [base.weight for base in bases]
    versions = [(id(weight), weight._version) for weight in weights]
    kept: tuple[Any, Packed | Narrow] | None = _copies.get(weights[0])  # type: ignore[no-untyped-call]
    if kept and kept[0] == versions:
        return kept[1]
    biases = [base.bias for base in bases]
    zeros = (weights[0].new_zeros(len(weight)) for weight in weights)
    parts = [zero if bias is None else bias for bias, zero in zip(biases, zeros, strict=True)]
    whole = None if all(bias is None for bias in biases) else torch.cat(parts)
    bits_ND = _narrows(weights)
    copy = Packed(weights, whole) if bits_ND is None else Narrow(bits_ND, sum(map(len, weights)), whole)
    _copies[weights[0]] = versions, copy
    return copy


def _beside(inner: Copied, layers: Sequence[Any], bases: Sequence[Any]) -> LowRank:
    """The changes of several layers as one: A under A, and B in blocks along a diagonal, as wide as their outputs."""
    adapted = [layer for layer, base in zip(layers, bases, strict=True) if layer is not base]
    downs = [layer.factors[0] for layer in adapted]
    weight = bases[0].weight
    up_NR = torch.zeros(sum(base.out_features for base in bases), sum(map(len, downs)), device=weight.device)
    row = column = 0
    for layer, base in zip(layers, bases, strict=True):
        if layer is not base:
            up = layer.factors[1]
            up_NR[row : row + len(up), column : column + up.shape[1]] = layer.scale * up
            column += up.shape[1]
        row += base.out_features
    return LowRank(inner, torch.cat(downs).to(weight.dtype), up_NR.T.to(weight.dtype).contiguous())
