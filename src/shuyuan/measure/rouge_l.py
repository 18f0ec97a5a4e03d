"""ROUGE-L: the longest run of tokens, gaps allowed, that the answer shares with a right answer."""

from __future__ import annotations

from collections import defaultdict
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
    return 2 * _longest(said, gold) / (len(said) + len(gold)) if said and gold else 0.0


def _longest(said: Tokens, gold: Tokens) -> int:
    """The length of the longest common subsequence; a row of its table is the bits of one number (Hyyrö 2004)."""
    places: dict[str, int] = defaultdict(int)
    for at, word in enumerate(gold):
        places[word] |= 1 << at
    full = row = (1 << len(gold)) - 1  # a 0 bit stands where the subsequence grows by one
    for word in said:
        if matched := row & places.get(word, 0):
            row = ((row + matched) | (row - matched)) & full
    return len(gold) - row.bit_count()
