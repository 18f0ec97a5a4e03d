"""Accuracy: does the answer contain a right answer, word for word?"""

from __future__ import annotations

from collections.abc import Collection

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric, best_of_golds
from shuyuan.measure.text import contains


class Accuracy(Metric):
    """1 if the tokens of a gold answer stand in the answer side by side, else 0; a refusal is 0.

    None for unanswerable questions. Longer answers have more chances to be right: read it beside token F1.
    """

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 or 1; None where the question has no answer."""
        return best_of_golds(answer, question, contains)
