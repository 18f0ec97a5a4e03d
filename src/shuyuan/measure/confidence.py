"""How sure an assistant was of its answer, from the probabilities of its tokens, and whether it was right."""

from __future__ import annotations

import math

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import best_of_golds
from shuyuan.measure.text import contains


def sure_and_right(answer: Answer, question: Question) -> tuple[float, float] | None:
    """The answer's probability (the product over its tokens, 0 to 1) and 1 if a gold stands in it, else 0.

    None where there is no gold, the assistant declined, or its token probabilities were not kept.
    """
    right = best_of_golds(answer, question, contains)
    if right is None or answer.refused or not answer.logprobs:
        return None
    return math.exp(min(0.0, math.fsum(token.logprob for token in answer.logprobs))), right
