"""Forget a question that was asked."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.progress import say
from shuyuan.cli.shell import Command, Desk


class QuestionRemove(Command):
    """Forget a question, with its wordings, vectors and answer."""

    examples: ClassVar[str] = """
shuyuan question remove q3f2a90b1c4d5e6f7
"""
    question: Annotated[str, Field(description="its id, from `shuyuan question list`")]

    def run(self, desk: Desk) -> int:
        """Say that it is gone."""
        desk.workspace().material.asked.remove(self.question)
        say(f"{self.question} is forgotten")
        return 0
