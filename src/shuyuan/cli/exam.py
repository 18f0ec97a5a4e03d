"""Let assistants sit the same papers, and write the report."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import language
from shuyuan.cli.shell import Command, Desk
from shuyuan.cli.shown import report_of


class Exam(Command):
    """Examine assistants: what they learned, what they make up, what they forgot, and what it cost."""

    examples: ClassVar[str] = """
shuyuan exam                           all that were taught here, and the untaught model
shuyuan exam bare retrieve lora
shuyuan exam --questions 40 --general 20 --name quick
shuyuan exam --papers knowledge,robustness,fairness,format,calibration
shuyuan exam --samples 5 --temperature 0.7     draw five answers to each question; its mark is their mean
"""
    speaks_json: ClassVar[bool] = True
    names: Annotated[
        tuple[str, ...], Field(description="who sits it; none: everyone", json_schema_extra={"positional": True})
    ] = ()
    papers: Annotated[tuple[str, ...], Field(description="which papers; a,b or a b")] = (
        *("knowledge", "unanswerable", "forgetting"),
    )
    questions: Annotated[int, Field(ge=0, description="most questions on the material; 0: all")] = 0
    general: Annotated[
        int, Field(ge=0, description="general questions, for what was forgotten: at most 240; 0: the usual 80")
    ] = 0
    name: Annotated[str, Field(description="what to call this exam")] = "exam"
    k: Annotated[int, Field(ge=1, le=100, description="retrieval recall is measured at this many passages")] = 5
    samples: Annotated[int, Field(ge=1, le=100, description="answers to each question; more need a temperature")] = 1
    temperature: Annotated[float, Field(ge=0, le=10, description="0: the likeliest answer; else drawn")] = 0.0
    seed: Annotated[int, Field(ge=0, description="the same seed picks the same questions, and draws the same")] = 0

    def run(self, desk: Desk) -> int:
        """Print the table and the report's path."""
        from shuyuan.base.records import Decoding
        from shuyuan.examine.exam import exam
        from shuyuan.examine.sitting import Asking
        from shuyuan.examine.tables import table

        # A seed says nothing about greedy answers, and must not make them new ones.
        drawn = Decoding(temperature=self.temperature, seed=self.seed if self.temperature else 0)

        sat = exam(
            desk.workspace(),
            self.names,
            self.name,
            papers=[name for names in self.papers for name in names.split(",") if name],
            questions=self.questions,
            general=self.general,
            k=self.k,
            seed=self.seed,
            asking=Asking(drawn, self.samples),
        )
        desk.show(f"{table(sat, language())}\n\n{report_of(sat)}", sat)
        return 0
