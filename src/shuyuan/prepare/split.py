"""Questions split into learning and exam by cluster of wording and fact, before anything is learned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint
from shuyuan.base.settings import Settings
from shuyuan.prepare.forms import Forms, other_answers
from shuyuan.prepare.leak import near_duplicates
from shuyuan.prepare.normal import normal
from shuyuan.prepare.questions import Row


class Split(Settings):
    """Which questions are learned and which are kept for the exam."""

    share: Annotated[
        float, Field(ge=0.0, le=1.0, description="share of question clusters kept for the exam, where 'use' is empty")
    ] = 0.3
    seed: Annotated[int, Field(ge=0, description="which clusters those are")] = 0

    def split(self, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
        """(rows to learn from, rows for the exam), both in the order given, each row with its fact filled in.

        Rows whose `use` is given stay there. The others move as clusters: near duplicates and one fact together. A
        cluster that comes near the wording of a row with a given `use` goes where that row is; one that comes near
        both kinds is a `Fixable`.
        """
        pairs = _near(rows)
        facts = _named_facts(rows, pairs)
        free = [index for index, row in enumerate(rows) if not row.use]
        cluster = _clusters(
            len(rows),
            [(i, j) for i, j in pairs if not rows[i].use and not rows[j].use]
            + [(free[a], free[b]) for a, b in _same([facts[index] for index in free])],
        )
        forced: dict[int, Row] = {}
        for i, j in pairs:
            for open_row, fixed in ((i, rows[j]), (j, rows[i])):
                if not rows[open_row].use and fixed.use:
                    other = forced.setdefault(cluster[open_row], fixed)
                    if other.use != fixed.use:
                        raise Fixable(
                            f"“{rows[open_row].question}” is nearly {other.place} ({other.use}) and {fixed.place}"
                            f" ({fixed.use})",
                            "give this row a 'use', or word it differently",
                            rows[open_row].place,
                        )
        keys: dict[int, str] = {}
        for index in free:
            key = normal(facts[index] or rows[index].question)
            keys[cluster[index]] = min(key, keys.get(cluster[index], key))
        uses = [
            row.use or (forced[cluster[index]].use if cluster[index] in forced else self._drawn(keys[cluster[index]]))
            for index, row in enumerate(rows)
        ]
        named = [replace(row, fact=fact) for row, fact in zip(rows, facts, strict=True)]
        return (
            [row for row, use in zip(named, uses, strict=True) if use == "learn"],
            [row for row, use in zip(named, uses, strict=True) if use == "exam"],
        )

    def _drawn(self, key: str) -> str:
        """A seeded hash of the cluster, so that adding other questions moves none."""
        drawn = int.from_bytes(hashlib.sha256(f"{self.seed}\n{key}".encode()).digest()[:8]) / 2**64
        return "exam" if drawn < self.share else "learn"


def _near(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Near duplicates, but those that ask for different things, as the rows of a price list do."""
    questions = [row.question for row in rows]
    answers = [(*row.answers, *filter(None, [row.reply])) for row in rows]
    forms = Forms(questions)
    for question, said in zip(questions, answers, strict=True):
        forms.show(question, said)

    def may_be_one(i: int, j: int) -> bool:
        return not other_answers(answers[i], answers[j])

    near = near_duplicates(questions, counts=may_be_one)
    return [(i, j) for i, j, _ in near if not forms.other_things(questions[i], questions[j])]


def _named_facts(rows: Sequence[Row], pairs: Iterable[tuple[int, int]]) -> list[str]:
    """Each row's fact; rows without one share a name made from their near duplicates' wording."""
    unnamed = [(i, j) for i, j in pairs if not rows[i].fact and not rows[j].fact]
    cluster = _clusters(len(rows), unnamed)
    return [row.fact or f"q-{fingerprint(normal(rows[cluster[index]].question))}" for index, row in enumerate(rows)]


def _same(values: Sequence[str]) -> list[tuple[int, int]]:
    first: dict[str, int] = {}
    return [(first.setdefault(value, index), index) for index, value in enumerate(values)]


def _clusters(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The smallest index that each index is connected with."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    for i, j in pairs:
        low, high = sorted((root(i), root(j)))
        parent[high] = low
    return [root(index) for index in range(count)]
