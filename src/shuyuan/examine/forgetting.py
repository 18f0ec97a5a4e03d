"""Forgetting: general questions and general text, to see what teaching took away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.records import Question
from shuyuan.examine.papers import Paper, Text, pick
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.marking import Metric

DATA = files("shuyuan.examine") / "data"


def general_items(name: str = "general.jsonl") -> tuple[Question, ...]:
    """The questions of one of our files of general items; `kind` is their subject."""
    rows = [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]
    return tuple(
        Question(r["id"], r["question"], tuple(r["answers"]), r["language"], r["id"], kind=r["subject"]) for r in rows
    )


class Forgetting(Paper):
    """General items answered right, and bits per byte on general text; compared with the untaught model.

    40 items in each language over arithmetic, calendar, units, facts, words and instructions (and 160 more for who asks
    for them), and a few thousand characters of prose; all written for this paper and in the public domain (CC0).
    """

    pool: ClassVar[str] = "general"
    items: Annotated[
        int, Field(ge=0, description="how many general items to ask, half in each language; 0: the first 80")
    ] = 0
    seed: Annotated[int, Field(ge=0, description="which items, when not all are asked")] = 0

    def questions(self, material: Sequence[Question]) -> tuple[Question, ...]:
        """The general items; the workspace's own questions play no part."""
        items = general_items()
        if self.items > len(items):
            items = (*items, *general_items("general.more.jsonl"))
        return pick(items, self.items, self.seed)

    def metrics(self) -> tuple[Metric, ...]:
        """Items answered right; bits per byte is taken from the texts."""
        return (Accuracy(),)

    def texts(self) -> tuple[Text, ...]:
        """The paragraphs of the general prose."""
        return tuple(
            Text(f"prose-{language}-{number:02}", language, paragraph.strip())
            for language in ("en", "zh")
            for number, paragraph in enumerate(
                (DATA / f"general.{language}.txt").read_text(encoding="utf-8").split("\n\n"), start=1
            )
        )
