"""Robustness: the same questions with slips, in other spellings and other words; and with the facts changed."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.records import Answer, Question
from shuyuan.examine.papers import Paper, pick
from shuyuan.examine.perturb import CHANGES, changed
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.marking import Metric
from shuyuan.measure.text import tokens

_MARK = "~"
_TOLD, _OTHER = "told", "changed-fact"
_READ = {
    "zh": "资料：{text}\n\n只根据资料回答：{question}",
    "en": "Material: {text}\n\nFrom the material only: {question}",
}
_INTEGER = re.compile(r"\d{1,6}")


class Robustness(Paper):
    """Invariance: a question counts when it is answered right in every spelling. Equivariance: when the evidence is
    given and its number or name is changed, the answer has to change with it; both right counts.

    A copy has its question's fact, so that an interval resamples facts.
    """

    pool: ClassVar[str] = "robustness"
    items: Annotated[int, Field(ge=0, description="how many questions are changed; 0: all")] = 12
    changes: Annotated[tuple[str, ...], Field(description=f"which changes: {', '.join(CHANGES)}")] = tuple(CHANGES)
    seed: Annotated[int, Field(ge=0, description="which questions, and where the slips are")] = 0

    def questions(self, material: Sequence[Question]) -> tuple[Question, ...]:
        """Some answerable questions, each followed by its copies."""
        for change in self.changes:
            if change not in CHANGES:
                raise Fixable(f"there is no change '{change}'", near_miss(change, CHANGES))
        answerable = [q for q in material if q.answers and not q.choices]
        found: list[Question] = []
        for question in pick(answerable, self.items, self.seed):
            found.append(question)
            for how in self.changes:
                if text := changed(question.text, how, f"{self.seed}/{question.id}"):
                    found.append(replace(question, id=f"{question.id}{_MARK}{how}", text=text, kind=how))
            found += _retold(question, answerable, self.seed)
        return tuple(found)

    def metrics(self) -> tuple[Metric, ...]:
        """None of one answer alone."""
        return ()

    def figures(
        self, questions: Sequence[Question], answers: Mapping[str, Answer], nats: Mapping[str, float]
    ) -> Mapping[str, Mapping[str, float]]:
        """`plain`, each change, `invariance` (right in every spelling) and `equivariance`, all from 0 to 1."""
        right = {q.id: Accuracy().measure(answers[q.id], q) or 0.0 for q in questions}
        found: dict[str, dict[str, float]] = {"plain": {}, "invariance": {}}
        for question in questions:
            if _MARK in question.id:
                how = question.id.rpartition(_MARK)[2]
                if how in self.changes:
                    found.setdefault(how, {})[question.id] = right[question.id]
                continue
            copies = [
                right[f"{question.id}{_MARK}{how}"] for how in self.changes if f"{question.id}{_MARK}{how}" in right
            ]
            found["plain"][question.id] = right[question.id]
            found["invariance"][question.id] = min([right[question.id], *copies])
            pair = [f"{question.id}{_MARK}{how}" for how in (_TOLD, _OTHER)]
            if pair[0] in right:
                found.setdefault("equivariance", {})[question.id] = min(right[one] for one in pair)
        return found


def _retold(question: Question, others: Sequence[Question], seed: int) -> list[Question]:
    """The question with its evidence, and the same with another number or name in evidence and answer."""
    gold = next((answer for answer in question.answers if answer in question.evidence), "")
    if not gold or question.evidence.count(gold) != 1 or question.language not in _READ:
        return []
    draw = random.Random(f"{seed}/{question.id}/fact")
    if _INTEGER.fullmatch(gold):
        other = str(int(gold) + draw.randint(2, max(3, int(gold) // 2)))
    else:
        alike = {answer for q in others if q.language == question.language for answer in q.answers[:1]}
        names = sorted(name for name in alike if _stands_for(name, gold) and name not in question.evidence)
        if not names:
            return []
        other = draw.choice(names)
    if set(tokens(other)) & set(tokens(gold)) == set(tokens(gold)):
        return []
    made = []
    for how, answers, evidence in (
        (_TOLD, question.answers, question.evidence),
        (_OTHER, (other,), question.evidence.replace(gold, other)),
    ):
        text = _READ[question.language].format(text=evidence, question=question.text)
        made.append(replace(question, id=f"{question.id}{_MARK}{how}", text=text, answers=answers, kind=how))
    return made


def _stands_for(name: str, gold: str) -> bool:
    """Whether a sentence reads well with one for the other: same script, both or no number, like length."""
    same = name.isascii() == gold.isascii() and name[:1].isdigit() == gold[:1].isdigit()
    return same and gold not in name and abs(len(name) - len(gold)) <= 8
