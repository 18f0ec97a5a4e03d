"""The forward pass of generation for networks of the Llama family: rows of any length, read in one packed step.

What transformers' own does for each token is done here with few operations: fused and packed products, keys and values
written where they stay, attention over all rows at once. Before it is used it is compared with the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from shuyuan.load.anatomy import blocks_of
from shuyuan.load.between import InTorch, Operations, wanted_rows
from shuyuan.load.compiling import compiles
from shuyuan.load.engines import Feed
from shuyuan.load.prefixes import Prefixes
from shuyuan.load.slots import Cache, Place, Shape

SMALL = 32  # tokens of a step, up to which compiled small operations were measured to be faster


class Forward:
    """Reads tokens into their rows' places and gives logits. Not for two threads at once.

    A row may read several tokens at once, and take the last ones back by `Place.length`.
    """

    takes_back = True

    def __init__(self, net: Any, copy: bool) -> None:
        self.parts = blocks_of(net, copy)
        weight = self.parts.embedding_VD
        shape = Shape(len(self.parts.blocks), self.parts.groups, self.parts.width, weight.dtype, weight.device)
        self.cache = Cache(shape)
        self._prefixes = Prefixes(self.cache)
        self._small = _small(weight)
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
        # T tokens of all rows, N wanted ones, D width of a token or a head, X all heads, I inner width
        parts, then, last = self.parts, self._operations(feeds), len(self.parts.blocks) - 1
        device = parts.embedding_VD.device
        ids_T = torch.tensor([token for feed in feeds for token in feed.tokens], device=device)
        x_TD, more_TD = functional.embedding(ids_T, parts.embedding_VD), None
        for layer, block in enumerate(parts.blocks):
            qkv_TXD = block.qkv(then.normed(x_TD, block.before_attention, more_TD)).view(len(x_TD), -1, parts.width)
            asks_TXD, value_TGD = qkv_TXD[:, : -parts.groups], qkv_TXD[:, -parts.groups :]
            if block.head_norms:
                of_queries, of_keys = block.head_norms
                query_THD, key_TGD = asks_TXD[:, : parts.heads], asks_TXD[:, parts.heads :]
                asks_TXD = torch.cat([then.normed(query_THD, of_queries), then.normed(key_TGD, of_keys)], dim=1)
            found_TD = block.out(then.attended(layer, asks_TXD, value_TGD, layer == last))
            if layer == last:  # keys and values are kept; nothing else is needed of the other positions
                x_TD = x_TD[torch.tensor(wanted_rows(feeds), dtype=torch.long, device=device)]
            gate_up_TI = block.gate_up(then.normed(x_TD, block.before_mlp, found_TD))
            more_TD = block.down(then.gated(gate_up_TI))
        for feed in feeds:
            feed.place.length += len(feed.tokens)
        return parts.head(then.normed(x_TD, parts.norm, more_TD)) if len(x_TD) else x_TD

    def _operations(self, feeds: Sequence[Feed]) -> Operations:
        starts, counts = [feed.place.length for feed in feeds], [len(feed.tokens) for feed in feeds]
        ends = [start + count for start, count in zip(starts, counts, strict=True)]
        positions = [at for start, end in zip(starts, ends, strict=True) for at in range(start, end)]
        positions_T = torch.tensor(positions, device=self.parts.embedding_VD.device)
        turns_2TD = [turn[positions_T] for turn in self._turned(max(ends))]
        known = len(self._means_1GD) == len(self.parts.blocks)
        kind = self._small if self._small and known and len(positions) <= SMALL else InTorch
        return kind(feeds, turns_2TD, self._means_1GD, self.parts.scale)

    def _turned(self, longest: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines [positions, D] of at least so many positions; the first half of the sines is negative."""
        if len(self._turns[0]) < longest:
            weight = self.parts.embedding_VD
            positions = torch.arange(max(1024, 2 * longest), device=weight.device)
            cos, sin = (turn[0] for turn in self.parts.rotary(weight[:1], positions[None]))
            first, second = sin.chunk(2, dim=-1)
            self._turns = cos, torch.cat([-first, second], dim=-1)
        return self._turns


def _small(weight: Tensor) -> type[Operations] | None:
    """The same compiled, where the network computes in what NumPy knows."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or not compiles():
        return None
    from shuyuan.load.small import Compiled

    return Compiled
