"""Attention over a packed row: each sequence sees itself only, computed as batched matrix products.

On a CPU this is faster than torch's flash attention for the short sequences that people teach with, and it needs no
varlen kernel. Long sequences and other devices take torch's own kernel, one sequence at a time. Registered with
transformers under the name `packed`; the row's layout travels as a keyword argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "packed"
LONGEST = 1024  # tokens of a sequence up to which all its scores are kept: T² × heads × 2 bytes a layer


@dataclass(frozen=True)
class Layout:
    """Where the sequences of a packed row lie. S sequences, L longest, T tokens, D width of a head.

    `positions_1T` is each token's place in its own sequence, `gather_T` its place among the S · L when every sequence
    is padded to the longest; `bias_LL` is added to the scores: −∞ above the diagonal.
    """

    lengths: tuple[int, ...]
    positions_1T: Tensor
    gather_T: Tensor
    bias_LL: Tensor


def layout_of(lengths: list[int], device: torch.device, dtype: torch.dtype) -> Layout:
    """The layout of a row that holds sequences of these lengths, in order."""
    longest = max(lengths)
    real_SL = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    positions_T = torch.arange(longest).expand(len(lengths), -1)[real_SL]
    bias_LL = torch.full((longest if longest <= LONGEST else 0,) * 2, float("-inf"), dtype=dtype).triu(1)
    gather_T = real_SL.flatten().nonzero().squeeze(1)
    return Layout(tuple(lengths), positions_T[None].to(device), gather_T.to(device), bias_LL.to(device))


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each sequence. `query` [1, H, T, D], `key` and `value` [1, G, T, D] with H % G == 0."""
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    if query.device.type == "cpu" and max(layout.lengths) <= LONGEST:
        mixed: Tensor = _Short.apply(query, key, value, layout, scale)  # type: ignore[no-untyped-call]
        return mixed, None
    parts = zip(*(torch.split(x, list(layout.lengths), dim=2) for x in (query, key, value)), strict=True)
    outs = [
        functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
        for q, k, v in parts
    ]
    return torch.cat(outs, dim=2).transpose(1, 2), None


class _Short(torch.autograd.Function):
    """All scores of all sequences in one product, padded to the longest; R query heads share their key head's product.

    The sequences' tokens are spread out and gathered again by index alone, both ways: nothing flows through padding,
    for a padded key stands behind every real query and a padded query has no gradient.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 (autograd passes by position)
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float
    ) -> Tensor:
        kept = tuple(_spread(x, layout) for x in (query, key, value))
        query_SHLD, key_SGLD, value_SGLD = kept
        scores = _rows(query_SHLD, key_SGLD) @ key_SGLD.flatten(0, 1).transpose(1, 2)  # [S·G, R·L, L]
        longest = scores.shape[2]
        scores.view(-1, longest, longest).mul_(scale).add_(layout.bias_LL)
        shares = torch.softmax(scores, dim=-1)
        mixed = shares @ value_SGLD.flatten(0, 1)
        ctx.save_for_backward(*kept, shares)
        ctx.layout, ctx.scale = layout, scale
        return _gather(mixed.view_as(query_SHLD), layout).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad_1THD: Tensor) -> tuple[Tensor | None, ...]:
        query_SHLD, key_SGLD, value_SGLD, shares = ctx.saved_tensors
        grad = _rows(_spread(grad_1THD.transpose(1, 2), ctx.layout), key_SGLD)
        query, key, value = _rows(query_SHLD, key_SGLD), key_SGLD.flatten(0, 1), value_SGLD.flatten(0, 1)
        grad_value = shares.transpose(1, 2) @ grad
        grad_shares = grad @ value.transpose(1, 2)
        grad_scores = torch._softmax_backward_data(grad_shares, shares, -1, shares.dtype).mul_(ctx.scale)
        grads = (grad_scores @ key, grad_scores.transpose(1, 2) @ query, grad_value)
        like = (query_SHLD, key_SGLD, value_SGLD)
        back = (_gather(g.view_as(x), ctx.layout) for g, x in zip(grads, like, strict=True))
        return (*back, None, None)


def _rows(query_SHLD: Tensor, key_SGLD: Tensor) -> Tensor:
    """The queries of a key head's group as the rows of one matrix: [S·G, R·L, D]."""
    sequences, groups, _, width = key_SGLD.shape
    return query_SHLD.view(sequences * groups, -1, width)


def _spread(x_1HTD: Tensor, layout: Layout) -> Tensor:
    """[1, H, T, D] → [S, H, L, D], contiguous; shorter sequences are filled with zeros."""
    _, heads, _, width = x_1HTD.shape
    sequences, longest = len(layout.lengths), max(layout.lengths)
    flat = x_1HTD.new_zeros(sequences * longest, heads, width)
    flat[layout.gather_T] = x_1HTD[0].transpose(0, 1)
    return flat.view(sequences, longest, heads, width).transpose(1, 2).contiguous()


def _gather(x_SHLD: Tensor, layout: Layout) -> Tensor:
    """[S, H, L, D] → [1, H, T, D], the inverse of `_spread`."""
    return x_SHLD.transpose(1, 2).flatten(0, 1)[layout.gather_T].transpose(0, 1)[None]


ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
