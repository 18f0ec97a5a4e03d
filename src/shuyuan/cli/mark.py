"""Pin, tag or restrict documents and folders; without a name, list what was said of them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import told, word
from shuyuan.base.errors import Fixable
from shuyuan.base.marks import above
from shuyuan.base.progress import say
from shuyuan.cli.shell import Command, Desk, heads, table


class Mark(Command):
    """Mark documents, or folders for all that lies in them now and later; it holds at once, nothing is built again."""

    examples: ClassVar[str] = """
shuyuan mark                                     list the marks
shuyuan mark handbook/rules.md --pin             shown to the model with every question
shuyuan mark handbook/2024 --tag archive 旧       replaces the tags that it had
shuyuan mark handbook/staff --group hr           only for who is in the group; nothing learns from it
shuyuan mark handbook/staff/menu.md --group everyone
shuyuan mark handbook/rules.md --clear
"""
    speaks_json: ClassVar[bool] = True
    sources: Annotated[
        tuple[str, ...],
        Field(description="documents (shuyuan list --documents) or folders", json_schema_extra={"positional": True}),
    ] = ()
    pin: Annotated[bool | None, Field(description="its nearest passage is always among those shown")] = None
    tag: Annotated[tuple[str, ...], Field(description="its tags from now on")] = ()
    group: Annotated[str, Field(description="who may see it: a group, or everyone")] = ""
    clear: Annotated[bool, Field(description="take every mark of it away")] = False

    def run(self, desk: Desk) -> int:
        """Print all marks as they are now."""
        workspace = desk.workspace()
        if not self.sources and (self.pin is not None or self.tag or self.group or self.clear):
            raise Fixable("nothing was named to mark", "name documents or folders: shuyuan list --documents")
        known = workspace.material.files()
        for source in self.sources:
            if self.clear:
                workspace.mark(source, pinned=False, tags=(), group="")
            workspace.mark(source, pinned=self.pin, tags=self.tag or None, group=self.group or None)
            if not any(source.rstrip("/") in above(name) for name in known):
                say(f"nothing lies in {source} yet: the mark waits for it")
        marks = workspace.material.marks()
        rows = [(name, word("pinned") * mark.pinned, " ".join(mark.tags), mark.group) for name, mark in marks.items()]
        columns = heads("document or folder", "pinned", "tags", "group")
        text = table(rows, columns) if rows else told("nothing is marked")
        desk.show(text, marks)
        return 0
