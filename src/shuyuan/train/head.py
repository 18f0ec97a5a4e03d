"""The output layer and its loss, at once: the logits of a whole row are never in memory where that can be helped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def head_loss(hidden_ND: Tensor, head: nn.Linear, targets_N: Tensor, chunk: int) -> Tensor:
    """The cross-entropy in nats of each of N positions, in float32. D width of the model, V vocabulary.

    `chunk` positions are computed at a time. Where `head` learns, its gradient is added to `head.weight.grad`.
    """
    loss_N: Tensor = _Head.apply(hidden_ND, head.weight, head.bias, targets_N, chunk)  # type: ignore[no-untyped-call]
    return loss_N


class _Head(torch.autograd.Function):
    """The output layer and its cross-entropy over N positions, a chunk of them at a time.

    Logits are the largest tensor of a step. They are computed once, and each becomes its own gradient in place. With a
    frozen output layer one chunk of them exists at a time; else they stay in the model's precision, and the layer's
    gradient goes straight into `weight.grad`: a fresh tensor of its size for every row costs more than the product.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 (autograd passes by position)
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor, chunk: int
    ) -> Tensor:
        ctx.needs_weight = any(ctx.needs_input_grad[1:3])
        grad_ND = torch.empty_like(hidden_ND)
        held = len(hidden_ND) if ctx.needs_weight else min(chunk, len(hidden_ND))
        logits_NV = hidden_ND.new_empty(held, len(weight_VD))
        loss_N = hidden_ND.new_empty(len(hidden_ND), dtype=torch.float32)
        for start in range(0, len(hidden_ND), chunk):
            at = slice(start, start + chunk)
            into = logits_NV[at] if ctx.needs_weight else logits_NV[: len(hidden_ND[at])]
            if bias_V is None:
                torch.mm(hidden_ND[at], weight_VD.T, out=into)
            else:
                torch.addmm(bias_V, hidden_ND[at], weight_VD.T, out=into)
            _loss_and_slope_(into, targets_N[at], loss_N[at])
            torch.mm(into, weight_VD, out=grad_ND[at])
        ctx.save_for_backward(hidden_ND, weight_VD)
        ctx.kept = grad_ND, logits_NV if ctx.needs_weight else None
        return loss_N

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD = ctx.saved_tensors
        grad_ND, slope_NV = ctx.kept
        del ctx.kept
        bias = None
        if ctx.needs_weight:
            scale = float(grad_N.abs().max()) or 1.0
            share_N = (grad_N / scale).to(hidden_ND.dtype)  # where all positions count alike: ones, which round nothing
            if ctx.needs_input_grad[1]:
                scaled_ND = hidden_ND * share_N[:, None]
                if weight_VD.grad is None:
                    weight_VD.grad = (slope_NV.T @ scaled_ND).mul_(scale)
                else:
                    weight_VD.grad.addmm_(slope_NV.T, scaled_ND, alpha=scale)
            bias = (slope_NV.T @ share_N).mul_(scale) if ctx.needs_input_grad[2] else None
        return grad_ND.mul_(grad_N[:, None]), None, bias, None, None


def _loss_and_slope_(logits_CV: Tensor, targets_C: Tensor, loss_C: Tensor) -> None:
    """Each position's cross-entropy into `loss_C`, in float32; the logits become its slope, softmax − one-hot."""
    rows = 16 if logits_CV.device.type == "cpu" else len(logits_CV)  # few enough to stay in a CPU's cache
    parts = (torch.split(given, rows) for given in (logits_CV, targets_C, loss_C))
    for part_RV, targets_R, loss_R in zip(*parts, strict=True):
        logs_RV = torch.log_softmax(part_RV.float(), dim=-1)
        torch.neg(logs_RV.gather(1, targets_R[:, None]).squeeze(1), out=loss_R)
        at = torch.arange(len(targets_R), device=targets_R.device)
        part_RV.copy_(logs_RV.exp_().index_put_((at, targets_R), logs_RV.new_tensor(-1.0), accumulate=True))
