"""List the keys of the server's users."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from shuyuan.base.chinese import told
from shuyuan.cli.serve import needs_serving
from shuyuan.cli.shell import Command, Desk, heads, table
from shuyuan.cli.shown import day


class KeyList(Command):
    """List who has keys, and what each key is for; the keys themselves are not kept."""

    examples: ClassVar[str] = """
shuyuan key list
shuyuan key list --json
"""
    speaks_json: ClassVar[bool] = True

    def run(self, desk: Desk) -> int:
        """Print one line a key."""
        with needs_serving():
            from shuyuan.serve.access import open_access

        keys = open_access(Path(desk.folder)).listed()
        rows = [
            (
                key["id"],
                key["user"],
                told("everything, everywhere") if key["admin"] else " ".join(key["scopes"]),
                day(key["created"]),
            )
            for key in keys
        ]
        nobody = "no keys: whoever is at this machine may enter"
        shown = table(rows, heads("key", "user", "for", "made")) if rows else told(nobody)
        desk.show(shown, keys)
        return 0
