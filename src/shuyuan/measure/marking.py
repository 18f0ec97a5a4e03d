"""What every metric shares: one item's value, how items add up, the signature, and several golds or answers.

One idea serves exam, learning curve and reward: an answer and its truth → a number. Most scores are the mean of those
numbers. Some are not (BLEU, macro F1, calibration): they pool, which means that each item gives counts, counts are
added up, and a formula makes the number of the sum. The number of one item is then the formula of its own counts.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shuyuan import __version__
from shuyuan.base.records import Answer, Question
from shuyuan.base.settings import Settings
from shuyuan.base.shelf import kebab_name
from shuyuan.measure.text import NORM, TOKENIZER, tokens

Floats = NDArray[np.float64]
Tokens = tuple[str, ...]


class Metric(Settings, ABC):
    """Something that turns one answer to one question into a number. Each file of this room defines one."""

    higher_is_better: ClassVar[bool] = True
    bounded: ClassVar[bool] = True  # every item lies between 0 and 1
    reading: ClassVar[tuple[str, ...]] = ("refs:max", "case:lc", f"tok:{TOKENIZER}", f"norm:{NORM}")

    @abstractmethod
    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """The item's value, or None where the metric does not apply to it.

        `relevant` holds the ids of the passages in which the question's evidence stands; a mapping gives their grades.
        """

    def sampled(self, answers: Sequence[Answer], question: Question, relevant: Collection[str] = ()) -> float | None:
        """The value of several answers to one question: their mean, unless the metric is about the group."""
        found = [value for answer in answers if (value := self.measure(answer, question, relevant)) is not None]
        return sum(found) / len(found) if found else None

    def tally(
        self, answers: Sequence[Answer], question: Question, relevant: Collection[str] = ()
    ) -> tuple[float, ...] | None:
        """What one question, answered once or more, adds to the score of a paper; None where nothing applies."""
        value = self.sampled(answers, question, relevant)
        return None if value is None else (value, 1.0)

    def pooled(self, sums: Floats) -> Floats:
        """The score of a whole paper from its added counts: [..., counts] → [...]; NaN where there was no item."""
        return ratio(sums[..., 0], sums[..., 1])

    @property
    def signature(self) -> str:
        """All that another person needs to repeat the number: `token-f1|refs:max|case:lc|tok:mixed|norm:v1|v:0.1.0`."""
        settings = [f"{key}:{_plain(value)}" for key, value in self.model_dump().items()]
        return "|".join([kebab_name(type(self)), *self.reading, *settings, f"v:{__version__}"])


class PooledMetric(Metric):
    """A metric whose score for a paper is not the mean of its items, but a formula of their added counts."""

    @abstractmethod
    def counts(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> tuple[float, ...] | None:
        """What one answer adds to the score of a paper; None where the metric does not apply to it."""

    @abstractmethod
    def pooled(self, sums: Floats) -> Floats:
        """The score of a whole paper from its added counts: [..., counts] → [...]; NaN where it is undefined."""

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """The score of a paper of this one item; None where the metric does not apply or the score is undefined."""
        counts = self.counts(answer, question, relevant)
        value = math.nan if counts is None else float(self.pooled(np.array(counts, dtype=float)))
        return None if math.isnan(value) else value

    def tally(
        self, answers: Sequence[Answer], question: Question, relevant: Collection[str] = ()
    ) -> tuple[float, ...] | None:
        """The mean of the answers' counts, so that a question drawn often weighs as much as one drawn once."""
        found = [counts for answer in answers if (counts := self.counts(answer, question, relevant)) is not None]
        return tuple(sum(column) / len(found) for column in zip(*found, strict=True)) if found else None


def best_of_golds(answer: Answer, question: Question, likeness: Callable[[Tokens, Tokens], float]) -> float | None:
    """The highest `likeness(answer, gold)` over the golds; 0 for a refusal; None where there is no gold."""
    if not question.answers:
        return None
    if answer.refused:
        return 0.0
    said = tokens(answer.text, question.language)
    return float(max(likeness(said, tokens(gold, question.language)) for gold in question.answers))


def ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of `n` words occurs."""
    return Counter(zip(*(words[at:] for at in range(n)), strict=False))


def ratio(part: Floats, whole: Floats, nothing: float = float("nan")) -> Floats:
    """`part / whole`, and `nothing` where the whole is 0."""
    return np.where(whole != 0, part / np.where(whole != 0, whole, 1.0), nothing)


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
