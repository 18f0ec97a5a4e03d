"""Choose what happens to questions that are asked of the library."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shuyuan.cli.shell import Command, Desk


class QuestionKeep(Command):
    """Choose whether questions are kept, and who sees them; those that are there stay as they are."""

    examples: ClassVar[str] = """
shuyuan question keep private     only who may write here sees them, until one is published
shuyuan question keep public      each becomes a page once it is answered
shuyuan question keep off         none is kept
"""
    keeping: Annotated[
        Literal["off", "private", "public"] | None,
        Field(description="off, private or public; left out: say which it is", json_schema_extra={"positional": True}),
    ] = None

    def run(self, desk: Desk) -> int:
        """Say what holds from now on."""
        asked = desk.workspace().material.asked
        if self.keeping:
            asked.keep(self.keeping)
        print(asked.keeping())
        return 0
