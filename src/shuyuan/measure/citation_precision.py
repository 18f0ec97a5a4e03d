"""Citation precision: how many of an answer's citations point at the evidence?"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from shuyuan.base.records import Answer, Question
from shuyuan.measure.citing import can_be_cited, supports
from shuyuan.measure.marking import Metric


class CitationPrecision(Metric):
    """Citations that support the answer / all citations of it (after Gao et al. 2023), judged by words, not a model."""

    reading: ClassVar[tuple[str, ...]] = (*Metric.reading[1:], "evidence:half")

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1; None where nothing is cited or no evidence is known."""
        if not answer.citations or not can_be_cited(question, relevant):
            return None
        return sum(supports(one, question, relevant) for one in answer.citations) / len(answer.citations)
