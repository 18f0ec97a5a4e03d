"""Compare assistants on the questions that they all answered."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import told, word
from shuyuan.cli.shell import Command, Desk, heads, table


class Compare(Command):
    """Compare assistants pair by pair: the difference with its 95 % interval, corrected for the number of pairs."""

    examples: ClassVar[str] = """
shuyuan compare lora retrieve
shuyuan compare bare lora full --exam quick
shuyuan compare lora full --score unanswerable/refusal-recall
"""
    speaks_json: ClassVar[bool] = True
    names: Annotated[tuple[str, ...], Field(min_length=2, description="two or more assistants")]
    exam: Annotated[str, Field(description="which exam; empty: the newest")] = ""
    score: Annotated[str, Field(description="what to compare, as paper/metric")] = "knowledge/accuracy"

    def run(self, desk: Desk) -> int:
        """Print one row a pair."""
        from shuyuan.examine.pairs import pairs
        from shuyuan.examine.tables import p_value, told_apart

        sat = desk.exam(self.exam)
        found = pairs(sat, self.names, self.score)
        rows = [
            (
                f"{pair.one} − {pair.other}",
                f"{pair.difference:+.3f}",
                "–" if pair.low is None or pair.high is None else told(f"{pair.low:+.3f} to {pair.high:+.3f}"),
                p_value(pair.p_holm),
                told(f"{pair.n} in {pair.clusters} facts"),
                word("differ") if told_apart(pair.p_holm) else told("no clear difference"),
            )
            for pair in found
        ]
        columns = heads("difference", "95 % interval", "Holm's p", "questions", "verdict")
        desk.show(table(rows, (f"{self.score} ({sat.name})", *columns)), found)
        return 0
