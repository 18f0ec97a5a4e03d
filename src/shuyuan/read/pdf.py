"""PDF: the text of each page, with headings from the outline found again in the text."""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document
from shuyuan.read.formats import Format, load, make_document
from shuyuan.read.layout import Outlined, find_outline, page_lines, squash, unwrap, without_furniture

MOST_PAGES = 20_000
_NOT_A_TITLE = re.compile(r"untitled|无标题|microsoft word|\.(docx?|pdf|tex|indd|dvi)$", re.I)


class Pdf(Format):
    """PDF files with a text layer."""

    suffixes: ClassVar[tuple[str, ...]] = (".pdf",)
    always_shows: ClassVar[bool] = True

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """A PDF says so in its first kilobyte."""
        return b"%PDF-" in head[:1024]

    def read(self, path: Path, source: str) -> Document:
        """Read all pages. A broken file, one with a password and one of pictures only are each a `Fixable`."""
        import pypdfium2

        logging.getLogger("pypdfium2").setLevel(logging.ERROR)
        data = load(path)
        if not self.recognises(data):
            raise Fixable("this is not a PDF file", "fetch it again", path)
        try:
            pdf = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            raise _refused(path, error) from None
        try:
            pages = without_furniture(_pages(pdf, path), outline := _outline(pdf))
            title = str(pdf.get_metadata_value("Title") or "")
        finally:
            pdf.close()
        text, starts = "", []
        for lines in pages:
            starts.append(len(text))
            text += unwrap(lines, {squash(entry.title) for entry in outline})
        if _NOT_A_TITLE.search(title):
            title = ""
        headings = find_outline(text, starts, outline)
        return make_document(
            path, source, data, text, title=title or PurePosixPath(source).stem, headings=headings, pages=starts
        )


def _pages(pdf: Any, path: Path) -> list[list[str]]:
    if len(pdf) > MOST_PAGES:
        raise Fixable(f"it claims {len(pdf):,} pages, at most {MOST_PAGES:,} are read", "split it", path)
    if len(pdf) == 0:
        raise Fixable("it has no pages", "fetch it again", path)
    pages = []
    for number in range(len(pdf)):
        try:
            page = pdf[number]
            textpage = page.get_textpage()
            pages.append(page_lines(textpage.get_text_range()))
            textpage.close()
            page.close()
        except Exception as error:  # pypdfium2 raises its own and ctypes' errors here
            raise Fixable(
                f"page {number + 1} is broken: {error}", "fetch it again", f"{path}, page {number + 1}"
            ) from None
    return pages


def _outline(pdf: Any) -> list[Outlined]:
    """The bookmarks in order; those that lead to no page are left out."""
    entries = []
    for mark in pdf.get_toc():
        try:
            target, title = mark.get_dest(), mark.get_title()
            page = target.get_index() if target else None
        except Exception:  # pypdfium2 raises its own and ctypes' errors; the text does not need a broken bookmark
            continue
        if page is not None and 0 <= page < len(pdf) and title.strip():
            entries.append(Outlined(" ".join(title.split()), mark.level + 1, page))
    return entries


def _refused(path: Path, error: Any) -> Fixable:
    import pypdfium2.raw

    if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
        return Fixable(
            "this PDF needs a password", "save a copy without a password: qpdf --decrypt in.pdf out.pdf", path
        )
    return Fixable(f"this PDF is broken: {error}", "fetch it again; qpdf can repair some: qpdf in.pdf out.pdf", path)
