"""Of the passages found, those that the model is shown: pinned ones, then the best that are new and fit the budget.

What is best is decided anew where the embedder can tell by tokens what passages hold of a question (`evidence.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shuyuan.base.records import Passage
from shuyuan.recall.citing import key_terms
from shuyuan.recall.evidence import evidence, placed
from shuyuan.recall.ground import Ground, about_tokens
from shuyuan.recall.searching import Hit, Library
from shuyuan.store.contract import normal

SAME = 0.75  # share of all terms of two passages that both hold, from which on the second one says nothing new


_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is shown of what was found: all hits, best first; the passages shown, and the evidence of each."""

    hits: Sequence[Hit]
    passages: tuple[Passage, ...]
    held: Sequence[float]


def choose_shown(
    library: Library, texts: Sequence[str], hits: Sequence[Sequence[Hit]], ground: Ground, *, order: bool, weigh: bool
) -> list[Chosen]:
    """For each text, of what was found for it.

    `order`: best first by their tokens, and not as they were found; a library that ranks again has done that already.
    `weigh` False: tokens are not looked at, and all evidence is 0.
    """
    if not weigh:
        fit = [_fit(of, ground) for of in hits]
        return [Chosen(of, passages, [0.0] * len(passages)) for of, passages in zip(hits, fit, strict=True)]
    read = library.read(texts, [[hit.passage for hit in of] for of in hits])
    chosen = []
    for of, (question, passages) in zip(hits, read, strict=True):
        by_id = {hit.passage.id: passage for hit, passage in zip(of, passages, strict=True)}
        worth = placed(evidence(question, passages), range(len(of)))
        best = of if library.reranker or not order else [of[row] for row in np.argsort(-worth, kind="stable")]
        shown = _fit(best, ground)
        chosen.append(Chosen(best, shown, evidence(question, [by_id[passage.id] for passage in shown])))
    return chosen


def _fit(hits: Sequence[Hit], ground: Ground) -> tuple[Passage, ...]:
    return fitted(hits, ground.passages, ground.prompt_tokens, ground.diversity) if hits else ()


class _Held:
    """What a passage says, as far as its terms and numbers tell."""

    def __init__(self, text: str) -> None:
        self.terms, self.numbers = key_terms(text), frozenset(_NUMBER.findall(normal(text)))

    def like(self, other: _Held) -> float:
        """The share of all terms of both that both hold (Jaccard), 0 to 1."""
        return len(self.terms & other.terms) / max(1, len(self.terms | other.terms))

    def repeats(self, other: _Held, same: float) -> bool:
        """Whether it says the same: nearly the same terms, and every number (this year's rate is not last year's)."""
        return self.numbers == other.numbers and self.like(other) >= same


def fitted(
    hits: Sequence[Hit], most: int, tokens: float, diversity: float = 0.0, same: float = SAME
) -> tuple[Passage, ...]:
    """At most `most` passages of about `tokens` tokens together, but at least one; in the order they were found.

    Pinned ones take their place first; then come the others, best first, up to the first that does not fit. One that
    nearly repeats another (`same`) is left out. `diversity`: how much being unlike those taken already counts beside
    the place in the ranking, 0 to 1 (maximal marginal relevance, Carbonell and Goldstein, 1998).
    """
    held = [_Held(hit.passage.text) for hit in hits]
    taken: list[int] = []
    left, open_ = float(tokens), list(range(len(hits)))

    def worth(row: int) -> tuple[bool, float]:
        like = max((held[row].like(held[other]) for other in taken), default=0.0) if diversity else 0.0
        return hits[row].pinned, (1 - diversity) * (1 - row / len(hits)) - diversity * like

    while open_ and len(taken) < most:
        row = max(open_, key=worth)
        open_.remove(row)
        if not hits[row].pinned and any(held[row].repeats(held[other], same) for other in taken):
            continue
        left -= about_tokens(hits[row].passage.searchable)
        if left < 0 and taken:
            break
        taken.append(row)
    return tuple(hits[row].passage for row in sorted(taken))
