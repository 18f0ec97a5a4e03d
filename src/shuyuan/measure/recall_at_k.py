"""Recall at k: was the passage that holds the evidence among the first k found?"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric


class RecallAtK(Metric):
    """|first k retrieved ∩ relevant| / min(k, |relevant|), so that finding all that fits in k places scores 1."""

    reads_text: ClassVar[bool] = False
    k: Annotated[int, Field(ge=1, le=100, description="how many of the passages found count")] = 5

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1; None where no passage is known to be relevant, or the assistant looks nothing up."""
        wanted = set(relevant)
        if not wanted or not answer.retrieved:
            return None
        return len(wanted.intersection(answer.retrieved[: self.k])) / min(self.k, len(wanted))
