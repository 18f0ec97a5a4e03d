"""ChrF: runs of one to six characters shared with a right answer; no word splitting, so it is fair to Chinese."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import starmap
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Floats, PooledMetric, ngrams, ratio

CHARACTERS, BETA2 = 6, 4  # β = 2: recall counts twice as much as precision
_PUNCTUATION = frozenset(string.punctuation)


class Chrf(PooledMetric):
    """F2 of character n-grams (Popović 2015) as sacrebleu computes it, from 0 to 1; blanks do not count, case does.

    The score of a paper pools the n-grams of each item's nearest gold.
    """

    reading: ClassVar[tuple[str, ...]] = ("refs:nearest", "case:mixed", "eff:yes", f"nc:{CHARACTERS}", "space:no")
    words: Annotated[int, Field(ge=0, le=2, description="longest run of words that counts too; 2 is chrF++")] = 0

    def counts(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> tuple[float, ...] | None:
        """For each order: n-grams said, in the nearest gold, and in both."""
        if not question.answers:
            return None
        said = list(self._ngrams("" if answer.refused else answer.text))
        found = [tuple(starmap(_overlap, zip(said, self._ngrams(gold), strict=True))) for gold in question.answers]
        flat = np.array(found, dtype=float).reshape(len(found), -1)
        return tuple(flat[int(np.argmax(self.pooled(flat)))].tolist())

    def pooled(self, sums: Floats) -> Floats:
        """0 to 1: precision and recall are averaged over the orders that both sides have."""
        said, gold, both = np.moveaxis(sums.reshape(*sums.shape[:-1], -1, 3), -1, 0)
        known = (said > 0) & (gold > 0)
        orders = known.sum(axis=-1)
        precision = ratio((ratio(both, said, 0.0) * known).sum(axis=-1), orders, 0.0)
        recall = ratio((ratio(both, gold, 0.0) * known).sum(axis=-1), orders, 0.0)
        return ratio((1 + BETA2) * precision * recall, BETA2 * precision + recall, 0.0)

    def _ngrams(self, text: str) -> Iterator[Counter[tuple[str, ...]]]:
        characters, words = "".join(text.split()), list(_words(text))
        yield from (ngrams(characters, n) for n in range(1, CHARACTERS + 1))
        yield from (ngrams(words, n) for n in range(1, self.words + 1))


def _overlap(said: Counter[tuple[str, ...]], gold: Counter[tuple[str, ...]]) -> tuple[int, int, int]:
    return (said.total() if gold else 0), gold.total(), (said & gold).total()


def _words(text: str) -> Iterator[str]:
    """Words between blanks, one punctuation mark cut off at the end or else at the start, as in the reference."""
    for word in text.split():
        if len(word) > 1 and word[-1] in _PUNCTUATION:
            yield from (word[:-1], word[-1])
        elif len(word) > 1 and word[0] in _PUNCTUATION:
            yield from (word[0], word[1:])
        else:
            yield word
