"""Attention over a packed row: each sequence sees itself only, computed as batched matrix products.

A sequence may go on from the beginning of another: it sees those tokens as if they were its own.

On a CPU this is faster than torch's flash attention for the short sequences that people teach with, and it needs no
varlen kernel. Long sequences and other devices take torch's own kernel, one sequence at a time. Registered with
transformers under the name `packed`; the row's layout travels as a keyword argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "packed"
LONGEST = 1024  # tokens of a sequence up to which all its scores are kept: T² × heads × 2 bytes a layer
_ALIKE = 0.75  # of the longest: sequences at least so long share its products
_PIECE = 128  # queries, about, of one product with the keys up to their last: what lies after is not multiplied


@dataclass(frozen=True)
class Run:
    """Neighbours of like length, computed as one: S sequences, `longest` L, from token `start` to `stop` of the row.

    `gather` is each token's place among the S · L when all are padded to the longest; None: nothing is padded.
    `begun`: where in the row the tokens lie that all of them go on from. A long sequence is several runs, each going on
    from those before it.
    """

    start: int
    stop: int
    sequences: int
    longest: int
    gather: Tensor | None
    begun: tuple[slice, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Where the sequences of a packed row lie. L longest, with what it goes on from; T tokens, D width of a head.

    `positions_1T` is each token's place in its own sequence; `bias_LL` is added to the scores: −∞ above the diagonal.
    """

    lengths: tuple[int, ...]
    begun: tuple[tuple[slice, ...], ...]
    longest: int
    runs: tuple[Run, ...]
    positions_1T: Tensor
    bias_LL: Tensor


def layout_of(
    lengths: Sequence[int], device: torch.device, dtype: torch.dtype, begun: Sequence[tuple[slice, ...]] = ()
) -> Layout:
    """The layout of a row that holds sequences of these lengths, in order.

    `begun`, where given, says of each where in the row, ahead of it, the tokens lie that it goes on from, in order.
    """
    begun = tuple(begun) or ((),) * len(lengths)
    firsts = [sum(part.stop - part.start for part in before) for before in begun]
    longest = max(length + first for length, first in zip(lengths, firsts, strict=True))
    bias_LL = torch.full((longest if longest <= LONGEST else 0,) * 2, float("-inf"), dtype=dtype).triu(1)
    positions_T = torch.cat([torch.arange(length) + first for length, first in zip(lengths, firsts, strict=True)])
    runs = _runs(lengths, begun, device)
    return Layout(tuple(lengths), begun, longest, runs, positions_T[None].to(device), bias_LL.to(device))


def _runs(lengths: Sequence[int], begun: Sequence[tuple[slice, ...]], device: torch.device) -> tuple[Run, ...]:
    """Those that go on from the same tokens come longest first, so that each run's first sequence is its longest."""
    groups: list[tuple[list[int], tuple[slice, ...]]] = []
    for length, before in _pieces(lengths, begun):
        lead, begins = (groups[-1][0][0], groups[-1][1]) if groups else (0, ())
        if before == begins and _ALIKE * lead <= length <= lead:
            groups[-1][0].append(length)
        else:
            groups.append(([length], before))
    runs, start = [], 0
    for group, before in groups:
        stop, longest = start + sum(group), group[0]
        real_SL = torch.arange(longest) < torch.tensor(group)[:, None]
        gather = None if real_SL.all() else real_SL.flatten().nonzero().squeeze(1).to(device)
        runs.append(Run(start, stop, len(group), longest, gather, before))
        start = stop
    return tuple(runs)


