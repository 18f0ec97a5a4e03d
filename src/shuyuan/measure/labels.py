"""Answers that are labels: which of the declared ones was said, and how often each was right, wrong and missed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Floats, PooledMetric, ratio
from shuyuan.measure.text import NORM, TOKENIZER, tokens


class LabelMetric(PooledMetric):
    """What precision, recall and F1 of a classification share.

    An answer says a label if it equals it once both are normalised; any other answer, and a refusal, says none. The
    truth is the gold that is a label. `macro` is the mean over all declared labels, `micro` pools them.
    """

    reading: ClassVar[tuple[str, ...]] = ("case:lc", f"tok:{TOKENIZER}", f"norm:{NORM}", "undefined:0")
    labels: Annotated[tuple[str, ...], Field(description="the labels that an answer may be")] = ()
    average: Annotated[Literal["macro", "micro"], Field(description="mean over labels, or over all decisions")] = (
        "macro"
    )

    def counts(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> tuple[float, ...] | None:
        """For each label: rightly said, said, and true. Raises Fixable where the truth is not declared."""
        if not self.labels:
            raise Fixable("there are no labels to mark answers with", "name them in `labels`, as the questions do")
        if not question.answers:
            return None
        names = [tokens(label, question.language) for label in self.labels]
        said = None if answer.refused else tokens(answer.text, question.language)
        golds = [tokens(gold, question.language) for gold in question.answers]
        true = next((gold for gold in golds if gold in names), None)
        if true is None:
            raise Fixable(f"'{question.answers[0]}' is none of the labels", f"they are: {', '.join(self.labels)}")
        return tuple(
            float(value) for name in names for value in (name == said and said == true, name == said, name == true)
        )

    def pooled(self, sums: Floats) -> Floats:
        """0 to 1, with 0 for a label that was never said or never true, as scikit-learn's `zero_division=0`."""
        right, said, true = np.moveaxis(sums.reshape(*sums.shape[:-1], -1, 3), -1, 0)
        if self.average == "micro":
            right, said, true = (part.sum(axis=-1, keepdims=True) for part in (right, said, true))
        return np.asarray(self._of(right, said, true).mean(axis=-1))

    @staticmethod
    @abstractmethod
    def _of(right: Floats, said: Floats, true: Floats) -> Floats:
        """The value of each label from its counts."""


def share(part: Floats, whole: Floats) -> Floats:
    """`part / whole`, 0 where there is nothing."""
    return ratio(part, whole, 0.0)
