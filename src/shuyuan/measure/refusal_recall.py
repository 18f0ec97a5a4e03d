"""Refusal recall: of the questions that have no answer, how many were declined?"""

from __future__ import annotations

from collections.abc import Collection

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric
from shuyuan.measure.refusal import declined


class RefusalRecall(Metric):
    """1 if an unanswerable question was declined, 0 if something was made up."""

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 or 1; None where the question has an answer."""
        return None if question.answers else float(declined(answer, question))
