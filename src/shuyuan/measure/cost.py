"""Cost: what one answer costs at your prices, by its tokens and its time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric


class Cost(Metric):
    """Tokens and wall time multiplied by prices in a currency of your own; by default the hours of one machine."""

    higher_is_better: ClassVar[bool] = False
    bounded: ClassVar[bool] = False
    reading: ClassVar[tuple[str, ...]] = ()
    million_read: Annotated[float, Field(ge=0, description="price of a million tokens read")] = 0.0
    million_written: Annotated[float, Field(ge=0, description="price of a million tokens written")] = 0.0
    hour: Annotated[float, Field(ge=0, description="price of an hour of the machine")] = 1.0

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """A price, ≥ 0."""
        read, written = answer.prompt_tokens * self.million_read, answer.answer_tokens * self.million_written
        return (read + written) / 1e6 + answer.seconds / 3600 * self.hour
