"""BLEU: the share of runs of one to four words that right answers hold too, with a penalty for being short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import Floats, PooledMetric, ngrams, ratio
from shuyuan.measure.text import tokens
from shuyuan.measure.wmt import tok_13a, tok_zh

ORDERS = 4


class Bleu(PooledMetric):
    """Papineni et al. 2002 as sacrebleu computes it, with exponential smoothing, but from 0 to 1 (sacrebleu: to 100).

    The score of a paper pools its n-grams. `auto` cuts Chinese questions' texts with `zh` and all others with `13a`.
    """

    reading: ClassVar[tuple[str, ...]] = ("refs:all", "case:mixed", "eff:no", "smooth:exp")
    tokenizer: Annotated[
        Literal["auto", "13a", "zh", "mixed"], Field(description="how text is cut; mixed is the other metrics' rule")
    ] = "auto"

    def counts(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> tuple[float, ...] | None:
        """n-grams that match and that were said, for n from 1 to 4, words said, words of the golds' nearest length."""
        if not question.answers:
            return None
        said = [] if answer.refused else self._cut(answer.text, question.language)
        return matches(said, [self._cut(gold, question.language) for gold in question.answers])

    def pooled(self, sums: Floats) -> Floats:
        """0 to 1; 0 where no word matches or nothing of four words was said."""
        return bleu(sums)

    def _cut(self, text: str, language: str) -> Sequence[str]:
        if self.tokenizer == "mixed":
            return tokens(text, language)
        chinese = self.tokenizer == "zh" or (self.tokenizer == "auto" and language == "zh")
        return tok_zh(text) if chinese else tok_13a(text)


def matches(said: Sequence[str], golds: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """BLEU's counts of one text: an n-gram matches as often as the gold that has it most often."""
    matched, total = [], []
    for n in range(1, ORDERS + 1):
        ours = ngrams(said, n)
        theirs: Counter[tuple[str, ...]] = Counter()
        for gold in golds:
            theirs |= ngrams(gold, n)
        matched.append(float((ours & theirs).total()))
        total.append(float(ours.total()))
    nearest = min((abs(len(gold) - len(said)), len(gold)) for gold in golds)[1]
    return (*matched, *total, float(len(said)), float(nearest))


def bleu(sums: Floats) -> Floats:
    """BLEU of added counts. Each order without a match halves the one match that is lent to it (mteval's smoothing)."""
    matched, total, said, gold = sums[..., :ORDERS], sums[..., ORDERS:-2], sums[..., -2], sums[..., -1]
    missed = matched == 0
    lent = 0.5 ** np.cumsum(missed, axis=-1)
    precisions = ratio(np.where(missed, lent, matched), total, nothing=1.0)
    brevity = np.exp(np.minimum(0.0, 1 - ratio(gold, said, nothing=np.inf)))
    defined = ~missed.all(axis=-1) & (total > 0).all(axis=-1)
    return np.where(defined, brevity * np.exp(np.log(precisions).mean(axis=-1)), 0.0)
