"""The parts of a block as single steps of autograd: few passes over memory, and nothing kept that is cheap to redo.

Each equals what transformers and `lowrank` compute in many operations; the tests compare loss and every gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from shuyuan.train.layers import Linear
from shuyuan.train.lowrank import LoraLinear

Grads = tuple[Tensor | None, ...]


def normed(x_TD: Tensor, norm: nn.Module) -> Tensor:
    """Root-mean-square normalisation, in float32 and rounded where the reference rounds."""
    found: Tensor = _Norm.apply(x_TD, norm.weight, norm.variance_epsilon)  # type: ignore[no-untyped-call]
    return found


def projected(x_TD: Tensor, layers: Sequence[Linear]) -> Tensor:
    """What linear layers give that read the same input, side by side: [T, D] → [T, N], N all their outputs.

    Layers that are neither plain nor plain with a plain adapter (DoRA, four bits) compute for themselves.
    """
    parts = [part for layer in layers if (part := _part(layer))]
    if len(parts) < len(layers):
        return torch.cat([layer(x_TD) for layer in layers], dim=-1)
    tensors = chain.from_iterable((part.weight, part.bias, part.A, part.B) for part in parts)
    found: Tensor = _Project.apply(x_TD, [part.scale for part in parts], *tensors)  # type: ignore[no-untyped-call]
    return found


def turned(x_THD: Tensor, cos_T1D: Tensor, sin_T1D: Tensor) -> Tensor:
    """Rotary positions (Su et al., arXiv 2104.09864); the first half of the sines is negative."""
    found: Tensor = _Turn.apply(x_THD, cos_T1D, sin_T1D)  # type: ignore[no-untyped-call]
    return found


def gated(gate_up_TI: Tensor) -> Tensor:
    """SwiGLU, `silu(gate) · up`, of gate and up side by side: [T, 2I] → [T, I]."""
    found: Tensor = _Gate.apply(gate_up_TI)  # type: ignore[no-untyped-call]
    return found


@dataclass(frozen=True)
class _Part:
    """A linear layer, and the factors of the change beside it where there is one."""

    weight: Tensor
    bias: Tensor | None
    A: Tensor | None = None
    B: Tensor | None = None
    scale: float = 1.0


def _part(layer: Linear) -> _Part | None:
    if type(layer) is nn.Linear:
        return _Part(layer.weight, layer.bias)
    if type(layer) is LoraLinear and type(layer.base) is nn.Linear:
        return _Part(layer.base.weight, layer.base.bias, *layer.factors, layer.scale)
    return None


class _Project(torch.autograd.Function):
    """`W x + b + scale · B A x` for layers of one input; R is the sum of their ranks.

    All A are one product, as products of a narrow matrix are slow. Forward each layer is one too, `[x, A x]` times
    `[W, scale · B]ᵀ`, rounded once: a change added to what is rounded already is lost where it is under half a digit.
    """

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, scales: Sequence[float], *tensors: Tensor | None) -> Tensor:
        parts = [_Part(*tensors[4 * n : 4 * n + 4], scale) for n, scale in enumerate(scales)]  # type: ignore[arg-type, call-arg]
        out_TN = x_TD.new_empty(len(x_TD), sum(len(part.weight) for part in parts))
        low_TR = x_TD @ A_RD.T if (A_RD := _downs(parts, x_TD.dtype)) is not None else None
        for part, out, low in _pieces(parts, out_TN, low_TR):
            ins, weight = x_TD, part.weight
            if part.B is not None:
                ins = torch.cat([x_TD, low], dim=1)
                weight = torch.cat([weight, (part.B * part.scale).to(x_TD.dtype)], dim=1)
            if part.bias is None:
                torch.mm(ins, weight.T, out=out)
            else:
                torch.addmm(part.bias, ins, weight.T, out=out)
        ctx.save_for_backward(x_TD, low_TR)
        ctx.parts = parts
        return out_TN

    @staticmethod
    def backward(ctx: Any, grad_TN: Tensor) -> Grads:
        x_TD, low_TR = ctx.saved_tensors
        parts: list[_Part] = ctx.parts
        dtype = x_TD.dtype
        grad_low_TR = None if low_TR is None else torch.empty_like(low_TR)
        grad_x = x_TD.new_empty(x_TD.shape) if ctx.needs_input_grad[0] else None
        grads: list[list[Tensor | None]] = []
        for number, (part, grad, low) in enumerate(_pieces(parts, grad_TN, low_TR)):
            of_weight, of_bias, _, of_B = ctx.needs_input_grad[2 + 4 * number : 6 + 4 * number]
            if grad_x is not None:
                grad_x.addmm_(grad, part.weight, beta=min(number, 1))  # the first one overwrites
            weight = grad.T @ x_TD if of_weight else None
            factor = grad.T @ low * part.scale if of_B else None
            grads.append([weight, grad.sum(0) if of_bias else None, None, factor])
        for part, grad, low in _pieces(parts, grad_TN, grad_low_TR):
            if part.B is not None:
                torch.mm(grad, (part.B * part.scale).to(dtype), out=low)
        if grad_low_TR is not None:
            adapted = [of for of, part in zip(grads, parts, strict=True) if part.A is not None]
            ranks = [len(part.A) for part in parts if part.A is not None]
            for of, grad_A in zip(adapted, torch.split(grad_low_TR.T @ x_TD, ranks), strict=True):
                of[2] = grad_A
            if grad_x is not None:
                grad_x.addmm_(grad_low_TR, _downs(parts, dtype))
        return grad_x, None, *chain.from_iterable(grads)


def _downs(parts: Sequence[_Part], dtype: torch.dtype) -> Tensor | None:
    """Every A, one under the other [R, D]; None where there is none."""
    found = [part.A for part in parts if part.A is not None]
    return torch.cat(found).to(dtype) if found else None


def _pieces(parts: Sequence[_Part], wide_TN: Tensor, low_TR: Tensor | None) -> list[tuple[_Part, Tensor, Any]]:
    """Each layer with its columns of the outputs and of the low-rank middle (None where it has none)."""
    wide = torch.split(wide_TN, [len(part.weight) for part in parts], dim=1)
    ranks = [0 if part.A is None else len(part.A) for part in parts]
    low = [None] * len(parts) if low_TR is None else torch.split(low_TR, ranks, dim=1)
    return list(zip(parts, wide, low, strict=True))


class _Norm(torch.autograd.Function):
    """Keeps its input and each token's factor; the normalised values are made again."""

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
        wide = x_TD.float()
        factor_T1 = torch.rsqrt(wide.square().mean(-1, keepdim=True).add_(epsilon))
        ctx.save_for_backward(x_TD, weight_D, factor_T1)
        return wide.mul(factor_T1).to(x_TD.dtype).mul_(weight_D)

    @staticmethod
    def backward(ctx: Any, grad_TD: Tensor) -> Grads:
        x_TD, weight_D, factor_T1 = ctx.saved_tensors
        unit = x_TD.float().mul(factor_T1)
        of_weight = (grad_TD * unit.to(x_TD.dtype)).sum(0) if ctx.needs_input_grad[1] else None
        grad = (grad_TD * weight_D).float()
        along_T1 = (grad * unit).mean(-1, keepdim=True)
        return grad.addcmul(unit, along_T1, value=-1).mul_(factor_T1).to(x_TD.dtype), of_weight, None


