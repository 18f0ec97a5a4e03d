"""Draw the report of an exam again."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shuyuan.base.chinese import language
from shuyuan.cli.shell import Command, Desk
from shuyuan.cli.shown import report_of


class Report(Command):
    """Draw report.html and report.md again from an exam's answers; nobody is asked anything."""

    examples: ClassVar[str] = """
shuyuan report
shuyuan report --exam quick --language zh
"""
    speaks_json: ClassVar[bool] = True
    exam: Annotated[str, Field(description="which exam; empty: the newest")] = ""
    language: Annotated[Literal["both", "en", "zh"], Field(description="the language of the report")] = "both"

    def run(self, desk: Desk) -> int:
        """Print the table and the report's path."""
        from shuyuan.examine.report import write_report
        from shuyuan.examine.tables import table

        sat = desk.exam(self.exam)
        write_report(sat, self.language)
        shown = table(sat, language() if self.language == "both" else self.language)
        desk.show(f"{shown}\n\n{report_of(sat)}", sat)
        return 0
