"""Of the passages found, those that the model is shown: the pinned ones, then the best that fit a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence

from shuyuan.base.records import Passage
from shuyuan.recall.ground import about_tokens
from shuyuan.recall.searching import Hit


def fitted(hits: Sequence[Hit], most: int, tokens: float) -> tuple[Passage, ...]:
    """At most `most` passages of about `tokens` tokens together, but at least one; best first.

    Pinned ones take their place first; then come the others, best first, up to the first that does not fit.
    """
    taken: set[int] = set()
    left = float(tokens)
    for row in sorted(range(len(hits)), key=lambda row: not hits[row].pinned):
        size = about_tokens(hits[row].passage.searchable)
        if len(taken) == most or (size > left and taken):
            break
        taken.add(row)
        left -= size
    return tuple(hits[row].passage for row in sorted(taken))
