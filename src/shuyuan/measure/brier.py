"""Brier score: the squared distance between how sure an answer was and whether it was right."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from shuyuan.base.records import Answer, Question
from shuyuan.measure.confidence import sure_and_right
from shuyuan.measure.marking import Metric


class Brier(Metric):
    """(probability − right)² of the binary outcome, from 0 to 1, lower is better (Brier 1950)."""

    higher_is_better: ClassVar[bool] = False
    reading: ClassVar[tuple[str, ...]] = (*Metric.reading, "right:contains", "sure:product")

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1; None without a gold, without token probabilities, and for a refusal."""
        pair = sure_and_right(answer, question)
        return None if pair is None else (pair[0] - pair[1]) ** 2
