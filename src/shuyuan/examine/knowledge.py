"""Knowledge: questions that the documents answer, in words that nobody learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from shuyuan.base.records import Question
from shuyuan.examine.papers import Paper
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.exact_match import ExactMatch
from shuyuan.measure.marking import Metric
from shuyuan.measure.recall_at_k import RecallAtK
from shuyuan.measure.rouge_l import RougeL
from shuyuan.measure.seconds import Seconds
from shuyuan.measure.token_f1 import TokenF1
from shuyuan.measure.tokens import Tokens


class Knowledge(Paper):
    """The main paper. Assistants may know the answer by heart or find it; both count."""

    k: Annotated[int, Field(ge=1, le=100, description="how many of the passages found count for recall@k")] = 5

    def questions(self, material: Sequence[Question]) -> tuple[Question, ...]:
        """The workspace's exam questions that have an answer, without those that offer choices."""
        return tuple(question for question in material if question.answers and not question.choices)

    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy decides; the others explain."""
        return (Accuracy(), ExactMatch(), TokenF1(), RougeL(), RecallAtK(k=self.k), Seconds(), Tokens())
