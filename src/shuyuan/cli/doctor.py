"""Say what works on this machine, and what to do about what does not."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import language, told
from shuyuan.cli.shell import Command, Desk, heads, table


class Doctor(Command):
    """Check Python, packages, processor, memory, disk, models and the workspace, as the other commands use them."""

    examples: ClassVar[str] = """
shuyuan doctor
shuyuan doctor --quick      leave out reading every byte of the models
shuyuan doctor --json
"""
    speaks_json: ClassVar[bool] = True
    quick: Annotated[bool, Field(description="compare only the sizes of the models' files, not their hashes")] = False

    def run(self, desk: Desk) -> int:
        """Print every check; 1 when something that is needed does not work."""
        from shuyuan.load.checks import examine_machine

        checks = examine_machine(desk.folder, self.quick, "en" if desk.as_json else language())
        marks = {"good": "✓", "note": "·", "bad": "✗"}
        rows = [(marks[check.state], check.what, told(check.found)) for check in checks]
        hints = [told(f"hint: {check.what}: {check.hint}") for check in checks if check.hint]
        desk.show("\n".join([table(rows, heads("", "what", "found")), *hints]), checks)
        return 1 if any(check.state == "bad" for check in checks) else 0
