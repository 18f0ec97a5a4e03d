"""Plain text in any common encoding; no headings."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from shuyuan.base.records import Document
from shuyuan.read.encoding import decode
from shuyuan.read.formats import Format, make_document


class Text(Format):
    """Plain text."""

    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".text", ".rst", ".adoc", ".org", ".tex", ".log", ".srt", ".vtt")

    def read(self, data: bytes, path: Path, source: str) -> Document:
        """Read one text file; bytes that are not text are a `Fixable` naming the line."""
        return make_document(path, source, data, decode(data, path), first_line=1)
