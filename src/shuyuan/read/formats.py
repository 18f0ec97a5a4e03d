"""What every file format shares: its settings class, safe loading of bytes and the making of a document."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint
from shuyuan.base.progress import human_bytes
from shuyuan.base.records import Document, Heading
from shuyuan.base.settings import Settings
from shuyuan.read.language import language

MOST_BYTES = 512_000_000
HEAD_BYTES = 4096


class Format(Settings):
    """A file format. `suffixes` are the lower-case endings it is known by; `recognises` looks at the content.

    Where `always_shows`, a file that is not recognised is not of this format, whatever its suffix.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    always_shows: ClassVar[bool] = False

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether a file whose first 4,096 bytes are `head` is certainly of this format, whatever its name."""
        return False

    def read(self, path: Path, source: str) -> Document:
        """Read one file into a document called `source`; what cannot be read is a `Fixable` naming file and place."""
        raise NotImplementedError


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
) -> Document:
    """The document of one file. Without a `title` its first heading names it, else the file's stem.

    A text with nothing but white space is a `Fixable`.
    """
    if not text.strip():
        raise Fixable(
            "there is no text in it" + (": its pages are pictures" if pages else ""),
            "run a text recogniser (OCR) over it first" if pages else "put its content back, or delete it",
            path,
        )
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
    )
