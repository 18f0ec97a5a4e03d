"""ECE: by how much do answers' probabilities differ from the share that is right?"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from shuyuan.base.records import Answer, Question
from shuyuan.measure.confidence import sure_and_right
from shuyuan.measure.marking import Floats, Metric, PooledMetric, ratio


class Ece(PooledMetric):
    """Expected calibration error: Σ share of the bin · |right − sure| over bins of equal width, closed on the left.

    Few items a bin make it too high: under some 300 answers use fewer bins (1 compares the two means).
    """

    higher_is_better: ClassVar[bool] = False
    reading: ClassVar[tuple[str, ...]] = (*Metric.reading, "right:contains", "sure:product", "width:equal")
    bins: Annotated[int, Field(ge=1, le=100, description="bins between 0 and 1")] = 15

    def counts(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> tuple[float, ...] | None:
        """For each bin: answers, and by how much they were right more often than sure."""
        pair = sure_and_right(answer, question)
        return None if pair is None else binned(*pair, self.bins)

    def pooled(self, sums: Floats) -> Floats:
        """0 to 1; NaN without answers."""
        return ratio(np.abs(sums[..., 1::2]).sum(axis=-1), sums[..., ::2].sum(axis=-1))


def binned(sure: float, right: float, bins: int) -> tuple[float, ...]:
    """The counts of one answer; a probability of 1 falls into the last bin."""
    edges = np.linspace(0, 1, bins + 1)  # multiplying instead would put 0.3 of ten bins into another one than its edge
    at = min(int(np.searchsorted(edges, sure, side="right")) - 1, bins - 1)
    found = [0.0] * (2 * bins)
    found[2 * at : 2 * at + 2] = 1.0, right - sure
    return tuple(found)
