"""Make a workspace: a folder for one subject."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.progress import say
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.cli.shell import Command, Desk

_DEFAULT = Choices()


class New(Command):
    """Make a workspace, or do nothing when it is there already with the same models."""

    examples: ClassVar[str] = """
shuyuan new school
shuyuan new school --model smollm2-135m
shuyuan new school --model ~/models/my-model     a Hugging Face folder or a GGUF file of your own
"""
    folder: Annotated[str, Field(description="the folder to make")]
    model: Annotated[str, Field(description="base model: a name from `shuyuan models`, a folder or a GGUF file")] = (
        _DEFAULT.model
    )
    embedder: Annotated[str, Field(description="model that places texts for search")] = _DEFAULT.embedder

    def run(self, desk: Desk) -> int:
        """Make the folder and print its path."""
        workspace = Workspace.create(Path(self.folder), Choices(model=self.model, embedder=self.embedder))
        print(workspace.folder)
        say(f"next: cd {self.folder} && shuyuan add FILES")
        return 0
