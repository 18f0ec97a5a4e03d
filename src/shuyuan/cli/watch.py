"""Keep the workspace in step with folders that change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from shuyuan.base.chinese import word
from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.progress import say
from shuyuan.base.workspace import Workspace, finished
from shuyuan.cli.shell import Command, Desk


class Watch(Command):
    """Add folders now and again whenever something in them changes, until Ctrl-C."""

    examples: ClassVar[str] = """
shuyuan watch ~/handbook
shuyuan watch ~/handbook --teach retrieve           teach this assistant again after every change
"""
    paths: Annotated[tuple[str, ...], Field(description="files and folders to watch")]
    exclude: Annotated[tuple[str, ...], Field(description="patterns to leave out, as in .gitignore")] = ()
    pictures: Annotated[bool, Field(description="read the words in pictures too (needs the extra ocr)")] = False
    every: Annotated[float, Field(ge=0.1, le=3600, description="seconds between two looks")] = 2.0
    teach: Annotated[
        str, Field(description="an assistant to teach again after every change; its library is made from what is new")
    ] = ""

    def run(self, desk: Desk) -> int:
        """Add, wait, add again; each round says what it read, kept and forgot."""
        from shuyuan.prepare.watching import watch

        workspace = desk.workspace()
        made = finished(workspace.run(self.teach)) if self.teach else None
        if self.teach and not made:
            raise Fixable(f"there is no assistant '{self.teach}'", near_miss(self.teach, workspace.runs()))
        paths = [Path(path) for path in self.paths]
        rounds = watch(workspace, paths, every_seconds=self.every, exclude=self.exclude, pictures=self.pictures)
        try:
            for added in rounds:
                if made and (added.read or added.forgotten):
                    _teach_again(workspace, self.teach, made)
                say("watching; stop with Ctrl-C")
        except KeyboardInterrupt:
            say(word("stopped"))
        return 0


def _teach_again(workspace: Workspace, name: str, made: Mapping[str, Any]) -> None:
    from shuyuan.teach.teaching import teach

    teach(workspace, made["route"], made["settings"], on=made["on"], name=name, seed=made["seed"], again=True)
