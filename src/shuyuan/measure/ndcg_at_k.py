"""NDCG at k: are the passages that hold the evidence near the top of the first k found?"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric
from shuyuan.measure.ranking import found_and_wanted


class NdcgAtK(Metric):
    """Σ grade / log₂(rank + 1) over the first k, divided by the best possible (Järvelin & Kekäläinen 2002).

    Linear gain, and the ideal is over all relevant passages, found or not, as in trec_eval.
    """

    reading: ClassVar[tuple[str, ...]] = ("gain:linear",)
    k: Annotated[int, Field(ge=1, le=100, description="how many of the passages found count")] = 10

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1; None where no passage is known to be relevant, or the assistant looks nothing up."""
        if (pair := found_and_wanted(answer, relevant)) is None:
            return None
        found, wanted = pair
        ideal = sorted(wanted.values(), reverse=True)[: self.k]
        return _discounted(wanted.get(id, 0.0) for id in found[: self.k]) / _discounted(ideal)


def _discounted(grades: Iterable[float]) -> float:
    return math.fsum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))
