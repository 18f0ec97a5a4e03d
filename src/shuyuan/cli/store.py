"""Move the libraries of this workspace to another store; without a store, list them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base import shelf
from shuyuan.base.chinese import word
from shuyuan.base.errors import Fixable
from shuyuan.cli.shell import Command, Desk, heads, table


class Store(Command):
    """Move libraries to another store: nothing is embedded again, and the copy is checked before the old one goes."""

    examples: ClassVar[str] = """
shuyuan store                                  list the stores, and where each library is
shuyuan store sqlite                           one file, nothing else needed
shuyuan store qdrant --url http://localhost:6333
shuyuan store lance --only retrieve           only the library of this assistant
"""
    speaks_json: ClassVar[bool] = True
    room: ClassVar[str] = "store"
    store: Annotated[str, Field(description="where to", json_schema_extra={"positional": True})] = ""
    only: Annotated[str, Field(description="whose library; empty: every one")] = ""

    def run(self, desk: Desk) -> int:
        """Print where each library is now."""
        from shuyuan.recall.keeping import move
        from shuyuan.recall.state import state_of

        workspace = desk.workspace()
        folders = {name: workspace.run(name).folder / "library" for name in workspace.runs()}
        there = {name: folder for name, folder in folders.items() if state_of(folder).documents}
        if self.only and self.only not in there:
            raise Fixable(f"'{self.only}' has no library", f"there are: {', '.join(there) or 'none yet'}")
        if self.store:
            for name in [self.only] if self.only else there:
                move(there[name], self.store, **desk.settings)
        rows = [(name, state.store, state.passages) for name, state in ((n, state_of(f)) for n, f in there.items())]
        ways = [(name, word(line)) for name, line in shelf.choices("store").items()]
        stores = "" if self.store else table(ways, heads("store", "what it is")) + "\n\n"
        data = [{"assistant": name, "store": kept, "passages": passages} for name, kept, passages in rows]
        desk.show(stores + table(rows, heads("library of", "store", "passages")), data)
        return 0
