"""Zip archives: each file inside is read as if it lay in a folder; nothing is unpacked onto the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.read.archive import BEGINS, entry_name, open_archive, part_of
from shuyuan.read.formats import Format


class Zip(Format):
    """Zip archives."""

    suffixes: ClassVar[tuple[str, ...]] = (".zip",)
    always_shows: ClassVar[bool] = True
    holds_files: ClassVar[bool] = True

    @classmethod
    def recognises(cls, data: bytes) -> bool:
        """A zip archive; those that are documents are recognised before, since their names come first."""
        return data.startswith(BEGINS)

    def read(self, data: bytes, path: Path, source: str) -> None:
        """An archive has no text of its own; one that is broken, has a password or is a bomb is refused as a whole."""
        with open_archive(data, path) as archive:
            if not archive.namelist():
                raise Fixable("the archive is empty", "put its content back, or delete it", path)

    def unpack(self, data: bytes, path: Path) -> Iterator[tuple[str, bytes | Fixable]]:
        """The files inside, in order of their names. Hidden ones are left out, as in a folder."""
        with open_archive(data, path) as archive:
            for number, entry in enumerate(sorted(archive.infolist(), key=lambda entry: entry.filename), start=1):
                if entry.is_dir():
                    continue
                try:
                    name = entry_name(entry)
                except Fixable as fault:
                    yield f"entry {number}", fault
                    continue
                if any(part.startswith((".", "__MACOSX")) for part in name.split("/")):
                    continue
                try:
                    yield name, part_of(archive, entry, path)
                except Fixable as fault:
                    yield name, fault
