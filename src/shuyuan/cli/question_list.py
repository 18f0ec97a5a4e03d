"""List the questions that were asked of the library."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shuyuan.base.chinese import told, word
from shuyuan.cli.shell import Command, Desk, heads, table
from shuyuan.cli.shown import day, shortened


class QuestionList(Command):
    """List what was asked, newest first; those without an answer say what the documents lack."""

    examples: ClassVar[str] = """
shuyuan question list                          what was asked last
shuyuan question list 'learning rate'          those that hold these words, in the question or its answer
shuyuan question list --state unanswered       what the documents do not say
shuyuan question list --order most             what is asked most often
"""
    speaks_json: ClassVar[bool] = True
    words: Annotated[
        str, Field(description="words of the question or its answer", json_schema_extra={"positional": True})
    ] = ""
    state: Annotated[
        Literal["answered", "unanswered", "withdrawn"] | None,
        Field(description="only these; withdrawn: a document that the answer cites was changed or removed"),
    ] = None
    order: Annotated[Literal["newest", "most"], Field(description="asked last, or most often, first")] = "newest"
    most: Annotated[int, Field(ge=1, le=100_000, description="most questions shown")] = 50

    def run(self, desk: Desk) -> int:
        """Print a line a question."""
        asked = desk.workspace().material.asked
        found, total = asked.find(self.words, self.order, self.state, most=self.most)
        rows = [
            (one.times, day(one.last), word("page" if one.public else one.state), shortened(one.text), one.id)
            for one in found
        ]
        listed = f"{table(rows, heads('times', 'last', 'state', 'question', 'id'))}\n\n" if rows else ""
        page = listed + told(f"{len(rows):,} of {total:,} questions · from now on: {asked.keeping()}")
        desk.show(page, [{**asdict(one), "state": one.state} for one in found])
        return 0
