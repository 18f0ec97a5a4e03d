"""Fact by fact: who knows it, who lost it, who makes it up."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from shuyuan.base.chinese import told
from shuyuan.cli.shell import Command, Desk, heads, table

if TYPE_CHECKING:
    from shuyuan.examine.ledger import Fact, Standing

_SIGNS = {"knows": "●", "partly": "◐", "declines": "○", "invents": "×"}


class Ledger(Command):
    """List every fact of an exam by document, with how each assistant stands with it."""

    examples: ClassVar[str] = """
shuyuan ledger
shuyuan ledger --assistant lora --state invents    what lora makes up
shuyuan ledger --assistant lora retrieve --lost    what teaching took away
shuyuan ledger --json
"""
    speaks_json: ClassVar[bool] = True
    assistant: Annotated[tuple[str, ...], Field(description="only these assistants")] = ()
    state: Annotated[
        Literal["all", "knows", "partly", "declines", "invents"],
        Field(description="only facts with which somebody shown stands so"),
    ] = "all"
    lost: Annotated[bool, Field(description="only facts that the untaught model knew and somebody shown does not")] = (
        False
    )
    exam: Annotated[str, Field(description="which exam; empty: the newest")] = ""

    def run(self, desk: Desk) -> int:
        """Print a line a fact under its document, and the counts."""
        from shuyuan.base.errors import Fixable, near_miss
        from shuyuan.examine.ledger import ledger, tally

        sat = desk.exam(self.exam)
        names = list(self.assistant) or [sheet.name for sheet in sat.sheets]
        for name in names:
            if name not in {sheet.name for sheet in sat.sheets}:
                raise Fixable(
                    f"'{name}' did not sit the exam '{sat.name}'", near_miss(name, [s.name for s in sat.sheets])
                )
        everything = ledger(sat)
        facts = [fact for fact in everything if self._chosen(fact, names)]
        counts = {name: row for name, row in tally(everything).items() if name in names}
        desk.show(_text(facts, names, counts), {"exam": sat.name, "facts": facts, "counts": counts})
        return 0

    def _chosen(self, fact: Fact, names: list[str]) -> bool:
        there = [fact.standings[name] for name in names if name in fact.standings]
        return (self.state == "all" or any(one.state == self.state for one in there)) and (
            not self.lost or any(one.lost for one in there)
        )


def _text(facts: list[Fact], names: list[str], counts: dict[str, Any]) -> str:
    parts = []
    for source, group in groupby(facts, key=lambda fact: fact.source):
        rows = [(_said(fact), *(_sign(fact.standings.get(name)) for name in names)) for fact in group]
        parts.append(table(rows, (source or told("(no document)"), *names)))
    parts.append(
        table([(name, *row.values()) for name, row in counts.items()], heads("", *next(iter(counts.values()), ())))
    )
    parts.append(
        told("● knows it in every wording  ◐ in some  ○ declines  × makes something up  ↓ lost what bare knew")
    )
    return "\n\n".join(parts)


def _said(fact: Fact) -> str:
    text = " ".join(fact.questions[0].text.split())
    asked = text if len(text) <= 52 else text[:51] + "…"
    return (
        f"{asked} → {fact.questions[0].answers[0]}"
        if fact.answerable
        else f"{asked} → {told('(not in the documents)')}"
    )


def _sign(standing: Standing | None) -> str:
    if standing is None:
        return "–"
    right = sum(mark == 1.0 for mark in standing.marks.values())
    share = f" {right}/{len(standing.marks)}" if standing.state == "partly" else ""
    return _SIGNS[standing.state] + share + ("↓" if standing.lost else "")
