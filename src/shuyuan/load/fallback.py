"""Generation by transformers' own forward pass, for networks of any kind: slower, and right for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

import torch
from torch import Tensor

from shuyuan.load.engines import Feed

MOST_TOKENS = 16_384  # of all rows, padding and answers included: bounds the memory of their keys and values


@dataclass(eq=False)
class _Place:
    """A row: the wave it goes in, and how many of its tokens it has read."""

    tokens: int
    length: int = 0
    wave: _Wave | None = None


@dataclass(eq=False)
class _Wave:
    """Rows that began in the same step and share one batch, padded at the left. `mask_BT` grows with every step."""

    places: list[_Place]
    mask_BT: Tensor
    cache: Any = field(default=None)


class Generic:
    """Rows that begin together go in one batch until they end; those that come later are a batch of their own."""

    takes_back = False

    def __init__(self, net: Any) -> None:
        self._net: ref[Any] = ref(net)  # those who ask keep it alive
        self._places = list[_Place]()

    def fits(self, tokens: int) -> bool:
        """Whether the limit allows one more row of so many tokens."""
        longest = max([tokens, *(place.tokens for place in self._places)])
        return not self._places or (len(self._places) + 1) * longest <= MOST_TOKENS

    def open(self, tokens: int) -> _Place:
        """A place for a row of at most so many tokens."""
        place = _Place(tokens)
        self._places.append(place)
        return place

    def begin(self, place: _Place, tokens: Sequence[int], others: Sequence[tuple[Sequence[int], _Place]]) -> bool:
        """Nothing is taken over: rows of one batch are read together."""
        return False

    def close(self, place: _Place, tokens: Sequence[int]) -> None:
        """Forget a row; the batch it was in goes on without it."""
        self._places.remove(place)
        wave = place.wave
        if wave is None:
            return
        kept = [row for row, other in enumerate(wave.places) if other is not place]
        wave.places = [wave.places[row] for row in kept]
        if kept:
            rows = torch.tensor(kept, device=wave.mask_BT.device)
            wave.mask_BT = wave.mask_BT[rows]
            wave.cache.batch_select_indices(rows)

    @torch.inference_mode()
    def read(self, feeds: Sequence[Feed]) -> Tensor:
        """See `Engine`. A row reads its prompt whole, and then one token in each step."""
        net: Any = self._net()
        fresh = [feed.place for feed in feeds if feed.place.wave is None]
        if fresh:
            wave = _Wave(fresh, torch.zeros(len(fresh), 0, dtype=torch.long, device=net.device))
            for place in fresh:
                place.wave = wave
        given = {id(feed.place): feed for feed in feeds}
        logits: dict[int, Tensor] = {}
        for wave in {id(feed.place.wave): feed.place.wave for feed in feeds}.values():
            logits |= self._advance(net, wave, [given[id(place)] for place in wave.places])
        return torch.cat([logits[id(feed.place)] for feed in feeds])

    def _advance(self, net: Any, wave: _Wave, feeds: Sequence[Feed]) -> dict[int, Tensor]:
        longest = max(len(feed.tokens) for feed in feeds)
        ids_BT = torch.zeros(len(feeds), longest, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for row, feed in enumerate(feeds):
            ids_BT[row, longest - len(feed.tokens) :] = torch.tensor(feed.tokens)
            mask_BT[row, longest - len(feed.tokens) :] = 1
        wave.mask_BT = torch.cat([wave.mask_BT, mask_BT.to(wave.mask_BT.device)], dim=1)
        positions_BT = (wave.mask_BT.cumsum(1) - 1).clamp(min=0)[:, -longest:]
        said = net(
            input_ids=ids_BT.to(wave.mask_BT.device),
            attention_mask=wave.mask_BT,
            position_ids=positions_BT,
            past_key_values=wave.cache,
            use_cache=True,
            logits_to_keep=max(feed.wanted for feed in feeds),
        )
        wave.cache = said.past_key_values
        found = {}
        for feed, logits_TV in zip(feeds, said.logits, strict=True):
            feed.place.length += len(feed.tokens)
            found[id(feed.place)] = logits_TV[len(logits_TV) - feed.wanted :]
        return found
