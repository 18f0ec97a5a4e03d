"""PDF: the text of each page with its place, tables, headings from the outline; scanned pages by a recogniser."""

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Box, Document
from shuyuan.read.formats import OCR_HINT, Format, make_document
from shuyuan.read.layout import (
    Edges,
    Line,
    Outlined,
    find_outline,
    line_spans,
    printed,
    squash,
    unwrap,
    without_furniture,
)
from shuyuan.read.limits import more_time
from shuyuan.read.ocr import LONGEST_SIDE, installed, recognise
from shuyuan.read.pdf_tables import find_tables, with_tables

MOST_PAGES = 20_000
MOST_SCANNED = 2_000  # pages whose words are recognised: hours of work
_NOT_A_TITLE = re.compile(r"untitled|无标题|microsoft word|\.(docx?|pdf|tex|indd|dvi)$", re.I)
_FEW = 20  # characters: a page with fewer, and a picture over much of it, is a scan
_SCANNED_SHARE = 0.3
_DOTS = 200 / 72  # pixels a point: what the recogniser reads best


class Pdf(Format):
    """PDF files."""

    suffixes: ClassVar[tuple[str, ...]] = (".pdf",)
    always_shows: ClassVar[bool] = True

    @classmethod
    def recognises(cls, data: bytes) -> bool:
        """A PDF says so at its beginning, or, below some rubbish, in its first kilobyte, and has an end."""
        at_once = data[:1024].lstrip().startswith(b"%PDF-")
        return at_once or (b"%PDF-" in data[:1024] and b"startxref" in data[-2048:])

    def read(self, data: bytes, path: Path, source: str) -> Document:
        """Read all pages. A broken file, one with a password and one of pictures only are each a `Fixable`."""
        import pypdfium2

        logging.getLogger("pypdfium2").setLevel(logging.ERROR)
        try:
            pdf = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            raise _refused(path, error) from None
        try:
            outline = _outline(pdf)
            pages, unread = _pages(pdf, path)
            title = str(pdf.get_metadata_value("Title") or "")
        finally:
            pdf.close()
        tables = find_tables(data)
        titles = {squash(entry.title) for entry in outline}
        text, starts, boxes = "", list[int](), list[Box]()
        for number, lines in enumerate(without_furniture(pages, outline)):
            lines = with_tables(lines, tables.get(number, ()))
            page, at = unwrap(lines, titles)
            boxes += [
                Box(len(text) + a, number + 1, *line.edges) for a, line in zip(at, lines, strict=True) if line.edges
            ]
            starts.append(len(text))
            text += page
        if _NOT_A_TITLE.search(title):
            title = ""
        headings = find_outline(text, starts, outline)
        left_out = f"{unread:,} of {len(pages):,} pages are pictures: {OCR_HINT}" if unread else ""
        return make_document(
            path,
            source,
            data,
            text,
            title=title or PurePosixPath(source).stem,
            headings=headings,
            pages=starts,
            boxes=boxes,
            left_out=left_out,
        )


def _pages(pdf: Any, path: Path) -> tuple[list[list[Line]], int]:
    """The lines of every page, and how many scanned pages could not be read."""
    if len(pdf) > MOST_PAGES:
        raise Fixable(f"it claims {len(pdf):,} pages, at most {MOST_PAGES:,} are read", "split it", path)
    if len(pdf) == 0:
        raise Fixable("it has no pages", "fetch it again", path)
    pages, scanned, unread = [], 0, 0
    for number in range(len(pdf)):
        place = f"{path}, page {number + 1}"
        try:
            page = pdf[number]
            lines = _lines(page)
            if sum(len(line.text) for line in lines) < _FEW and _is_scan(page):
                scanned += 1
                if not installed():
                    unread += 1
                elif scanned <= MOST_SCANNED:
                    more_time()
                    lines = [Line(text, Edges(*edges)) for text, *edges in recognise(_picture(page), place)] or lines
                else:
                    raise Fixable(f"it has more than {MOST_SCANNED:,} scanned pages", "split it", path)
            pages.append(lines)
            page.close()
        except Fixable:
            raise
        except Exception as error:  # pypdfium2 raises its own and ctypes' errors here
            raise Fixable(f"page {number + 1} is broken: {error}", "fetch it again", place) from None
    return pages, unread


def _lines(page: Any) -> list[Line]:
    """The printed lines of a page with their places."""
    import pypdfium2.raw as pdfium

    textpage = page.get_textpage()
    raw = textpage.get_text_range()
    frame, rotation = page.get_bbox(), page.get_rotation()
    lines = []
    for start, end in line_spans(raw):
        text = printed(raw[start:end])
        edges = None
        if text.strip():
            first = pdfium.FPDFText_GetCharIndexFromTextIndex(textpage, start)
            last = pdfium.FPDFText_GetCharIndexFromTextIndex(textpage, end - 1)
            if 0 <= first <= last:
                edges = _edges(textpage, first, last + 1 - first, frame, rotation)
        lines.append(Line(text, edges))
    textpage.close()
    return lines


def _edges(textpage: Any, first: int, count: int, frame: Sequence[float], rotation: int) -> Edges | None:
    """The place of some characters on the page as it is shown; None where they stand nowhere."""
    import pypdfium2.raw as pdfium

    x0, y1, x1, y0 = (ctypes.c_double() for _ in range(4))  # in the page's own units, where up is more
    left, bottom, right, top = frame
    xs, ys = list[float](), list[float]()
    for index in range(pdfium.FPDFText_CountRects(textpage, first, count)):
        if pdfium.FPDFText_GetRect(textpage, index, x0, y1, x1, y0):
            xs += (x0.value, x1.value)
            ys += (y0.value, y1.value)
    if not xs:
        return None
    width, height = (right - left) or 1.0, (top - bottom) or 1.0
    corners = [((x - left) / width, (top - y) / height) for x, y in ((min(xs), max(ys)), (max(xs), min(ys)))]
    for _ in range(rotation // 90):
        corners = [(1 - y, x) for x, y in corners]
    across, down = sorted(x for x, _ in corners), sorted(y for _, y in corners)
    return Edges(*(max(0, min(1000, round(1000 * edge))) for edge in (across[0], down[0], across[1], down[1])))


def _is_scan(page: Any) -> bool:
    """Whether one picture covers much of a page."""
    import pypdfium2.raw as pdfium

    width, height = page.get_size()
    for picture in page.get_objects(filter=(pdfium.FPDF_PAGEOBJ_IMAGE,), max_depth=3):
        left, bottom, right, top = picture.get_bounds()
        if abs((right - left) * (top - bottom)) > _SCANNED_SHARE * width * height:
            return True
    return False


def _picture(page: Any) -> Any:
    """The page as [height, width, 3] (RGB)."""
    scale = min(_DOTS, LONGEST_SIDE / max(page.get_size()))
    return page.render(scale=scale, rev_byteorder=True, prefer_bgrx=False).to_numpy()


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
