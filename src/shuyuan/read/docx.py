"""Word documents (DOCX): headings, lists and tables as Markdown; macros never run."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import human_bytes
from shuyuan.base.records import Document
from shuyuan.read.formats import Format, load, make_document
from shuyuan.read.html import to_markdown

MOST_ENTRIES = 5_000
MOST_UNPACKED_BYTES = 400_000_000
MOST_RATIO = 100  # ordinary documents pack 5 to 20 times; a bomb packs a thousand times
MOST_TAGS = 3_000_000  # the parser keeps about 300 bytes for each
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_STYLES = "\n".join(
    [
        "p[style-name='Title'] => h1:fresh",
        "p[style-name='标题'] => h1:fresh",
        *(f"p[style-name='标题 {level}'] => h{level}:fresh" for level in range(1, 7)),
    ]
)


class Docx(Format):
    """Word documents."""

    suffixes: ClassVar[tuple[str, ...]] = (".docx",)
    always_shows: ClassVar[bool] = True

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """A zip archive or an old Office file; `read` looks further and says what it really is."""
        return head.startswith((b"PK\x03\x04", _OLD_OFFICE))

    def read(self, path: Path, source: str) -> Document:
        """Read one document. Archives that would unpack without end, and XML that defines entities, are refused."""
        import mammoth

        data = load(path)
        _check(data, path)
        try:
            page = mammoth.convert_to_html(
                io.BytesIO(data),
                style_map=_STYLES,
                convert_image=lambda image: [],
                external_file_access=False,
            ).value
        except Exception as error:  # mammoth lets the errors of its XML and zip parsers through as they are
            raise _broken(path, str(error) or type(error).__name__) from error
        text, headings, _ = to_markdown(page, path)
        return make_document(path, source, data, text, headings=headings)


def _check(data: bytes, path: Path) -> None:
    if data.startswith(_OLD_OFFICE):
        raise Fixable(
            "this is an old Office file (.doc) or one with a password",
            "open it in Word or LibreOffice and save it as .docx without a password",
            path,
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if len(entries) > MOST_ENTRIES or unpacked > min(MOST_UNPACKED_BYTES, max(len(data) * MOST_RATIO, 10**6)):
                raise Fixable(
                    f"refused: it would unpack to {len(entries):,} parts of {human_bytes(unpacked)} in all",
                    "open it in Word or LibreOffice and save it again",
                    path,
                )
            if "word/document.xml" not in archive.namelist():
                raise Fixable("this is a zip archive, not a Word document", "unpack it and add what is in it", path)
            tags = 0
            for entry in entries:
                if entry.filename.endswith((".xml", ".rels")):
                    tags += _count_tags(archive.read(entry), path)
            if tags > MOST_TAGS:
                raise Fixable(f"refused: it is made of {tags:,} parts", "split it into smaller documents", path)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise _broken(path, str(error)) from None


def _count_tags(xml: bytes, path: Path) -> int:
    if xml.startswith((b"\xff\xfe", b"\xfe\xff")):
        xml = xml.decode("utf-16", errors="replace").encode()
    if b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
        raise Fixable(
            "refused: its XML defines entities, which no Word document needs",
            "open it in Word or LibreOffice and save it again",
            path,
        )
    return xml.count(b"<")


def _broken(path: Path, why: str) -> Fixable:
    return Fixable(
        f"not a whole Word document: {why}", "fetch it again, or open and save it in Word or LibreOffice", path
    )
