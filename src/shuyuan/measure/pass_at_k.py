"""Pass@k: how likely is at least one of k answers right?"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.records import Answer, Question
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.marking import Metric


class PassAtK(Metric):
    """The unbiased estimator of Chen et al. 2021 from n ≥ k answers to one question; right is what accuracy says."""

    reading: ClassVar[tuple[str, ...]] = (*Metric.reading, "right:contains")
    k: Annotated[int, Field(ge=1, le=1000, description="how many tries one has")] = 1

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """The mark of a single answer, which says nothing about k > 1: None there."""
        return self.sampled([answer], question, relevant)

    def sampled(self, answers: Sequence[Answer], question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1; None where the question has no answer, or with fewer than k answers."""
        marks = [Accuracy().measure(answer, question) for answer in answers]
        if len(marks) < self.k or None in marks:
            return None
        return pass_at_k(len(marks), marks.count(1.0), self.k)


def pass_at_k(n: int, right: int, k: int) -> float:
    """1 − C(n − right, k) / C(n, k), exact to the last bit."""
    return 1 - math.comb(n - right, k) / math.comb(n, k)
