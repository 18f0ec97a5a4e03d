"""Fetch models, so that they can be used without a network."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.cli.shell import Command, Desk


class Pull(Command):
    """Fetch, verify and convert models once; an interrupted download goes on where it stopped."""

    examples: ClassVar[str] = """
shuyuan pull                          the two models that this workspace is built on
shuyuan pull qwen2.5-0.5b multilingual-e5-small
shuyuan pull ./my-model.gguf          convert a file of your own
"""
    models: Annotated[
        tuple[str, ...],
        Field(description="names or paths; none: this workspace's models", json_schema_extra={"positional": True}),
    ] = ()

    def run(self, desk: Desk) -> int:
        """Fetch each model and print its folder."""
        from shuyuan.load.pulling import pull

        names = self.models
        if not names:
            choices = desk.workspace().choices
            names = (choices.model, choices.embedder)
        for name in names:
            print(pull(name))
        return 0
