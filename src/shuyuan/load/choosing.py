"""The next token: the likeliest, or one drawn; the same whatever else is in the batch. And how likely it was."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_FIRST_LOOK = 64  # of the likeliest tokens, when the smallest set that holds `top_p` is sought


@dataclass(frozen=True, slots=True)
class Likely:
    """A token's log probability in nats, and the likeliest alternatives as (token, log probability)."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


def drawn(logits_V: Tensor, temperature: float, top_p: float, seed: int, position: int) -> int:
    """A token of the smallest set that holds `top_p` of the probability, always the same for one seed and position."""
    wide_V = logits_V.double()
    shares_V = torch.softmax((wide_V - wide_V.max()) / temperature, -1)
    at = random.Random(f"{seed} {position}").random()
    if top_p >= 1:
        return _where(shares_V, at)
    look = _FIRST_LOOK
    while True:
        shares_K, tokens_K = shares_V.topk(min(look, len(shares_V)))
        enough = int((shares_K.cumsum(0) < top_p).sum()) + 1
        if enough <= len(shares_K) or len(shares_K) == len(shares_V):
            return int(tokens_K[_where(shares_K[:enough], at)])
        look *= 8


def _where(shares: Tensor, at: float) -> int:
    """Where the sum of the shares first exceeds this part of all of them."""
    sums = shares.cumsum(0)
    return min(int(torch.searchsorted(sums, at * sums[-1], right=True)), len(shares) - 1)


def log_odds(logits_V: Tensor, tokens: Sequence[int]) -> float:
    """Of one of these tokens coming next, against all the others."""
    chosen = torch.tensor(tokens, device=logits_V.device)
    wide_V = logits_V.double()
    return float(wide_V[chosen].logsumexp(0) - wide_V.index_fill(0, chosen, -torch.inf).logsumexp(0))


def likely(logits_V: Tensor, token: int, count: int) -> Likely:
    """How likely the model finds a token, and its `count` likeliest ones, before temperature and `top_p`."""
    nats_V = torch.log_softmax(logits_V.float(), -1)
    values, tokens = nats_V.topk(min(count, len(nats_V)))
    return Likely(token, float(nats_V[token]), tuple(zip(tokens.tolist(), values.tolist(), strict=True)))


def likely_each(logits_NV: Tensor, tokens: Sequence[int], best: Sequence[int]) -> list[Likely]:
    """How likely each of N tokens is, by the logits of its place; `best` has the likeliest there."""
    both_N2 = torch.tensor([*zip(tokens, best, strict=True)], device=logits_NV.device)
    wide_NV = logits_NV.float()
    found_N2 = wide_NV.gather(1, both_N2) - wide_NV.logsumexp(1, keepdim=True)
    told = zip(tokens, best, found_N2.tolist(), strict=True)
    return [Likely(token, nats, ((top, most),)) for token, top, (nats, most) in told]
