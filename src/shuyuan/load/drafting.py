"""Drafts of what comes next, copied from what stands in the text already (prompt lookup, Saxena 2023).

The model reads a draft in one step and keeps what it would have said itself: the answer is the same, only sooner.
Answers from passages copy much.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 7  # tokens of a draft: eight rows cost a CPU little more than one
_WORDS = (3, 2)  # tokens at the end that must have stood earlier, longest first
_TRUST = 0.3  # the trust in a row's drafts that one more judgement replaces


class Drafts:
    """Where each pair and triple of tokens of one row was last followed by something, and how good the copies were."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}
        self._seen = 0
        self.trust = 0.5  # the share of drafted tokens that was kept lately

    def draft(self, tokens: Sequence[int], most: int) -> list[int]:
        """At most `most` tokens that followed the last occurrence of what `tokens` end with; often none."""
        for at in range(self._seen, len(tokens)):
            for size in _WORDS:
                if at >= size:
                    self._after[tuple(tokens[at - size : at])] = at
        self._seen = len(tokens)
        for size in _WORDS:
            after = self._after.get(tuple(tokens[-size:]))
            if after is not None and most > 0:
                return list(tokens[after : after + most])
        return []

    def judge(self, drafted: int, kept: int) -> None:
        """Take note of how much of a draft the model kept."""
        if drafted:
            self.trust += _TRUST * (kept / drafted - self.trust)
