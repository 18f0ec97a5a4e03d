"""Choose a library's search settings by your own questions; they are kept only if they prove better."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import labelled, told
from shuyuan.base.marks import WHOLE
from shuyuan.cli.shell import Command, Desk, heads, table


class TuneSearch(Command):
    """Try search settings on questions whose evidence is known; "keep the default" is a possible outcome."""

    examples: ClassVar[str] = """
shuyuan tune search questions.jsonl            rows with `source` and `evidence`; those of the exam are left out
shuyuan tune search questions.jsonl --only lora+retrieve
"""
    speaks_json: ClassVar[bool] = True
    files: Annotated[tuple[str, ...], Field(min_length=1, description="question files, JSONL or CSV")]
    only: Annotated[str, Field(description="whose library")] = "retrieve"

    def run(self, desk: Desk) -> int:
        """Print the held-out measures before and after, and what the library searches with from now on."""
        from shuyuan.examine.tuning import MEASURES, tune
        from shuyuan.load.embedder import open_embedder
        from shuyuan.prepare.questions import exam_questions, read_questions
        from shuyuan.recall.searching import Library

        workspace = desk.workspace()
        rows = [row for file in self.files for row in read_questions(Path(file))[0]]
        run = workspace.run(self.only)
        library = Library.open(run.folder / "library", open_embedder(run.embedder)).seen_by(WHOLE)
        tuned = tune(library, workspace.material, exam_questions(rows))
        lines = [(name, f"{tuned.before[name]:.3f}", f"{tuned.after[name]:.3f}") for name in MEASURES]
        held = f"{tuned.held_out.n} held-out questions on {tuned.held_out.clusters} facts"
        found = table(lines, (told(held), *heads("default", "chosen")))
        for name, one in (("development", tuned.development), ("held-out", tuned.held_out)):
            interval = "" if one.low is None else f" ({told(f'{one.low:+.3f} to {one.high:+.3f}')})"
            found += f"\n{labelled(name, told(f'best minus default {one.difference:+.3f} nDCG@10'))}{interval}"
        for why, count in tuned.left_out.items():
            found += told(f"\nleft out: {count} {why}")
        chosen = ", ".join(f"{name} {value}" for name, value in tuned.chosen.model_dump().items())
        verdict = "the default is kept" if tuned.chosen == type(tuned.chosen)() else "chosen, and used from now on"
        desk.show(f"{found}\n{labelled(verdict, chosen)}", tuned)
        return 0
