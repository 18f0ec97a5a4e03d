"""Teach the model by one route; without a route, list them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base import shelf
from shuyuan.base.progress import say
from shuyuan.base.workspace import finished
from shuyuan.cli.shell import Command, Desk, table


class Teach(Command):
    """Teach by one route what the workspace holds; each route has settings of its own."""

    examples: ClassVar[str] = """
shuyuan teach                                   list the routes
shuyuan teach lora --help                       the settings of one route
shuyuan teach lora --rank 32 --name lora-32
shuyuan teach retrieve --on lora                give the tuned model a library as well: lora+retrieve
"""
    speaks_json: ClassVar[bool] = True
    room: ClassVar[str] = "teach"
    route: Annotated[str, Field(description="how to teach", json_schema_extra={"positional": True})] = ""
    on: Annotated[str, Field(description="the assistant to start from")] = "bare"
    name: Annotated[str, Field(description="what to call the new assistant; empty: named after its routes")] = ""
    seed: Annotated[int, Field(ge=0, description="the same seed gives the same weights")] = 0
    again: Annotated[bool, Field(description="replace an assistant of this name that was made from other things")] = (
        False
    )

    def run(self, desk: Desk) -> int:
        """Teach, and print the name of the assistant."""
        if not self.route:
            routes = shelf.choices("teach")
            desk.show(table(list(routes.items()), ("route", "what it does")), routes)
            return 0
        from shuyuan.teach.teaching import teach

        workspace = desk.workspace()
        taught = teach(
            workspace, self.route, desk.settings, on=self.on, name=self.name, seed=self.seed, again=self.again
        )
        desk.show(taught.name, {"name": taught.name, "done": finished(workspace.run(taught.name))})
        say(f'next: shuyuan ask "…" --with {taught.name}, or shuyuan exam')
        return 0
