"""Let assistants sit the same papers, and write the report."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.cli.shell import Command, Desk


class Exam(Command):
    """Examine assistants: what they learned, what they make up, what they forgot, and what it cost."""

    examples: ClassVar[str] = """
shuyuan exam                           all that were taught here, and the untaught model
shuyuan exam bare retrieve lora
shuyuan exam --questions 40 --general 20 --name quick
shuyuan exam --papers knowledge,robustness,fairness,format,calibration
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
    seed: Annotated[int, Field(ge=0, description="the same seed picks the same questions")] = 0

    def run(self, desk: Desk) -> int:
        """Print the table and the report's path."""
        from shuyuan.examine.exam import exam
        from shuyuan.examine.tables import table

        sat = exam(
            desk.workspace(),
            self.names,
            self.name,
            papers=[name for names in self.papers for name in names.split(",") if name],
            questions=self.questions,
            general=self.general,
            k=self.k,
            seed=self.seed,
        )
        desk.show(f"{table(sat)}\n\nreport: {sat.folder.resolve() / 'report.html'}", sat)
        return 0
