"""The ledger: fact by fact, who knows it, who lost it, and who makes it up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from shuyuan.base.records import Question
from shuyuan.examine.results import BASE, MAIN, Exam, Sheet
from shuyuan.measure.refusal import declined

State = Literal["knows", "partly", "declines", "invents"]
STATES: tuple[State, ...] = get_args(State)
DECLINING = "unanswerable/refusal-recall"


@dataclass(frozen=True, slots=True)
class Standing:
    """How one assistant stands with one fact.

    `marks`: question id → its share of right samples. `knows`: every wording right (to decline, where the documents
    hold no answer, is right too); `partly`: some; else `declines` when it owns up to each wording it misses, and
    `invents` when it answers at least one of them with something else. `lost`: the untaught model could answer a
    wording, and this one cannot answer any.
    """

    state: State
    marks: Mapping[str, float]
    lost: bool = False

    @property
    def share(self) -> float:
        """The share of wordings that are right."""
        return sum(self.marks.values()) / len(self.marks)


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact, all its wordings, and how everybody stands with it."""

    fact: str
    source: str
    questions: tuple[Question, ...]
    standings: Mapping[str, Standing]

    @property
    def answerable(self) -> bool:
        """Whether the documents hold it."""
        return bool(self.questions[0].answers)


def ledger(exam: Exam) -> tuple[Fact, ...]:
    """Every fact of the workspace's questions, sorted by document; inside one, in the order of the paper."""
    facts: dict[tuple[bool, str], list[Question]] = defaultdict(list)
    for question in exam.questions:
        facts[not question.answers, question.fact or question.id].append(question)
    base = next((sheet for sheet in exam.sheets if sheet.name == BASE), None)
    found = []
    for (_, name), questions in facts.items():
        source = next((question.source for question in questions if question.source), "")
        known = base is not None and any(mark_of(base, question) for question in questions if question.answers)
        standings = {
            sheet.name: _standing(sheet, questions, known)
            for sheet in exam.sheets
            if all(mark_of(sheet, question) is not None for question in questions)
        }
        found.append(Fact(name, source, tuple(questions), standings))
    return tuple(sorted(found, key=lambda fact: (not fact.source, fact.source, not fact.answerable)))


def tally(facts: Sequence[Fact]) -> dict[str, dict[str, int]]:
    """Assistant → how many facts it `knows`, knows `partly`, `declines` and `invents`, and how many it `lost`."""
    names = list(dict.fromkeys(name for fact in facts for name in fact.standings))
    return {
        name: {
            **{state: sum(fact.standings[name].state == state for fact in facts) for state in STATES},
            "lost": sum(fact.standings[name].lost for fact in facts),
        }
        for name in names
    }


def mark_of(sheet: Sheet, question: Question) -> float | None:
    """Whether a question was met: answered right, or declined where the documents hold no answer."""
    return sheet.marks.get(MAIN if question.answers else DECLINING, {}).get(question.id)


def _standing(sheet: Sheet, questions: Sequence[Question], known: bool) -> Standing:
    marks = {question.id: float(mark_of(sheet, question) or 0.0) for question in questions}
    lost = known and sheet.name != BASE and not any(marks.values())
    if all(mark == 1.0 for mark in marks.values()):
        return Standing("knows", marks)
    if any(marks.values()):
        return Standing("partly", marks)
    silent = all(declined(answer, question) for question in questions for answer in sheet.samples[question.id])
    return Standing("declines" if silent else "invents", marks, lost)
