"""Predict, before anything is taught, which routes are worth their cost."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import told, word
from shuyuan.cli.shell import Command, Desk, heads, table


class Pilot(Command):
    """Ask some exam questions closed-book, with a library and with the evidence; measure the text; predict by rule."""

    examples: ClassVar[str] = """
shuyuan pilot
shuyuan pilot --questions 40 --seed 1
"""
    speaks_json: ClassVar[bool] = True
    questions: Annotated[int, Field(ge=4, le=1000, description="how many exam questions are tried")] = 20
    seed: Annotated[int, Field(ge=0, description="which ones")] = 0

    def run(self, desk: Desk) -> int:
        """Print what was measured and one prediction a route."""
        from shuyuan.examine.pilot import pilot

        found = pilot(desk.workspace(), self.questions, self.seed)
        shares = (("closed book", found.closed), ("with a library", found.opened), ("with the evidence", found.oracle))
        lines = [
            told(f"{name}: {share.value:.0%} of {share.n} right")
            + ("" if share.low is None or share.high is None else f" ({share.low:.0%}–{share.high:.0%})")
            for name, share in shares
            if share
        ]
        lines += [
            told(f"{language}: {found.tokens.get(language, 0):.2f} tokens a character, {bits:.2f} bits a byte")
            + (f" ({told(f'everyday prose {found.usual[language]:.2f}')})" if language in found.usual else "")
            for language, bits in found.bits.items()
        ]
        rows = [
            (one.route, word(one.worth), f"{one.low:.0%}–{one.high:.0%}", told(one.why)) for one in found.predictions
        ]
        lines += ["", table(rows, heads("route", "worth it", "right", "why"))]
        desk.show("\n".join(lines), found)
        return 0
