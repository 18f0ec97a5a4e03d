"""Read documents and questions into the workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.cli.shell import Command, Desk


class Add(Command):
    """Read files, folders and questions; what has not changed since the last time is skipped."""

    examples: ClassVar[str] = """
shuyuan add ~/handbook                                  a folder with everything in it
shuyuan add report.pdf notes.docx --exclude "drafts/"
shuyuan add --questions quiz.jsonl                      rows of question and answer, JSONL or CSV
"""
    speaks_json: ClassVar[bool] = True
    paths: Annotated[
        tuple[str, ...], Field(description="files and folders to read", json_schema_extra={"positional": True})
    ] = ()
    questions: Annotated[tuple[str, ...], Field(description="files of questions and answers, JSONL or CSV")] = ()
    exclude: Annotated[tuple[str, ...], Field(description="patterns to leave out, as in .gitignore")] = ()

    def run(self, desk: Desk) -> int:
        """Print what the workspace holds now; what was kept and dropped is said on the way."""
        from shuyuan.prepare.adding import add

        added = add(
            desk.workspace(),
            [Path(path) for path in self.paths],
            questions=[Path(path) for path in self.questions],
            exclude=self.exclude,
        )
        desk.show(
            f"{added.documents:,} documents, {added.passages:,} passages, "
            f"{added.examples:,} examples, {added.questions:,} questions",
            added,
        )
        return 0
