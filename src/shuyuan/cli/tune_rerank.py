"""Train a reranker for a library, here and on its own questions; it is used only if it proves better."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import labelled, told
from shuyuan.base.errors import Fixable
from shuyuan.base.marks import WHOLE
from shuyuan.cli.shell import Command, Desk, heads, table


class TuneRerank(Command):
    """Read question and passage together, and rank what was found again; "as it is" is a possible outcome."""

    examples: ClassVar[str] = """
shuyuan tune rerank questions.jsonl            rows with `source` and `evidence`; those of the exam are left out
shuyuan tune rerank                            without questions: sections are asked for by their headings
shuyuan tune rerank --off                      rank as it is found again
"""
    speaks_json: ClassVar[bool] = True
    files: Annotated[
        tuple[str, ...],
        Field(description="question files, JSONL or CSV", json_schema_extra={"positional": True}),
    ] = ()
    only: Annotated[str, Field(description="whose library")] = "retrieve"
    off: Annotated[bool, Field(description="rank no more again, and train nothing")] = False

    def run(self, desk: Desk) -> int:
        """Print the held-out measures before and after, and how the library ranks from now on."""
        from shuyuan.examine.reranking import rerank
        from shuyuan.examine.tuning import MEASURES
        from shuyuan.load.embedder import open_embedder
        from shuyuan.prepare.questions import exam_questions, read_questions
        from shuyuan.recall.searching import Library

        if self.off and self.files:
            raise Fixable("--off trains nothing, so it needs no questions", "leave one of them out")
        workspace = desk.workspace()
        run = workspace.run(self.only)
        embedder = open_embedder(run.embedder)
        library = Library.open(run.folder / "library", embedder).seen_by(WHOLE)
        if self.off:
            library.rank_again(None)
            desk.show(told("from now on passages stay in the order in which they are found"), {"chosen": ""})
            return 0
        rows = [row for file in self.files for row in read_questions(Path(file))[0]]
        if self.files and not rows:
            raise Fixable("there are no questions in these files", "write rows with `source` and `evidence`")
        found = rerank(library, embedder, workspace.material, exam_questions(rows), run.cache)
        held = found.held_out
        lines = [(name, f"{found.before[name]:.3f}", f"{found.after[name]:.3f}") for name in MEASURES]
        ways = {"tokens": "by tokens, untrained", "trained": f"trained on {found.learned} {found.by}"}
        of = told(f"{held.n} held-out {found.by} on {held.clusters} facts")
        text = table(lines, (of, *heads("as found"), told(ways[found.best])))
        on = ", ".join(f"{told(ways.get(name, 'as found'))} {value:.3f}" for name, value in found.checked.items())
        text += f"\n{labelled('nDCG@10 where the way was chosen', on)}"
        interval = "" if held.low is None else f" ({told(f'{held.low:+.3f} to {held.high:+.3f}')})"
        text += f"\n{labelled('held-out', told(f'gain {held.difference:+.3f} nDCG@10'))}{interval}"
        text += told(f"\n{found.milliseconds:,.0f} ms of processor time a question")
        text += "".join(told(f"\nleft out: {count} {why}") for why, count in found.left_out.items())
        verdict = "chosen, and used from now on" if found.chosen else "no gain is proven: the ranking is kept as it is"
        desk.show(f"{text}\n{told(verdict)}", found)
        return 0
