"""Distinct-n: how much of what was said is not said twice?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric, ngrams
from shuyuan.measure.text import NORM, TOKENIZER, tokens


class DistinctN(Metric):
    """Different n-grams / all n-grams (Li et al. 2016), over all answers to one question; longer texts score lower."""

    reading: ClassVar[tuple[str, ...]] = ("case:lc", f"tok:{TOKENIZER}", f"norm:{NORM}")
    n: Annotated[int, Field(ge=1, le=4, description="tokens in a run")] = 2

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1, of one answer; None where it has fewer than n tokens."""
        return self.sampled([answer], question, relevant)

    def sampled(self, answers: Sequence[Answer], question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1; None where no answer has n tokens."""
        said: Counter[tuple[str, ...]] = Counter()
        for answer in answers:
            said += ngrams(tokens(answer.text, question.language), self.n)
        return len(said) / said.total() if said else None