def _pieces(lengths: Sequence[int], begun: Sequence[tuple[slice, ...]]) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Long sequences in pieces of like length, each of which goes on from where its sequence starts."""
    start = 0
    for length, before in zip(lengths, begun, strict=True):
        many = max(1, round(length / _PIECE))
        ends = [length * (piece + 1) // many for piece in range(many)]
        for first, end in zip([0, *ends], ends, strict=False):
            yield end - first, (*before, slice(start, start + first)) if first else before
        start += length


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
    """As transformers calls it: `query` [1, H, T, D], `key` and `value` [1, G, T, D] → [1, T, H, D]."""
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    query_THD, key_TGD, value_TGD = (x[0].transpose(0, 1) for x in (query, key, value))
    return attended(query_THD, key_TGD, value_TGD, layout, scale)[None], None


def attended(query_THD: Tensor, key_TGD: Tensor, value_TGD: Tensor, layout: Layout, scale: float) -> Tensor:
    """Causal attention inside each sequence, [T, H, D]; H query heads share G key heads, H % G == 0."""
    if query_THD.device.type == "cpu" and layout.longest <= LONGEST:
        mixed: Tensor = _Short.apply(query_THD, key_TGD, value_TGD, layout, scale)  # type: ignore[no-untyped-call]
        return mixed
    heads_first = [x.transpose(0, 1)[None] for x in (query_THD, key_TGD, value_TGD)]
    outs, start = [], 0
    for length, before in zip(layout.lengths, layout.begun, strict=True):
        own = slice(start, start + length)
        parts = (*before, own)
        q, k, v = (torch.cat([x[:, :, at] for at in parts], dim=2) if before else x[:, :, own] for x in heads_first)
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
        outs.append(out[:, :, -length:])
        start += length
    return torch.cat(outs, dim=2)[0].transpose(0, 1)


class _Short(torch.autograd.Function):
    """All scores of a run in one product; R query heads are rows of their key head's product.

    A run's tokens are spread out and gathered again, both ways: nothing flows through padding, for a padded key stands
    behind every real query and a padded query has no gradient. Scores are scaled by way of the queries. Keys are
    brought to a mean of zero: all scores of a query change by the same, so no share does, and a score in bfloat16 has
    its digits where keys differ (Zhang et al., 2024, arXiv:2410.02367). Qwen2.5's keys have a large bias in common.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 (autograd passes by position)
        ctx: Any, query_THD: Tensor, key_TGD: Tensor, value_TGD: Tensor, layout: Layout, scale: float
    ) -> Tensor:
        out_THD = query_THD.new_empty(query_THD.shape)
        query_THD = query_THD * scale
        groups, kept = key_TGD.shape[1], []
        for run in layout.runs:
            query = _spread(query_THD, run, groups)
            key, value = (_begun(_spread(x, run, groups), x, run) for x in (key_TGD, value_TGD))
            key = key - key.mean(dim=1, keepdim=True)
            scores = query @ key.transpose(1, 2)  # [S·G, R·L, K], K = L and what was begun
            own = scores.view(-1, run.longest, key.shape[1])[:, :, -run.longest :]
            own.add_(layout.bias_LL[: run.longest, : run.longest])
            shares = torch.softmax(scores, dim=-1)
            _gather(shares @ value, run, out_THD)
            kept += [query, key, value, shares]
        ctx.save_for_backward(*kept)
        ctx.layout, ctx.scale, ctx.groups = layout, scale, groups
        return out_THD

    @staticmethod
    def backward(ctx: Any, grad_THD: Tensor) -> tuple[Tensor | None, ...]:
        grad_query = grad_THD.new_empty(grad_THD.shape)
        grad_key, grad_value = (grad_THD.new_empty(len(grad_THD), ctx.groups, grad_THD.shape[2]) for _ in range(2))
        for number, run in enumerate(ctx.layout.runs):
            query, key, value, shares = ctx.saved_tensors[4 * number : 4 * number + 4]
            grad = _spread(grad_THD, run, ctx.groups)
            _gather_begun(shares.transpose(1, 2) @ grad, run, grad_value)
            grad_scores = torch._softmax_backward_data(grad @ value.transpose(1, 2), shares, -1, shares.dtype)
            _gather(grad_scores @ key, run, grad_query)
            _gather_begun(grad_scores.transpose(1, 2) @ query, run, grad_key)
        return grad_query.mul_(ctx.scale), grad_key, grad_value, None, None


def _spread(x_THD: Tensor, run: Run, groups: int) -> Tensor:
    """A run's tokens as one matrix for each sequence and key head, [S·G, R·L, D]; padding is zero."""
    x = x_THD[run.start : run.stop]
    if run.gather is not None:
        x = x.new_zeros(run.sequences * run.longest, *x.shape[1:]).index_copy_(0, run.gather, x)
    x = x.view(run.sequences, run.longest, *x.shape[1:])
    return x.transpose(1, 2).reshape(run.sequences * groups, -1, x.shape[3])


def _gather(x: Tensor, run: Run, into_THD: Tensor) -> None:
    """The inverse of `_spread`: [S·G, R·L, D] to the run's tokens of a row."""
    heads, width = into_THD.shape[1:]
    x = x.view(run.sequences, heads, run.longest, width).transpose(1, 2)
    if run.gather is None:
        into_THD[run.start : run.stop].view(x.shape).copy_(x)
    else:
        torch.index_select(x.reshape(-1, heads, width), 0, run.gather, out=into_THD[run.start : run.stop])


def _begun(own: Tensor, x_TGD: Tensor, run: Run) -> Tensor:
    """Keys or values of a run, [S·G, L, D], behind those that its sequences go on from: [S·G, K, D]."""
    if not run.begun:
        return own
    before_GPD = torch.cat([x_TGD[part] for part in run.begun]).transpose(0, 1)
    return torch.cat([before_GPD.repeat(run.sequences, 1, 1), own], dim=1)


def _gather_begun(x: Tensor, run: Run, into_TGD: Tensor) -> None:
    """The inverse of `_begun` and `_spread`; what was begun lies ahead in the row, so something is there to add to."""
    _gather(x[:, -run.longest :], run, into_TGD)
    if run.begun:
        sizes = [part.stop - part.start for part in run.begun]
        of_each = x[:, : -run.longest].view(run.sequences, into_TGD.shape[1], -1, x.shape[2])
        before_PGD = of_each.sum(0).transpose(0, 1)
        for part, grad in zip(run.begun, torch.split(before_PGD, sizes), strict=True):
            into_TGD[part] += grad


ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
