"""Do contexts that a model writes for each passage help? Their cost beforehand, their gain afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import told
from shuyuan.base.errors import Fixable
from shuyuan.cli.shell import Command, Desk, heads, table


class TuneContext(Command):
    """Write contexts, try a library that has them, and compare it with the present one; nothing there is changed."""

    examples: ClassVar[str] = """
shuyuan tune context                           what it would cost, measured on sixteen passages
shuyuan tune context questions.jsonl           write them, then compare on these questions (as tune search does)
"""
    speaks_json: ClassVar[bool] = True
    files: Annotated[
        tuple[str, ...],
        Field(description="question files with `source` and `evidence`", json_schema_extra={"positional": True}),
    ] = ()
    only: Annotated[str, Field(description="whose library")] = "retrieve"

    def run(self, desk: Desk) -> int:
        """Print the cost, or the measures without and with contexts."""
        from shuyuan.examine.contexts import context_cost, context_gain
        from shuyuan.examine.tuning import MEASURES
        from shuyuan.prepare.questions import exam_questions, read_questions

        workspace = desk.workspace()
        if not self.files:
            cost = context_cost(workspace, self.only)
            desk.show(told(str(cost)), cost)
            return 0
        rows = [row for file in self.files for row in read_questions(Path(file))[0]]
        if not rows:
            raise Fixable("there are no questions in these files", "write rows with `source` and `evidence`")
        gain = context_gain(workspace, self.only, exam_questions(rows))
        found = f"{gain.difference.n} questions on {gain.difference.clusters} facts"
        lines = [(name, f"{gain.before[name]:.3f}", f"{gain.after[name]:.3f}") for name in MEASURES]
        interval = (
            ""
            if gain.difference.low is None
            else f" ({told(f'{gain.difference.low:+.3f} to {gain.difference.high:+.3f}')})"
        )
        verdict = (
            "better: shuyuan teach retrieve --context --again" if gain.proven else "no gain is proven: leave them out"
        )
        text = table(lines, (told(found), *heads("without", "with contexts")))
        text += f"\n{told(f'with minus without: {gain.difference.difference:+.3f} nDCG@10')}{interval}"
        text += "".join(told(f"\nleft out: {count} {why}") for why, count in gain.left_out.items())
        desk.show(f"{text}\n{told(verdict)}", gain)
        return 0
