"""Beginnings that were read before: the same system message, the same passages, the turns of a conversation so far.

A row takes their keys and values from a row that is going on, or from one that has ended and is kept for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shuyuan.load.slots import Cache, Place, take

WORTH = 16  # tokens from which on a common beginning is taken over
MOST = 16_384  # tokens kept of rows that have ended
SHARE = 0.125  # of the cache's greatest size, at most


class Prefixes:
    """What rows that have ended had read, newest last."""

    def __init__(self, cache: Cache) -> None:
        self._cache, self._kept = cache, list[tuple[Sequence[int], Place]]()

    def keep(self, place: Place, tokens: Sequence[int]) -> None:
        """Keep what a row has read before it is closed; what was kept longest goes when there is too much."""
        read = tokens[: place.length]
        if len(read) < WORTH:
            return
        self._kept = [(old, at) for old, at in self._kept if common(old, read) < len(old)]
        self._kept.append((read, self._cache.keep(place)))
        while sum(len(old) for old, _ in self._kept) > min(MOST, SHARE * self._cache.most_tokens):
            self._kept.pop(0)

    def begin(self, place: Place, tokens: Sequence[int], others: Iterable[tuple[Sequence[int], Place]]) -> bool:
        """Take over the longest beginning that was read already; whether to wait for one of `others` that reads it now.

        The last token is always read anew: what follows it is wanted.
        """
        best, source = WORTH - 1, None
        for other, at in [*self._kept, *others]:
            shared = min(common(tokens, other), len(tokens) - 1)
            if shared > best:
                best, source = shared, at
        if source is None:
            return False
        if source.length < best:
            return True
        take(source, place, best)
        return False


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts have in common at their beginning."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))
