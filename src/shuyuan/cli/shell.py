"""What every command is given: the workspace it works in, and one way to show a result."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from shuyuan.base.chinese import word
from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.progress import width_of
from shuyuan.base.settings import Settings
from shuyuan.base.workspace import Workspace

if TYPE_CHECKING:
    from shuyuan.examine.results import Exam


@dataclasses.dataclass(frozen=True)
class Desk:
    """Where a command works: the workspace's folder, the form of its answer, and the settings of the way it chose."""

    folder: Path
    as_json: bool = False
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def workspace(self) -> Workspace:
        """Open the workspace; `Fixable` when there is none."""
        return Workspace.open(self.folder)

    def exam(self, name: str = "") -> Exam:
        """Read an exam that was sat here, the newest if none is named; `Fixable` when there is none."""
        from shuyuan.examine.results import read_exam

        return read_exam(self.exam_folder(name))

    def exam_folder(self, name: str = "") -> Path:
        """The folder of an exam that was sat here, of the newest if none is named; `Fixable` when there is none."""
        workspace = self.workspace()
        sat = workspace.exams()
        if not sat:
            raise Fixable("no exam was sat here yet", "sit one: shuyuan exam")
        if name and name not in sat:
            raise Fixable(f"there is no exam '{name}'", near_miss(name, sat))
        return workspace.exam(name or sat[-1])

    def show(self, text: str, data: object) -> None:
        """Print a result on stdout: `text` for a person, or `data` as JSON when `--json` was given."""
        print(json.dumps(data, ensure_ascii=False, indent=1, default=_plain) if self.as_json else text)


class Command(Settings):
    """A command: its fields are its flags, and `run` calls one function of another room and shows what came back."""

    examples: ClassVar[str] = ""
    speaks_json: ClassVar[bool] = False
    room: ClassVar[str] = ""  # the command's first word names a choice of this room, whose settings become flags

    def run(self, desk: Desk) -> int:
        """Do the work; the number is the exit code."""
        raise NotImplementedError


def heads(*columns: str) -> tuple[str, ...]:
    """The heads of columns, in the reader's language."""
    return tuple(map(word, columns))


def table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    """Rows in aligned columns; a Chinese character takes two places, as it does on a terminal."""
    cells = [[str(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(width_of(row[column]) for row in cells) for column in range(len(headers))]
    return "\n".join(
        "  ".join(cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
