"""Files that are learned from alone, in place of the workspace's own examples: what a tuning job brings with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shuyuan.base.errors import Fixable
from shuyuan.base.files import inside
from shuyuan.base.records import Example, Lessons
from shuyuan.base.workspace import Workspace
from shuyuan.prepare.conversations import Tally, read_data


@dataclass(frozen=True, slots=True)
class Data:
    """Data files by their paths in the workspace's folder; those of `validation` are measured on and never learned."""

    training: str
    validation: str = ""


def data_lessons(workspace: Workspace, data: Data) -> Lessons:
    """The examples of the files. Raises `Fixable` for a file that is gone, and naming the line for a wrong row."""
    held_out = tuple(_examples(workspace, data.validation)) if data.validation else ()
    return Lessons(examples=tuple(_examples(workspace, data.training)), held_out=held_out)


def _examples(workspace: Workspace, name: str) -> Iterator[Example]:
    path = inside(workspace.folder, name)
    if not path.is_file():
        raise Fixable(f"the data file {name} is gone", "upload it again", path)
    for record in read_data(path, name, Tally()):
        if not isinstance(record, Example):
            raise Fixable("these rows are raw texts, and examples are needed", 'write {"messages": [ … ]} rows', path)
        yield record
