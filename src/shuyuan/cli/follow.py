"""Teach what a LLaMA-Factory recipe says, data sets and all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.progress import say
from shuyuan.base.workspace import finished
from shuyuan.cli.shell import Command, Desk
from shuyuan.cli.shown import looked_over


class Follow(Command):
    """Add the data sets of a LLaMA-Factory recipe and teach as it says; keys that cannot be followed stop it."""

    examples: ClassVar[str] = """
shuyuan follow qwen_lora_sft.yaml
shuyuan follow qwen_lora_sft.yaml --dry-run     look at what would be learned, what it costs, and stop there
"""
    speaks_json: ClassVar[bool] = True
    recipe: Annotated[str, Field(description="the recipe, a YAML file")]
    name: Annotated[str, Field(description="what to call the new assistant; empty: named after its route")] = ""
    again: Annotated[bool, Field(description="replace an assistant of this name that was made from other things")] = (
        False
    )
    dry_run: Annotated[bool, Field(description="add the data, look over what would be taught, and teach nothing")] = (
        False
    )

    def run(self, desk: Desk) -> int:
        """Teach, and print the name of the assistant."""
        from shuyuan.teach.following import follow
        from shuyuan.teach.teaching import dry_run, teach

        workspace = desk.workspace()
        order = {**follow(workspace, Path(self.recipe)), "name": self.name}
        if self.dry_run:
            found = dry_run(workspace, **order)
            desk.show(looked_over(found), found)
            return 0
        taught = teach(workspace, **order, again=self.again)
        desk.show(taught.name, {"name": taught.name, "done": finished(workspace.run(taught.name))})
        say(f'next: shuyuan ask "…" --with {taught.name}, or shuyuan exam')
        return 0
