"""Drafts of what comes next, copied from what stands in the text already (prompt lookup, Saxena 2023).

The model reads a draft in one step and keeps what it would have said itself: the answer is the same, only sooner.
Answers from passages copy much.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 7  # tokens of a draft: eight tokens cost a CPU 1.4 times as much as one
HOPEFUL = 0.3  # the share of right tokens from which on a whole draft pays; below it a single token does
SURE = 0.8  # from which on a draft pays even where it is not cheap
_WORDS = 3  # tokens at the end that must have stood earlier
_TRUST = (0.4, 0.1, 0.3)  # at first; at least; and how much of it one more judgement replaces


class Drafts:
    """Where each triple of tokens of one row was last followed by something, and how good the copies were lately."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}
        self._seen = _WORDS
        self.trust = _TRUST[0]  # how likely a drafted token is right when those before it were

    def draft(self, tokens: Sequence[int], most: int) -> list[int]:
        """At most `most` tokens that followed the last occurrence of what `tokens` end with; often none."""
        for at in range(self._seen, len(tokens)):
            self._after[tuple(tokens[at - _WORDS : at])] = at
        self._seen = max(self._seen, len(tokens))
        after = self._after.get(tuple(tokens[-_WORDS:]))
        return [] if after is None else list(tokens[after : after + max(0, most)])

    def judge(self, drafted: int, kept: int) -> None:
        """Take note of how much of a draft the model kept."""
        if drafted:
            _, least, share = _TRUST
            right = kept / (kept + (kept < drafted))
            self.trust = max(least, self.trust + share * (right - self.trust))
