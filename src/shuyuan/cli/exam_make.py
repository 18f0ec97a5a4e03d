"""Make exam questions from the documents, into a file to read, edit and add."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import told
from shuyuan.cli.shell import Command, Desk, heads, table
from shuyuan.prepare.making import MAKERS


class ExamMake(Command):
    """Make questions from tables, lists, definitions and sentences; each passes gates, and all counts are shown."""

    examples: ClassVar[str] = """
shuyuan exam make                          60 questions into questions.jsonl, for you to read, edit and add
shuyuan exam make --count 200 --share 0.5 --hold-out 0.2 --out more.jsonl
shuyuan exam make --model bare --judge bare
"""
    speaks_json: ClassVar[bool] = True
    out: Annotated[str, Field(description="the file to write")] = "questions.jsonl"
    count: Annotated[int, Field(ge=1, le=10_000, description="most answerable questions")] = 60
    makers: Annotated[tuple[str, ...], Field(description=f"what to make them from: {', '.join(MAKERS)}")] = MAKERS
    choices: Annotated[float, Field(ge=0, le=1, description="multiple-choice twins, as a share")] = 0.2
    unanswerable: Annotated[float, Field(ge=0, le=1, description="questions without an answer, as a share")] = 0.2
    share: Annotated[float, Field(gt=0, le=1, description="share of the facts for the exam; the rest is to learn")] = (
        1.0
    )
    hold_out: Annotated[float, Field(ge=0, lt=1, description="share of the documents that nobody may learn from")] = 0.0
    absent: Annotated[
        tuple[str, ...], Field(description="documents not in the workspace, for questions to decline")
    ] = ()
    model: Annotated[str, Field(description="who writes more questions: an assistant, or https://host/v1#model")] = ""
    judge: Annotated[str, Field(description="who tries them with and without the passage; as --model")] = ""
    seed: Annotated[int, Field(ge=0, description="which of the possible questions are drawn")] = 0

    def run(self, desk: Desk) -> int:
        """Print what was made, by kind; what fell at the gates is said on the way."""
        from shuyuan.examine.drafting import draft
        from shuyuan.prepare.quiz import Quiz

        quiz = Quiz(
            count=self.count,
            makers=self.makers,
            choices=self.choices,
            unanswerable=self.unanswerable,
            seed=self.seed,
        )
        made = draft(
            desk.workspace(),
            Path(self.out),
            quiz,
            share=self.share,
            hold_out=self.hold_out,
            absent=[Path(path) for path in self.absent],
            model=self.model,
            judge=self.judge,
        )
        counts = Counter((row.made, row.kind or "–", row.language, row.use) for row in made.rows)
        lines = [(*key, number) for key, number in sorted(counts.items())]
        shown = table(lines, heads("made from", "kind", "language", "use", "rows"))
        after = told(f"{made.file}: read it, edit it, then: shuyuan add --questions {made.file}")
        desk.show(f"{shown}\n\n{after}", made)
        return 0
