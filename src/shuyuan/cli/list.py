"""List what the workspace holds: documents, questions, assistants with their costs, exams."""

from __future__ import annotations

from typing import Any, ClassVar

from shuyuan.base.progress import human_bytes, human_seconds
from shuyuan.base.workspace import Workspace, finished
from shuyuan.cli.shell import Command, Desk, table


class List(Command):
    """List what was added, what was taught and what it cost, and which exams were sat."""

    examples: ClassVar[str] = """
shuyuan list
shuyuan list --json
"""
    speaks_json: ClassVar[bool] = True

    def run(self, desk: Desk) -> int:
        """Print the workspace's contents."""
        workspace = desk.workspace()
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


def _page(workspace: Workspace, held: dict[str, Any]) -> str:
    counts = ", ".join(f"{count:,} {what}" for what, count in held["counts"].items())
    lines = [f"{workspace.folder.resolve()}: on {held['model']} and {held['embedder']}", counts]
    lines += [f"  not read: {source}: {fault}" for source, fault in held["faults"].items()]
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
        lines += ["", table(rows, ("assistant", "route", "on", "time", "peak memory", "tokens"))]
    else:
        lines += ["", "no assistants yet: shuyuan teach lists the routes"]
    if held["exams"]:
        lines += ["", "exams: " + ", ".join(held["exams"])]
    return "\n".join(lines)
