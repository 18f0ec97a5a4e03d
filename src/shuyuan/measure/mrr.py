"""MRR: how far down is the first passage that holds evidence?"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric
from shuyuan.measure.ranking import found_and_wanted


class Mrr(Metric):
    """1 / rank of the first relevant passage, 0 if none was found; their mean is the mean reciprocal rank."""

    reading: ClassVar[tuple[str, ...]] = ()

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1; None where no passage is known to be relevant, or the assistant looks nothing up."""
        if (pair := found_and_wanted(answer, relevant)) is None:
            return None
        found, wanted = pair
        return next((1 / rank for rank, id in enumerate(found, start=1) if id in wanted), 0.0)
