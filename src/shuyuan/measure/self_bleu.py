"""Self-BLEU: how alike are several answers to one question?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import ClassVar

from shuyuan.base.records import Answer, Question
from shuyuan.measure.bleu import Bleu
from shuyuan.measure.marking import Metric


class SelfBleu(Metric):
    """The mean BLEU of each answer with the others as its golds (Zhu et al. 2018); low is diverse."""

    higher_is_better: ClassVar[bool] = False
    reading: ClassVar[tuple[str, ...]] = (*Bleu.reading, "tokenizer:auto")

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """None: a single answer has nothing to be like."""
        return None

    def sampled(self, answers: Sequence[Answer], question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1; None with fewer than two answers."""
        if len(answers) < 2:
            return None
        texts = tuple(answer.text for answer in answers)
        alike = 0.0
        for at, text in enumerate(texts):
            others = replace(question, answers=texts[:at] + texts[at + 1 :])
            alike += Bleu().measure(Answer(text), others) or 0.0
        return alike / len(texts)
