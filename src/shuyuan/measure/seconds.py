"""Seconds an answer: how long one answer takes, as its assistant counted it."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric


class Seconds(Metric):
    """Wall time of one answer; in a batch, the batch's time divided by its answers."""

    higher_is_better: ClassVar[bool] = False
    bounded: ClassVar[bool] = False
    reading: ClassVar[tuple[str, ...]] = ()

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """Seconds, ≥ 0."""
        return answer.seconds
