"""ROUGE-n: how many runs of n tokens the answer shares with a right answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import Field

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric, Tokens, best_of_golds, ngrams


class RougeN(Metric):
    """F1 of clipped n-gram counts (Lin 2004), over the one tokenizer of Chinese and English, no stemming."""

    n: Annotated[int, Field(ge=1, le=4, description="tokens in a run")] = 1

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1; None where the question has no answer."""
        return best_of_golds(answer, question, lambda said, gold: rouge_n(said, gold, self.n))


def rouge_n(said: Tokens, gold: Tokens, n: int) -> float:
    """2·|shared| / (|said| + |gold|) in n-grams, symmetric; 0 where either has none, as in the reference."""
    ours, theirs = ngrams(said, n), ngrams(gold, n)
    size = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / size if size else 0.0
