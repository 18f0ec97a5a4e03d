"""Teach the model by one route; without a route, list them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from shuyuan.base import shelf
from shuyuan.base.chinese import word
from shuyuan.base.errors import Fixable
from shuyuan.base.guards import ForgetLimit, Guards, HoldOut, Patience
from shuyuan.base.progress import say, seconds_of
from shuyuan.base.workspace import finished
from shuyuan.cli.shell import Command, Desk, heads, table
from shuyuan.cli.shown import looked_over


class Teach(Command):
    """Teach by one route what the workspace holds; each route has settings of its own."""

    examples: ClassVar[str] = """
shuyuan teach                                   list the routes
shuyuan teach lora --help                       the settings of one route
shuyuan teach lora --dry-run                    look at what would be learned, what it costs, and stop there
shuyuan teach lora --rank 32 --name lora-32
shuyuan teach lora --tune 10m                   try learning rates and epochs for ten minutes, then teach with the best
shuyuan teach full --forget-limit 0.2           slow down, then stop, when general text gets this much worse
shuyuan teach lora --hold-out 0 --patience 0    teach every example, to the end
shuyuan teach lora --mix data/own.jsonl=3 data/chat.jsonl=1   three rows of the one file for each of the other
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
    dry_run: Annotated[bool, Field(description="only look over what would be taught; nothing is written")] = False
    tune: Annotated[
        str, Field(pattern=r"^(\d+[smh])?$", description="first try learning rates and epochs, for 90s, 10m or 1h")
    ] = ""
    mix: Annotated[tuple[str, ...], Field(description="files of examples to learn from, with shares: FILE=3")] = ()
    hold_out: HoldOut = Guards().hold_out
    patience: Patience = Guards().patience
    forget_limit: ForgetLimit = Guards().forget_limit

    def run(self, desk: Desk) -> int:
        """Teach, and print the name of the assistant."""
        if not self.route:
            routes = shelf.choices("teach")
            desk.show(
                table([(name, word(line)) for name, line in routes.items()], heads("route", "what it does")), routes
            )
            return 0
        from shuyuan.prepare.mixture import mix_of
        from shuyuan.teach.teaching import dry_run, teach

        workspace = desk.workspace()
        guards = Guards(**{name: getattr(self, name) for name in Guards.model_fields})
        order: dict[str, Any] = {"route": self.route, "settings": desk.settings, "seed": self.seed, "guards": guards}
        order |= {"on": self.on, "name": self.name, "mix": mix_of(self.mix) if self.mix else None}
        if self.dry_run and self.tune:
            raise Fixable("--dry-run does nothing, and --tune tries things out", "leave one of them out")
        if self.dry_run:
            found = dry_run(workspace, **order)
            desk.show(looked_over(found), found)
            return 0
        tune_seconds = seconds_of(self.tune) if self.tune else 0.0
        taught = teach(workspace, **order, again=self.again, tune_seconds=tune_seconds)
        desk.show(taught.name, {"name": taught.name, "done": finished(workspace.run(taught.name))})
        say(f'next: shuyuan ask "…" --with {taught.name}, or shuyuan exam')
        return 0