class _Turn(torch.autograd.Function):
    """Back it is turned the other way."""

    @staticmethod
    def forward(ctx: Any, x_THD: Tensor, cos_T1D: Tensor, sin_T1D: Tensor) -> Tensor:
        ctx.save_for_backward(cos_T1D, sin_T1D)
        return (x_THD * cos_T1D).addcmul_(x_THD.roll(x_THD.shape[-1] // 2, -1), sin_T1D)

    @staticmethod
    def backward(ctx: Any, grad_THD: Tensor) -> Grads:
        cos_T1D, sin_T1D = ctx.saved_tensors
        swapped = grad_THD.roll(grad_THD.shape[-1] // 2, -1)
        return (grad_THD * cos_T1D).addcmul_(swapped, sin_T1D, value=-1), None, None


class _Gate(torch.autograd.Function):
    """Keeps its input alone."""

    @staticmethod
    def forward(ctx: Any, gate_up_TI: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up_TI)
        gate, up = gate_up_TI.chunk(2, dim=1)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad_TI: Tensor) -> Tensor:
        (gate_up_TI,) = ctx.saved_tensors
        gate, up = gate_up_TI.chunk(2, dim=1)
        grad = torch.empty_like(gate_up_TI)
        grad_gate, grad_up = grad.chunk(2, dim=1)
        torch.mul(functional.silu(gate), grad_TI, out=grad_up)
        torch.ops.aten.silu_backward(grad_TI * up, gate, grad_input=grad_gate)
        return grad
