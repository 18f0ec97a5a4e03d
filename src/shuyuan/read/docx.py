"""Word documents (DOCX): headings, lists and tables as Markdown; macros never run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document
from shuyuan.read.archive import broken, checked_xml, holds, open_archive
from shuyuan.read.formats import Format, make_document
from shuyuan.read.html import to_markdown

OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
OLD_SHEET = "Workbook".encode("utf-16-le")  # the name of the part that makes an old Office file a spreadsheet
_STYLES = "\n".join(
    [
        "p[style-name='Title'] => h1:fresh",
        "p[style-name='标题'] => h1:fresh",
        *(f"p[style-name='标题 {level}'] => h{level}:fresh" for level in range(1, 7)),
    ]
)


class Docx(Format):
    """Word documents."""

    suffixes: ClassVar[tuple[str, ...]] = (".docx", ".docm")
    always_shows: ClassVar[bool] = True

    @classmethod
    def recognises(cls, data: bytes) -> bool:
        """A zip archive with a Word document in it; or an old Office file, of which `read` says what it is."""
        return (data.startswith(OLD_OFFICE) and OLD_SHEET not in data) or holds(data, "word/document.xml")

    def read(self, data: bytes, path: Path, source: str) -> Document:
        """Read one document. Archives that would unpack without end, and XML that defines entities, are refused."""
        import mammoth

        if data.startswith(OLD_OFFICE):
            raise Fixable(
                "this is an old Office file (.doc, .ppt) or one with a password",
                "open it in Word or LibreOffice and save it as .docx or .pptx without a password",
                path,
            )
        with open_archive(data, path) as archive:
            checked_xml(archive, path)
        try:
            page = mammoth.convert_to_html(
                io.BytesIO(data),
                style_map=_STYLES,
                convert_image=lambda image: [],
                external_file_access=False,
            ).value
        except Exception as error:  # mammoth lets the errors of its XML and zip parsers through as they are
            raise broken(path, error) from error
        text, headings, _ = to_markdown(page, path)
        return make_document(path, source, data, text, headings=headings)
