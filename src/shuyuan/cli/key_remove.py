"""Make a key of the server worthless."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.progress import say
from shuyuan.cli.serve import needs_serving
from shuyuan.cli.shell import Command, Desk


class KeyRemove(Command):
    """Remove a key by its id; a running server refuses it from then on."""

    examples: ClassVar[str] = """
shuyuan key remove key_3f2a90b1c4d5
"""
    key: Annotated[str, Field(description="its id, from `shuyuan key list`")]

    def run(self, desk: Desk) -> int:
        """Say that it is gone."""
        with needs_serving():
            from shuyuan.serve.access import open_access

        open_access(Path(desk.folder)).remove_key(self.key)
        say(f"{self.key} is worthless now")
        return 0
