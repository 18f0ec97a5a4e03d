"""Calibration: multiple choice by the likelihood of each choice; how sure a model is, against how often it is right."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.records import Answer, Question, TokenLogprob
from shuyuan.examine.forgetting import general_items
from shuyuan.examine.papers import Paper, Text, pick
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.brier import Brier
from shuyuan.measure.ece import Ece
from shuyuan.measure.marking import Metric

_ASKED = {"zh": "问题：{question}\n答案：{choice}", "en": "Question: {question}\nAnswer: {choice}"}
_CHOICES = 4


class Calibration(Paper):
    """Nobody is asked to write: of each choice the likelihood after the question is taken, summed over its tokens, and
    the choices' likelihoods are made to add up to one. The likeliest is the answer, its share how sure the model is.

    A library changes no likelihood, so an assistant with one is as sure as the model inside it.
    """

    pool: ClassVar[str] = "calibration"
    spoken: ClassVar[bool] = False
    items: Annotated[int, Field(ge=0, description="most multiple-choice questions of the material; 0: all")] = 0
    general: Annotated[int, Field(ge=0, le=240, description="how many general items beside them")] = 40
    bins: Annotated[int, Field(ge=1, le=100, description="bins of the calibration error")] = 10
    seed: Annotated[int, Field(ge=0, description="which items, when not all are asked")] = 0

    def questions(self, material: Sequence[Question]) -> tuple[Question, ...]:
        """The material's questions that offer choices, and general items with the answers of like items as choices."""
        own = pick([question for question in material if question.choices], self.items, self.seed)
        return (*own, *(pick(_general(), self.general, self.seed) if self.general else ()))

    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy, then how sure: the calibration error and the Brier score of the chosen answer."""
        return (Accuracy(), Ece(bins=self.bins), Brier())

    def weighed(self, material: Sequence[Question]) -> tuple[Text, ...]:
        """Each question with each choice behind it; what is before the choice is the same, and cancels."""
        return tuple(
            Text(f"{question.id}#{number}", question.language, _text(question, choice))
            for question in self.questions(material)
            for number, choice in enumerate(question.choices)
        )

    def concluded(self, material: Sequence[Question], nats: Mapping[str, float]) -> Mapping[str, Answer]:
        """The likeliest choice of each question, with the logarithm of its share."""
        found = {}
        for question in self.questions(material):
            costs = [nats[f"{question.id}#{number}"] for number in range(len(question.choices))]
            best = min(range(len(costs)), key=costs.__getitem__)
            share = -math.log(math.fsum(math.exp(costs[best] - cost) for cost in costs))
            chosen = question.choices[best]
            found[question.id] = Answer(chosen, logprobs=(TokenLogprob(chosen, share),))
        return found


def _text(question: Question, choice: str) -> str:
    return _ASKED.get(question.language, _ASKED["en"]).format(question=question.text, choice=choice)


def _general() -> tuple[Question, ...]:
    """The general items as multiple choice: three answers of other items of the same subject beside the right one."""
    subjects: dict[tuple[str, str], list[Question]] = defaultdict(list)
    for item in (*general_items(), *general_items("general.more.jsonl")):
        subjects[item.language, item.kind].append(item)
    made: list[Question] = []
    for items in subjects.values():
        for item in items:
            others = {other.answers[0] for other in items} - set(item.answers)
            wrong = sorted(others, key=lambda word: hashlib.sha256(f"{item.id}\0{word}".encode()).digest())
            if len(wrong) >= _CHOICES - 1:
                choices = wrong[: _CHOICES - 1]
                choices.insert(len(made) % _CHOICES, item.answers[0])
                made.append(
                    Question(
                        f"{item.id}-choice", item.text, item.answers, item.language, item.id, choices=tuple(choices)
                    )
                )
    return tuple(made)
