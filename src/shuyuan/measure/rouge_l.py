"""ROUGE-L: the longest run of tokens, gaps allowed, that the answer shares with a right answer."""

from __future__ import annotations

from collections.abc import Collection

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Metric, Tokens, best_of_golds


class RougeL(Metric):
    """F1 of the longest common subsequence (Lin 2004), over the one tokenizer of Chinese and English, no stemming."""

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1; None where the question has no answer."""
        return best_of_golds(answer, question, rouge_l)


def rouge_l(said: Tokens, gold: Tokens) -> float:
    """2·LCS / (|said| + |gold|), symmetric; 0 where either is empty, as in the reference implementation."""
    if not said or not gold:
        return 0.0
    row = [0] * (len(gold) + 1)
    for word in said:
        diagonal = 0
        for at, other in enumerate(gold, start=1):
            above = row[at]
            row[at] = diagonal + 1 if word == other else max(above, row[at - 1])
            diagonal = above
    return 2 * row[-1] / (len(said) + len(gold))
