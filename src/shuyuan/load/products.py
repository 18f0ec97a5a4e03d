"""A model's matrix products as generation calls them: weights of one input fused and packed once, adapters beside them.

Packing puts a weight into the order in which oneDNN reads it: 2.3 times as fast for one row, as fast as memory is read.
A packed weight is shared by every network that shares the plain one, so several adapters on one base pack it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary


class Product(Protocol):
    """What linear layers give, [T, in] → [T, all their outputs]."""

    def __call__(self, x_TD: Tensor) -> Tensor: ...


class Packed:
    """Plain linear layers as one product in oneDNN's own order; a second copy of their weights."""

    def __init__(self, weights: Sequence[Tensor], bias: Tensor | None) -> None:
        self.versions = [(id(weight), weight._version) for weight in weights]
        self.weight = torch.ops.mkldnn._reorder_linear_weight(torch.cat([*weights]) if len(weights) > 1 else weights[0])
        self.bias = bias

    def __call__(self, x_TD: Tensor, onto_TN: Tensor | None = None) -> Tensor:
        """See `Product`; `onto_TN` is added before it is rounded."""
        linear = torch.ops.mkldnn._linear_pointwise
        if onto_TN is None:
            out: Tensor = linear(x_TD, self.weight, self.bias, "none", [], "")
        else:
            out = linear.binary(x_TD, onto_TN, self.weight, self.bias, "add")
        return out


class RowPlain:
    """Packed for several rows, as they are for one: without AVX-512, MKL reads float32 for one row 1.4 times as fast.

    It stands beside `Packed`, which is kept for as long as the first of the weights, and so may not hold them.
    """

    def __init__(self, packed: Packed, weights: Sequence[Tensor]) -> None:
        self.packed, self.weights = packed, weights

    def __call__(self, x_TD: Tensor, onto_TN: Tensor | None = None) -> Tensor:
        """See `Packed`."""
        if len(x_TD) > 1:
            return self.packed(x_TD, onto_TN)
        outs = [functional.linear(x_TD, weight) for weight in self.weights]
        out_1N = torch.cat(outs, dim=1) if len(outs) > 1 else outs[0]
        for more in (self.packed.bias, onto_TN):
            if more is not None:
                out_1N += more
        return out_1N


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

    def __init__(self, inner: Packed | RowPlain, down_RD: Tensor, up_RN: Tensor) -> None:
        self.inner, self.down_RD, self.up_RN = inner, down_RD, up_RN

    def __call__(self, x_TD: Tensor) -> Tensor:
        """See `Product`."""
        return self.inner(x_TD, functional.linear(x_TD, self.down_RD) @ self.up_RN)


_packed: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # the first weight → all packed with it


def is_packed(weight: Tensor) -> bool:
    """Whether there is a packed copy already of the layers that begin with this weight."""
    return weight in _packed


@torch.no_grad()  # a graph would keep the weights alive after their network
def product_of(layers: Sequence[nn.Module], pack: bool) -> Product:
    """The product of linear layers that read the same input.

    `pack` False, or a number format that oneDNN has no products for on this processor: their weights stay as they are.
    """
    bases: list[Any] = [_base(layer) for layer in layers]
    if not pack or not all(type(base) is nn.Linear and _packs(base.weight.dtype) for base in bases):
        return Plain(layers)
    packed, weights = _shared(bases), [base.weight for base in bases]
    slow = weights[0].dtype == torch.float32 and torch.backends.cpu.get_cpu_capability() != "AVX512"
    found = RowPlain(packed, weights) if slow else packed
    return found if bases == list(layers) else _beside(found, layers, bases)


def _packs(dtype: torch.dtype) -> bool:
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype != torch.float16 or bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


def _base(layer: nn.Module) -> nn.Module:
    """The layer under an adapter of the form `W x + scale · B A x`, told by its parts; else the layer itself."""
    low_rank = all(hasattr(layer, part) for part in ("base", "factors", "scale"))
    return layer.base if low_rank and not hasattr(layer, "lora_magnitude_vector") else layer  # type: ignore[return-value]


def _shared(bases: Sequence[Any]) -> Packed:
    weights = [base.weight for base in bases]
    kept: Packed | None = _packed.get(weights[0])  # type: ignore[no-untyped-call]
    if kept is None or kept.versions != [(id(weight), weight._version) for weight in weights]:
        biases = [base.bias for base in bases]
        zeros = (weights[0].new_zeros(len(weight)) for weight in weights)
        parts = [zero if bias is None else bias for bias, zero in zip(biases, zeros, strict=True)]
        kept = Packed(weights, None if all(bias is None for bias in biases) else torch.cat(parts))
        _packed[weights[0]] = kept
    return kept


def _beside(inner: Packed | RowPlain, layers: Sequence[Any], bases: Sequence[Any]) -> LowRank:
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
