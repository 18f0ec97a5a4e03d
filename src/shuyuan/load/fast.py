"""The forward pass of generation for networks of the Llama family: rows of any length, read in one packed step.

What transformers' own does for each token is done here with few operations: fused and packed products, keys and values
written where they stay, attention over all rows at once. Before it is used it is compared with the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from shuyuan.load.anatomy import Block, blocks_of
from shuyuan.load.attention import Look, looks_of, mixed, write
from shuyuan.load.engines import Feed
from shuyuan.load.prefixes import Prefixes
from shuyuan.load.slots import Cache, Place, Shape


@dataclass(frozen=True)
class _Step:
    """What the layers need to know: T tokens are read, N of them are wanted; all of it worked out once for a step."""

    looks: list[Look]
    wanted_N: Tensor
    wanted_looks: list[Look]
    cos_T1D: Tensor
    sin_T1D: Tensor


class Forward:
    """Reads tokens into their rows' places and gives logits. Not for two threads at once.

    A row may read several tokens at once, and take the last ones back by `Place.length`. From every key the mean of the
    first ones ever read is taken off: all scores of a query change by the same, so no share does, and a score in
    bfloat16 has its digits where keys differ (Zhang et al., 2024, arXiv:2410.02367).
    """

    takes_back = True

    def __init__(self, net: Any, copy: bool) -> None:
        self.parts = blocks_of(net, copy)
        weight = self.parts.embedding_VD
        shape = Shape(len(self.parts.blocks), self.parts.groups, self.parts.width, weight.dtype, weight.device)
        self.cache = Cache(shape)
        self._prefixes = Prefixes(self.cache)
        self._turns = (weight[:0], weight[:0])
        self._means_1GD: dict[int, Tensor] = {}  # of the keys, by layer

    def fits(self, tokens: int) -> bool:
        """Whether memory holds one more row of so many tokens."""
        return self.cache.fits(tokens)

    def open(self, tokens: int) -> Place:
        """Where a row of at most so many tokens will lie."""
        return self.cache.open(tokens)

    def begin(self, place: Place, tokens: Sequence[int], others: Sequence[tuple[Sequence[int], Place]]) -> bool:
        """See `Engine`."""
        return self._prefixes.begin(place, tokens, others)

    def close(self, place: Place, tokens: Sequence[int]) -> None:
        """See `Engine`."""
        self._prefixes.keep(place, tokens)
        self.cache.close(place)

    @torch.inference_mode()
    def read(self, feeds: Sequence[Feed]) -> Tensor:
        """See `Engine`; lengths of places go on."""
        # T tokens of all rows, N wanted ones, D width of a token or a head, H query heads, I inner width
        step = self._step(feeds)
        ids = [token for feed in feeds for token in feed.tokens]
        x_TD = functional.embedding(torch.tensor(ids, device=step.wanted_N.device), self.parts.embedding_VD)
        looks, last = step.looks, len(self.parts.blocks) - 1
        for layer, block in enumerate(self.parts.blocks):
            query_THD = self._asked(layer, block, x_TD, step)
            if layer == last:  # keys and values are kept; nothing else is needed of the other positions
                x_TD, query_THD, looks = x_TD[step.wanted_N], query_THD[step.wanted_N], step.wanted_looks
            x_TD = block.out(mixed(looks, layer, query_THD)).add_(x_TD)
            gate_TI, up_TI = block.gate_up(block.before_mlp(x_TD)).chunk(2, dim=-1)
            x_TD = block.down(functional.silu(gate_TI).mul_(up_TI)).add_(x_TD)
        for feed in feeds:
            feed.place.length += len(feed.tokens)
        return self.parts.head(self.parts.norm(x_TD)) if len(x_TD) else x_TD

    def _step(self, feeds: Sequence[Feed]) -> _Step:
        weight = self.parts.embedding_VD
        places, counts = [feed.place for feed in feeds], [len(feed.tokens) for feed in feeds]
        wanted, ends = [feed.wanted for feed in feeds], [feed.place.length + len(feed.tokens) for feed in feeds]
        stops = list(accumulate(counts))
        rows = [row for stop, want in zip(stops, wanted, strict=True) for row in range(stop - want, stop)]
        positions = [at for end, count in zip(ends, counts, strict=True) for at in range(end - count, end)]
        cos, sin = self._turned(max(ends))
        positions_T = torch.tensor(positions, device=weight.device)
        return _Step(
            looks_of(places, ends, counts, weight),
            torch.tensor(rows, dtype=torch.long, device=weight.device),
            looks_of(places, ends, wanted, weight),
            cos[positions_T, None],
            sin[positions_T, None],
        )

    def _asked(self, layer: int, block: Block, x_TD: Tensor, step: _Step) -> Tensor:
        """The queries [T, H, D], turned and scaled; keys and values are written."""
        parts = self.parts
        heads, groups = parts.heads, parts.groups
        qkv_THD = block.qkv(block.before_attention(x_TD)).view(len(x_TD), heads + 2 * groups, parts.width)
        asks_THD = qkv_THD[:, : heads + groups]
        if block.head_norms:
            of_queries, of_keys = block.head_norms
            asks_THD = torch.cat([of_queries(asks_THD[:, :heads]), of_keys(asks_THD[:, heads:])], dim=1)
        swapped_THD = asks_THD.roll(parts.width // 2, -1)
        turned_THD = torch.addcmul(asks_THD * step.cos_T1D, swapped_THD, step.sin_T1D)
        key_TGD = turned_THD[:, heads:]
        if layer not in self._means_1GD:
            self._means_1GD[layer] = key_TGD.mean(dim=0, keepdim=True)
        write(step.looks, layer, key_TGD - self._means_1GD[layer], qkv_THD[:, heads + groups :])
        return turned_THD[:, :heads].mul_(parts.scale)

    def _turned(self, longest: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines [positions, D] of at least so many positions; the first half of the sines is negative."""
        if len(self._turns[0]) < longest:
            weight = self.parts.embedding_VD
            positions = torch.arange(max(1024, 2 * longest), device=weight.device)
            cos, sin = (turn[0] for turn in self.parts.rotary(weight[:1], positions[None]))
            first, second = sin.chunk(2, dim=-1)
            self._turns = cos, torch.cat([-first, second], dim=-1)
        return self._turns
