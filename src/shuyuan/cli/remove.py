"""Remove documents, so that no passage, vector, index row or kept answer of them is left."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import told
from shuyuan.base.progress import say
from shuyuan.cli.shell import Command, Desk


class Remove(Command):
    """Remove documents from the records, every library, the cache and, with --exams, from the exams that quote them."""

    examples: ClassVar[str] = """
shuyuan remove handbook/old.md
shuyuan remove handbook/2019 --exams        a folder, and the exams that quote it
"""
    speaks_json: ClassVar[bool] = True
    sources: Annotated[tuple[str, ...], Field(min_length=1, description="documents, folders or archives")]
    exams: Annotated[bool, Field(description="remove exams that quote them too; else they stand in the way")] = False

    def run(self, desk: Desk) -> int:
        """Print what went, and which assistants no longer match the workspace."""
        from shuyuan.teach.removing import remove

        removed = remove(desk.workspace(), self.sources, exams=self.exams)
        lines = [told(f"removed {len(removed.sources):,} documents with {removed.passages:,} passages")]
        lines += [told(f"removed exam {name}") for name in removed.exams]
        for name in removed.stale:
            say(f"{name} may be out of date; weights forget only when it is taught again: shuyuan teach … --again")
        desk.show("\n".join(lines), removed)
        return 0
