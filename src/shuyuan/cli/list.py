"""List what the workspace holds: documents, questions, assistants with their costs, exams."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any, ClassVar

from pydantic import Field

from shuyuan.base.chinese import told, word
from shuyuan.base.progress import human_bytes, human_seconds
from shuyuan.base.workspace import Workspace, finished
from shuyuan.cli.shell import Command, Desk, heads, table


class List(Command):
    """List what was added, what was taught and what it cost, and which exams were sat."""

    examples: ClassVar[str] = """
shuyuan list
shuyuan list --json
shuyuan list --documents --find rules      every document with its marks, by name
"""
    speaks_json: ClassVar[bool] = True
    documents: Annotated[bool, Field(description="list the documents instead, with tags, pins and groups")] = False
    find: Annotated[str, Field(description="only documents whose name holds this")] = ""

    def run(self, desk: Desk) -> int:
        """Print the workspace's contents."""
        workspace = desk.workspace()
        if self.documents or self.find:
            return _documents(desk, workspace, self.find)
        material = workspace.material
        faults = {file.source: file.fault for file in material.files().values() if file.fault}
        runs = {name: finished(workspace.run(name)) or {} for name in workspace.runs()}
        held: dict[str, Any] = {
            "folder": workspace.folder.resolve(),
            "model": workspace.choices.model,
            "embedder": workspace.choices.embedder,
            "counts": material.counts(),
            "faults": faults,
            "runs": runs,
            "exams": workspace.exams(),
        }
        desk.show(_page(workspace, held), held)
        return 0


def _documents(desk: Desk, workspace: Workspace, find: str) -> int:
    found = workspace.material.file_rows(find=find, most=sys.maxsize)
    data = [{**row, **asdict(workspace.marks.of(row["source"]))} for row in found]
    rows = [
        (row["source"], row["passages"], word("pinned") * row["pinned"], " ".join(row["tags"]), row["group"])
        for row in data
    ]
    desk.show(table(rows, heads("document", "passages", "pinned", "tags", "group")), data)
    return 0


def _page(workspace: Workspace, held: dict[str, Any]) -> str:
    counts = told(", ".join(f"{count:,} {what}" for what, count in held["counts"].items()))
    lines = [told(f"{workspace.folder.resolve()}: on {held['model']} and {held['embedder']}"), counts]
    lines += [told(f"  not read: {source}: {fault}") for source, fault in held["faults"].items()]
    if held["runs"]:
        rows = [
            (
                name,
                done["route"],
                done["on"],
                human_seconds(done["seconds"]),
                human_bytes(done["peak_bytes"]),
                f"{done['trained_tokens']:,}",
            )
            for name, done in held["runs"].items()
        ]
        lines += ["", table(rows, heads("assistant", "route", "on", "time", "peak memory", "tokens"))]
    else:
        lines += ["", told("no assistants yet: shuyuan teach lists the routes")]
    if held["exams"]:
        lines += ["", told(f"exams: {', '.join(held['exams'])}")]
    return "\n".join(lines)
