"""Perplexity: between how many equally likely tokens a model had to choose, on average."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import numpy as np

from shuyuan.base.records import Answer, Question
from shuyuan.measure.likelihood import surprise
from shuyuan.measure.marking import Floats, PooledMetric, ratio


class Perplexity(PooledMetric):
    """exp(nats / tokens) over all tokens of a paper. Only models with one and the same tokenizer compare."""

    higher_is_better: ClassVar[bool] = False
    bounded: ClassVar[bool] = False
    reading: ClassVar[tuple[str, ...]] = ("tok:model",)

    def counts(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> tuple[float, ...] | None:
        """Nats and tokens."""
        nats = surprise(answer)
        return None if nats is None else (nats, float(len(answer.logprobs)))

    def pooled(self, sums: Floats) -> Floats:
        """1 and above; NaN without tokens."""
        return np.exp(ratio(sums[..., 0], sums[..., 1]))
