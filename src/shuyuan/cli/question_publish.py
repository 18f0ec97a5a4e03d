"""Make a page of an answered question, for everybody who may see the workspace."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.progress import say
from shuyuan.cli.shell import Command, Desk


class QuestionPublish(Command):
    """Publish an answered question, or take its page back; the page keeps this answer, whatever is asked later."""

    examples: ClassVar[str] = """
shuyuan question publish q3f2a90b1c4d5e6f7
shuyuan question publish q3f2a90b1c4d5e6f7 --back
"""
    question: Annotated[str, Field(description="its id, from `shuyuan question list`")]
    back: Annotated[bool, Field(description="take the page back: only who may write here sees it")] = False

    def run(self, desk: Desk) -> int:
        """Say who sees it now."""
        desk.workspace().material.asked.publish(self.question, public=not self.back)
        say("private again" if self.back else "everybody who may see the workspace may read it now")
        return 0
