"""Token F1: how many tokens the answer and the nearest right answer share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric, Tokens, best_of_golds


class TokenF1(Metric):
    """SQuAD's F1 over multisets of tokens, so that a word said twice counts twice (Rajpurkar et al. 2016)."""

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1; None where the question has no answer."""
        return best_of_golds(answer, question, f1)


def f1(said: Tokens, gold: Tokens) -> float:
    """2·|said ∩ gold| / (|said| + |gold|), symmetric; two empty texts are equal."""
    if not said and not gold:
        return 1.0
    shared = (Counter(said) & Counter(gold)).total()
    return 2 * shared / (len(said) + len(gold))
