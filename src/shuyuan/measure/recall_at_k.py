"""Recall at k: which share of the passages that hold the evidence is among the first k found?"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric
from shuyuan.measure.ranking import found_and_wanted


class RecallAtK(Metric):
    """|first k retrieved ∩ relevant| / |relevant|, as in trec_eval; below 1 at best where more than k are relevant."""

    reading: ClassVar[tuple[str, ...]] = ()
    k: Annotated[int, Field(ge=1, le=100, description="how many of the passages found count")] = 5

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1; None where no passage is known to be relevant, or the assistant looks nothing up."""
        if (pair := found_and_wanted(answer, relevant)) is None:
            return None
        found, wanted = pair
        return sum(id in wanted for id in found[: self.k]) / len(wanted)
