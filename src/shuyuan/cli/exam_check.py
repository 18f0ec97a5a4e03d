"""Look for exam questions in the lessons: by words, by evidence, by meaning, in both languages."""

from __future__ import annotations

from typing import ClassVar

from shuyuan.base.chinese import told, word
from shuyuan.cli.shell import Command, Desk, heads, table


class ExamCheck(Command):
    """Compare every lesson with every exam question; leaks are refused, naming both places, suspicions are shown."""

    examples: ClassVar[str] = """
shuyuan exam check
"""
    speaks_json: ClassVar[bool] = True

    def run(self, desk: Desk) -> int:
        """Print each hit with its two places; 1 when there are leaks, 0 when there are suspicions or nothing."""
        from shuyuan.recall.leaks import find_leaks

        workspace = desk.workspace()
        found = find_leaks(workspace, workspace.material.examples())
        rows = [
            (
                word("leak" if hit.sure else "look"),
                hit.question.place or hit.question.id,
                hit.example.place or hit.example.id,
                told(hit.why),
            )
            for hit in sorted(found.hits, key=lambda hit: not hit.sure)
        ]
        leaked = sum(hit.sure for hit in found.hits)
        lines = [table(rows, heads("", "exam question", "lesson", "why"))] if rows else []
        counts = (
            f"{found.questions:,} exam questions, {found.examples:,} lessons: {leaked:,} leaks, "
            f"{len(found.hits) - leaked:,} to look at; {found.compared:,} texts compared by meaning"
        )
        lines.append(told(counts) + (f" ({told(found.why_not)})" if found.why_not else ""))
        desk.show("\n".join(lines), found)
        return 1 if leaked else 0
