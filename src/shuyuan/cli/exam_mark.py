"""Mark an exam again from the answers that were kept; nobody is asked anything."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import language
from shuyuan.cli.shell import Command, Desk
from shuyuan.cli.shown import report_of


class ExamMark(Command):
    """Mark an exam's answers again, after metrics have changed: scores, verdict and report are made anew."""

    examples: ClassVar[str] = """
shuyuan exam mark
shuyuan exam mark --exam quick
"""
    speaks_json: ClassVar[bool] = True
    exam: Annotated[str, Field(description="which exam; empty: the newest")] = ""

    def run(self, desk: Desk) -> int:
        """Print the table and the report's path."""
        from shuyuan.examine.marking import mark
        from shuyuan.examine.tables import table

        sat = mark(desk.exam_folder(self.exam))
        desk.show(f"{table(sat, language())}\n\n{report_of(sat)}", sat)
        return 0
