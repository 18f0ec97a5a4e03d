"""What every paper shares, and how questions are picked when not all of them are asked."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from shuyuan.base.records import Answer, Question
from shuyuan.base.settings import Settings
from shuyuan.measure.marking import Metric

USUAL = ("knowledge", "unanswerable", "forgetting")  # what is sat when no paper is named


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text whose likelihood is asked for, not an answer."""

    id: str
    language: str
    text: str


class Paper(Settings, ABC):
    """Questions and the metrics they are marked with, main metric first.

    A paper's metrics mark every question of its `pool`, and decide themselves where they do not apply: refusal
    precision needs the answerable questions too. Papers may share a pool (`material`, `general`) or have their own. A
    question that stands in two pools is asked once. Where `spoken` is False nobody is asked to answer: the answers are
    read from likelihoods. `signed`: the figures that may be below zero, whatever their values look like.
    """

    version: ClassVar[int] = 1
    pool: ClassVar[str] = "material"
    spoken: ClassVar[bool] = True
    signed: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def questions(self, material: Sequence[Question]) -> tuple[Question, ...]:
        """The questions of this paper, given the workspace's own."""

    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """What each answer is marked with."""

    def texts(self) -> tuple[Text, ...]:
        """Texts for bits per byte."""
        return ()

    def weighed(self, material: Sequence[Question]) -> tuple[Text, ...]:
        """Other texts whose likelihood is asked for."""
        return ()

    def concluded(self, material: Sequence[Question], nats: Mapping[str, float]) -> Mapping[str, Answer]:
        """The answers that follow from the likelihoods of `weighed`, by question id."""
        return {}

    def figures(
        self, questions: Sequence[Question], answers: Mapping[str, Answer], nats: Mapping[str, float]
    ) -> Mapping[str, Mapping[str, float]]:
        """Figures that no metric of one answer can tell: name → item id → value; the score is their mean."""
        return {}


def pick(questions: Sequence[Question], count: int, seed: int = 0) -> tuple[Question, ...]:
    """`count` of the questions (0: all), in their own order, the same for the same seed.

    Each language and answerability keeps its share; inside it facts are drawn one after another, each with all its
    wordings, and only the last one may be cut.
    """
    if count <= 0 or count >= len(questions):
        return tuple(questions)
    strata: dict[tuple[str, bool], dict[str, list[Question]]] = defaultdict(lambda: defaultdict(list))
    for question in sorted(questions, key=lambda q: q.id):
        strata[question.language, not question.answers][question.fact or question.id].append(question)
    sizes = {key: sum(map(len, facts.values())) for key, facts in strata.items()}
    shares = {key: count * size / len(questions) for key, size in sizes.items()}
    quotas = {key: int(share) for key, share in shares.items()}
    by_remainder = sorted(shares, key=lambda key: (quotas[key] - shares[key], key))
    for key in by_remainder[: count - sum(quotas.values())]:
        quotas[key] += 1
    chosen: set[str] = set()
    for key, facts in sorted(strata.items()):
        names = sorted(facts)
        random.Random(f"{seed}/{key}").shuffle(names)
        drawn = [question.id for name in names for question in facts[name]]
        chosen.update(drawn[: quotas[key]])
    return tuple(question for question in questions if question.id in chosen)
