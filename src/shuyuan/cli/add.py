"""Read documents and questions into the workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import told
from shuyuan.base.errors import Fixable
from shuyuan.cli.shell import Command, Desk


class Add(Command):
    """Read files, folders and questions; what has not changed since the last time is skipped."""

    examples: ClassVar[str] = """
shuyuan add ~/handbook                                  a folder with everything in it
shuyuan add report.pdf notes.docx --exclude "drafts/"
shuyuan add ~/scans --pictures                          read the words in pictures as well
shuyuan add --allow-network https://example.org/guide   a page of the web
shuyuan add --questions quiz.jsonl                      rows of question and answer, JSONL or CSV
shuyuan add --data chats.jsonl                          conversations to learn: OpenAI, sharegpt or alpaca rows
shuyuan add --data dataset_info.json --dataset identity --replace name=Xiaoshu author=us
"""
    speaks_json: ClassVar[bool] = True
    paths: Annotated[
        tuple[str, ...],
        Field(description="files, folders and addresses to read", json_schema_extra={"positional": True}),
    ] = ()
    questions: Annotated[tuple[str, ...], Field(description="files of questions and answers, JSONL or CSV")] = ()
    data: Annotated[
        tuple[str, ...],
        Field(description="files of conversations or raw texts to learn: JSON, JSONL, CSV, Parquet; dataset_info.json"),
    ] = ()
    dataset: Annotated[tuple[str, ...], Field(description="which data sets of dataset_info.json; a,b or a b")] = ()
    replace: Annotated[tuple[str, ...], Field(description="what to write for {{name}}, as name=text")] = ()
    exclude: Annotated[tuple[str, ...], Field(description="patterns to leave out, as in .gitignore")] = ()
    pictures: Annotated[bool, Field(description="read the words in pictures too (needs the extra ocr)")] = False
    allow_network: Annotated[bool, Field(description="fetch the addresses (https://…) that are named")] = False

    def run(self, desk: Desk) -> int:
        """Print what the workspace holds now; what was kept and dropped is said on the way."""
        from shuyuan.prepare.adding import add

        added = add(
            desk.workspace(),
            self.paths,
            questions=[Path(path) for path in self.questions],
            exclude=self.exclude,
            data=[Path(path) for path in self.data],
            datasets=[name for names in self.dataset for name in names.split(",") if name],
            replace=dict(_pair(given) for given in self.replace),
            pictures=self.pictures,
            allow_network=self.allow_network,
        )
        desk.show(
            told(
                f"{added.documents:,} documents, {added.passages:,} passages, "
                f"{added.examples:,} examples, {added.questions:,} questions"
            ),
            added,
        )
        return 0


def _pair(given: str) -> tuple[str, str]:
    hole, equals, text = given.partition("=")
    if not (hole and equals):
        raise Fixable(f"--replace cannot use '{given}'", "write name=text")
    return hole, text
