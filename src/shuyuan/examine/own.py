"""Own: the questions that people wrote, apart from those that a program made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from shuyuan.base.records import Question
from shuyuan.examine.papers import Paper
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.marking import Metric
from shuyuan.measure.token_f1 import TokenF1


class Own(Paper):
    """Part of the knowledge paper, told apart; nothing more is asked."""

    pool: ClassVar[str] = "own"

    def questions(self, material: Sequence[Question]) -> tuple[Question, ...]:
        """The answerable questions that no program made."""
        return tuple(q for q in material if q.answers and not q.choices and not q.made)

    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy decides."""
        return (Accuracy(), TokenF1())
