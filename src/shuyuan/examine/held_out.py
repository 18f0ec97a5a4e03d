"""Held-out: questions on documents that nobody was taught; a library may look them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.records import Question
from shuyuan.examine.papers import Paper
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.marking import Metric
from shuyuan.measure.token_f1 import TokenF1


class HeldOut(Paper):
    """Shows what carries over to documents of the same kind. Part of the knowledge paper, told apart."""

    pool: ClassVar[str] = "held-out"
    documents: Annotated[tuple[str, ...], Field(description="which documents; an exam fills this in")] = ()

    def questions(self, material: Sequence[Question]) -> tuple[Question, ...]:
        """The answerable questions on those documents."""
        return tuple(q for q in material if q.answers and not q.choices and q.source in self.documents)

    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy decides."""
        return (Accuracy(), TokenF1())
