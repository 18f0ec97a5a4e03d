"""PowerPoint files (PPTX): a heading for each slide's title, its words, tables and notes; macros never run."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document, Heading
from shuyuan.read.archive import broken, checked_xml, holds, open_archive
from shuyuan.read.encoding import tidy
from shuyuan.read.formats import Format, make_document
from shuyuan.read.table import table_lines

MOST_SLIDES = 5_000
_DEEPEST = 50  # groups in groups


class Pptx(Format):
    """PowerPoint files."""

    suffixes: ClassVar[tuple[str, ...]] = (".pptx", ".pptm")
    always_shows: ClassVar[bool] = True

    @classmethod
    def recognises(cls, data: bytes) -> bool:
        """A zip archive with a presentation in it."""
        return holds(data, "ppt/presentation.xml")

    def read(self, data: bytes, path: Path, source: str) -> Document:
        """Read all slides that are shown; a slide is a page. Notes come below their slide."""
        import pptx

        with open_archive(data, path) as archive:
            checked_xml(archive, path)
        try:
            shown = pptx.Presentation(io.BytesIO(data))
            slides = [slide for slide in shown.slides if slide._element.get("show") != "0"]
            if len(slides) > MOST_SLIDES:
                raise Fixable(f"it has {len(slides):,} slides, at most {MOST_SLIDES:,} are read", "split it", path)
            pieces = [_slide(slide, number) for number, slide in enumerate(slides, start=1)]
        except Fixable:
            raise
        except Exception as error:  # python-pptx lets KeyError and others through where parts are missing
            raise broken(path, error) from error
        text, headings, pages = "", [], []
        for title, piece in pieces:
            pages.append(len(text))
            if title:
                headings.append(Heading(len(text), 1, title))
                text += f"# {title}\n\n"
            text += tidy(piece).strip() + "\n\n"
        return make_document(path, source, data, text, headings=headings, pages=pages)


def _slide(slide: Any, number: int) -> tuple[str, str]:
    """(title, everything else as text) of one slide, in the order of its shapes."""
    heading = slide.shapes.title
    title = " ".join(tidy(heading.text_frame.text).split()) if heading is not None else ""
    lines = [line for shape in slide.shapes if not _same(shape, heading) for line in _shape(shape)]
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = [line for line in slide.notes_slide.notes_text_frame.text.splitlines() if line.strip()]
        lines += ["", *notes] if notes else []
    return title, "\n".join(lines)


def _same(shape: Any, other: Any) -> bool:
    return other is not None and shape.shape_id == other.shape_id


def _shape(shape: Any, depth: int = 0) -> Iterator[str]:
    """The lines of one shape: its paragraphs, indented by level; its table; what is grouped in it."""
    if depth < _DEEPEST and hasattr(shape, "shapes"):
        for inner in shape.shapes:
            yield from _shape(inner, depth + 1)
    elif getattr(shape, "has_table", False):
        yield ""
        yield from table_lines([" ".join(cell.text.split()) for cell in row.cells] for row in shape.table.rows)
        yield ""
    elif shape.has_text_frame:
        paragraphs = [p for p in shape.text_frame.paragraphs if p.text.strip()]
        bullet = "- " if len(paragraphs) > 1 else ""
        yield from (f"{'  ' * p.level}{bullet}{' '.join(p.text.split())}" for p in paragraphs)
