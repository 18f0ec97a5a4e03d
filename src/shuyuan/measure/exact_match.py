"""Exact match: is the answer a right answer and nothing else?"""

from __future__ import annotations

from collections.abc import Collection

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric, best_of_golds


class ExactMatch(Metric):
    """1 if the answer's tokens equal a gold answer's, else 0; a refusal is 0. `北京。` equals `北京`."""

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 or 1; None where the question has no answer."""
        return best_of_golds(answer, question, lambda said, gold: float(said == gold))
