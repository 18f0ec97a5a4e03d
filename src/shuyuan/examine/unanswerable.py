"""Unanswerable: questions that the documents do not answer, to see who declines and who makes things up."""

from __future__ import annotations

from collections.abc import Sequence

from shuyuan.base.records import Question
from shuyuan.examine.papers import Paper
from shuyuan.measure.marking import Metric
from shuyuan.measure.refusal_precision import RefusalPrecision
from shuyuan.measure.refusal_recall import RefusalRecall


class Unanswerable(Paper):
    """Declining is right here, and wrong on the knowledge paper; precision looks at both."""

    def questions(self, material: Sequence[Question]) -> tuple[Question, ...]:
        """The workspace's exam questions that have no answer."""
        return tuple(question for question in material if not question.answers)

    def metrics(self) -> tuple[Metric, ...]:
        """Recall first: how many inventions were avoided."""
        return (RefusalRecall(), RefusalPrecision())
