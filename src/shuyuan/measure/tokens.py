"""Tokens an answer: how much the model reads and writes for one answer, the part of its cost that scales."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric


class Tokens(Metric):
    """Tokens of the assistant's own tokenizer."""

    higher_is_better: ClassVar[bool] = False
    bounded: ClassVar[bool] = False
    reading: ClassVar[tuple[str, ...]] = ()
    count: Annotated[Literal["all", "prompt", "answer"], Field(description="tokens read, written, or both")] = "all"

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """A count, ≥ 0."""
        read = answer.prompt_tokens if self.count != "answer" else 0
        written = answer.answer_tokens if self.count != "prompt" else 0
        return float(read + written)
