"""Refusal precision: of the questions that were declined, how many had no answer?"""

from __future__ import annotations

from collections.abc import Collection

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric
from shuyuan.measure.refusal import declined


class RefusalPrecision(Metric):
    """1 if a declined question had no answer, 0 if it had one and should have been answered."""

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 or 1; None where the assistant did not decline."""
        return float(not question.answers) if declined(answer, question) else None
