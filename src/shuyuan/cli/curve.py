"""Does more material help? Teach a route on growing shares of it, and examine each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import told
from shuyuan.base.errors import Fixable
from shuyuan.cli.shell import Command, Desk, heads, table
from shuyuan.cli.shown import report_of

if TYPE_CHECKING:
    from shuyuan.base.records import Score


class Curve(Command):
    """Teach one route on nested shares of the material, let all sit one exam, and show how the score grows."""

    examples: ClassVar[str] = """
shuyuan curve lora
shuyuan curve lora --shares 0.1 0.25 0.5 1 --seeds 0 1 2
shuyuan curve retrieve --questions 40        shares of the documents
"""
    speaks_json: ClassVar[bool] = True
    room: ClassVar[str] = "teach"
    route: Annotated[str, Field(description="how to teach", json_schema_extra={"positional": True})] = ""
    shares: Annotated[
        tuple[float, ...], Field(min_length=1, max_length=20, description="parts of the material, above 0 and up to 1")
    ] = (
        0.25,
        0.5,
        1.0,
    )
    seeds: Annotated[
        tuple[int, ...], Field(min_length=1, max_length=20, description="each seed picks other parts and teaches anew")
    ] = (0,)
    questions: Annotated[int, Field(ge=0, description="most questions on the material; 0: all")] = 0

    def run(self, desk: Desk) -> int:
        """Print a row a share, and the report's path."""
        if not self.route:
            raise Fixable("a curve is drawn of one route", "choose one: shuyuan teach lists them")
        from shuyuan.examine.curve import curve

        found, sat = curve(
            desk.workspace(),
            self.route,
            desk.settings,
            shares=self.shares,
            seeds=self.seeds,
            questions=self.questions,
        )
        rows = [
            (f"{point.share:.0%}", f"{point.amount:,}", _shown(point.everything), _shown(point.taught))
            for point in found.points
        ]
        taught = "examples taught" if found.what == "examples" else "documents taught"
        columns = heads("share", taught, "right, all questions", "right, of what was taught")
        desk.show(f"{table(rows, columns)}\n\n{report_of(sat)}", found)
        return 0


def _shown(score: Score | None) -> str:
    if score is None:
        return "–"
    if score.low is None or score.high is None:
        return f"{score.value:.0%}"
    return f"{score.value:.0%} ({told(f'{score.low:.0%} to {score.high:.0%}')})"
