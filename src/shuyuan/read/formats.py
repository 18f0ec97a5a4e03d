"""What every file format shares: its settings class, safe loading of bytes and the making of a document."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint
from shuyuan.base.progress import human_bytes
from shuyuan.base.records import Box, Document, Heading
from shuyuan.base.settings import Settings
from shuyuan.read.language import language

MOST_BYTES = 512_000_000
MOST_CHARACTERS = 64_000_000  # about ninety times the Bible; what is longer is a log or an attack
OCR_HINT = "install the text recogniser (OCR) and add it again: pip install 'shuyuan[ocr]'"
HEAD_BYTES = 4096


class Format(Settings):
    """A file format. `suffixes` are the lower-case endings it is known by; `recognises` looks at the content.

    Where `always_shows`, a file that is not recognised is not of this format, whatever its suffix. Where `holds_files`,
    `unpack` yields the files inside. `pictured` formats are read in a folder only when pictures are asked for.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    always_shows: ClassVar[bool] = False
    holds_files: ClassVar[bool] = False
    pictured: ClassVar[bool] = False

    @classmethod
    def recognises(cls, data: bytes) -> bool:
        """Whether a file with these bytes is certainly of this format, whatever its name."""
        return False

    def read(self, data: bytes, path: Path, source: str) -> Document | None:
        """The bytes of one file → a document called `source`; None where it only holds other files.

        `path` is named in errors: what cannot be read is a `Fixable` naming file and place.
        """
        raise NotImplementedError

    def unpack(self, data: bytes, path: Path) -> Iterator[tuple[str, bytes | Fixable]]:
        """The files inside: (plain relative name, content or what is wrong with it)."""
        yield from ()


def load(path: Path) -> bytes:
    """The bytes of a file; a missing, locked, empty or enormous one is a `Fixable`."""
    try:
        size = path.stat().st_size
        if size == 0:
            raise Fixable("the file is empty (0 bytes)", "put its content back, or delete it", path)
        if size > MOST_BYTES:
            raise Fixable(
                f"the file is too large: {human_bytes(size)}, at most {human_bytes(MOST_BYTES)} are read",
                "split it into smaller files",
                path,
            )
        return path.read_bytes()
    except OSError as error:
        raise Fixable(f"the file cannot be read: {error.strerror}", "check its name and permissions", path) from None


def make_document(
    path: Path,
    source: str,
    data: bytes,
    text: str,
    *,
    title: str = "",
    headings: Sequence[Heading] = (),
    pages: Sequence[int] = (),
    boxes: Sequence[Box] = (),
    first_line: int = 0,
    left_out: str = "",
) -> Document:
    """The document of one file. Without a `title` its first heading names it, else the file's stem.

    A text with nothing but white space is a `Fixable`.
    """
    if not text.strip():
        raise Fixable(
            "there is no text in it" + (", only pictures or empty pages" if pages else ""),
            OCR_HINT if pages else "put its content back, or delete it",
            path,
        )
    if len(text) > MOST_CHARACTERS:
        raise Fixable(f"it holds {len(text):,} characters, at most {MOST_CHARACTERS:,} are read", "split it", path)
    title = " ".join(title.split()) or (headings[0].title if headings else "") or PurePosixPath(source).stem
    return Document(
        id=fingerprint(source),
        source=source,
        title=title,
        text=text,
        sha256=hashlib.sha256(data).hexdigest(),
        language=language(text),
        headings=tuple(headings),
        pages=tuple(pages),
        boxes=tuple(boxes),
        first_line=first_line,
        left_out=left_out,
    )
