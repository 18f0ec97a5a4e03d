"""List the models that can be used by name."""

from __future__ import annotations

from dataclasses import asdict
from typing import ClassVar

from shuyuan.base.chinese import language, told, word
from shuyuan.base.progress import human_bytes
from shuyuan.cli.shell import Command, Desk, heads, table


class Models(Command):
    """List the catalogue: what each model is for, its languages, its licence, and whether it is here already."""

    examples: ClassVar[str] = """
shuyuan models
shuyuan models --json
"""
    speaks_json: ClassVar[bool] = True

    def run(self, desk: Desk) -> int:
        """Print the catalogue."""
        from shuyuan.load.pulling import models

        known = models()
        rows = [
            (
                one.entry.name,
                word(one.entry.kind),
                " ".join(map(word, one.entry.languages)),
                told(
                    f"here, {human_bytes(one.size_bytes)}"
                    if one.present
                    else f"{human_bytes(one.entry.wanted.bytes)} to get"
                ),
                one.entry.licence,
                one.entry.about[language()],
            )
            for one in known
        ]
        columns = heads("name", "kind", "languages", "size", "licence", "what it is")
        desk.show(
            table(rows, columns),
            [{**asdict(one.entry), "present": one.present, "bytes": one.size_bytes} for one in known],
        )
        return 0
