"""Flags that say which documents are wanted, for the commands that ask."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.marks import View
from shuyuan.base.records import Assistant
from shuyuan.cli.shell import Command


class AskingCommand(Command):
    """A command that asks an assistant; who has the workspace's files before them sees all documents."""

    tag: Annotated[tuple[str, ...], Field(description="only documents that have all of these tags")] = ()
    folder: Annotated[str, Field(description="only documents of this folder or archive")] = ""
    kind: Annotated[str, Field(description="only documents of this kind: pdf, md …")] = ""

    def for_us(self, assistant: Assistant) -> Assistant:
        """The assistant, looking up what is wanted; `Fixable` when it has no library to choose from."""
        from shuyuan.recall.grounded import GroundedAssistant, seen_by

        view = View(None, self.tag, self.folder, self.kind)
        if view.narrow and not isinstance(assistant, GroundedAssistant):
            raise Fixable(
                f"'{assistant.name}' has no library to choose documents from", "ask --with one that was taught retrieve"
            )
        return seen_by(assistant, view)
