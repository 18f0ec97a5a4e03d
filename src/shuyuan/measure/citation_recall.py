"""Citation recall: is the evidence among what an answer cites?"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from shuyuan.base.records import Answer, Question
from shuyuan.measure.citing import can_be_cited, supports
from shuyuan.measure.marking import Metric


class CitationRecall(Metric):
    """1 if at least one citation supports the answer (after Gao et al. 2023), judged by words, not by a model."""

    reading: ClassVar[tuple[str, ...]] = (*Metric.reading[1:], "evidence:half")

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 or 1; None where no evidence is known. An answer that cites nothing scores 0."""
        if not can_be_cited(question, relevant):
            return None
        return float(any(supports(one, question, relevant) for one in answer.citations))
