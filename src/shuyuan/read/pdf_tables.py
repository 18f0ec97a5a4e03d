"""The tables of a PDF's pages, found by liteparse, as Markdown in place of the lines they were printed in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from shuyuan.read.layout import CJK, Edges, Line, squash

_SPACE_IN_CJK = re.compile(rf"(?<={CJK.pattern})\s+(?={CJK.pattern})")
_NOT_A_HEADER = re.compile(r"[$#>%]|[\d.]+$|第.{1,4}[章节]")
_TILED = 2.5  # points: cells of a ruled table begin where the one before ends
_ALIGNED = 1.5  # points: cells of one column begin at one place
_SAME = 0.97  # share of characters that a table and the lines it replaces must have in common


class Table(NamedTuple):
    """The cells of a table, row by row, and where it stands on its page."""

    rows: list[list[str]]
    edges: Edges


def find_tables(data: bytes) -> dict[int, list[Table]]:
    """The tables by 0-based page. What liteparse calls a table is one only if it is ruled, or its columns are even."""
    from liteparse import LiteParse

    parser = LiteParse(
        ocr_enabled=False,
        output_format="json",
        image_mode="off",
        extract_links=False,
        extract_blocks=True,
        quiet=True,
        max_pages=100_000,
        continue_on_page_error=True,
        num_workers=1,
    )
    try:
        pages = parser.parse(data).pages
    except (RuntimeError, ValueError, OSError):  # its own errors; the text, read by PDFium alone, does not need it
        return {}
    found: dict[int, list[Table]] = {}
    for page in pages:
        for block in page.blocks or ():
            if block.kind == "table" and (table := _table(block, page)):
                found.setdefault(page.page_num - 1, []).append(table)
    return found


def with_tables(lines: Sequence[Line], tables: Sequence[Table]) -> list[Line]:
    """The lines of a page with each table as one line of Markdown, where the two hold the same characters."""
    placed = list(lines)
    for table in tables:
        inside = [at for at, line in enumerate(placed) if line.edges and _within(line.edges, table.edges)]
        if not inside:
            continue
        first, last = inside[0], inside[-1]
        told = Counter("".join(squash(line.text) for line in placed[first : last + 1]))
        held = Counter("".join(squash(cell) for row in table.rows for cell in row))
        if (told & held).total() >= _SAME * max(told.total(), held.total()):
            placed[first : last + 1] = [Line(markdown_table(table.rows), table.edges)]
    return placed


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of which names the columns, as a Markdown table."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * len(cells[0]), *lines[1:]])


def _table(block: Any, page: Any) -> Table | None:
    rows = [*([block.header] if block.header else []), *(block.rows or [])]
    columns = max((len(row) for row in rows), default=0)
    if len(rows) < 2 or columns < 2 or any(len(row) != columns for row in rows) or not block.bbox:
        return None
    cells = [[_SPACE_IN_CJK.sub("", " ".join(cell.text.split())) for cell in row] for row in rows]
    header = cells[0]
    if not all(header) or len(set(header)) < columns or any(_NOT_A_HEADER.match(name) for name in header):
        return None
    if not (_is_ruled(rows) or (len(rows) > 2 and all(map(all, cells)) and _is_even(rows))):
        return None
    box = block.bbox
    edges = (
        box.x / page.width,
        box.y / page.height,
        (box.x + box.width) / page.width,
        (box.y + box.height) / page.height,
    )
    return Table(cells, Edges(*(round(1000 * edge) for edge in edges)))


def _is_ruled(rows: Sequence[Sequence[Any]]) -> bool:
    gaps = [
        abs(one.bbox.x + one.bbox.width - other.bbox.x)
        for row in rows
        for one, other in pairwise(row)
        if one.bbox and other.bbox
    ]
    return bool(gaps) and sum(gap < _TILED for gap in gaps) > 0.9 * len(gaps)


def _is_even(rows: Sequence[Sequence[Any]]) -> bool:
    lefts = [[cell.bbox.x for cell in column if cell.bbox] for column in zip(*rows, strict=True)]
    return all(len(column) == len(rows) and max(column) - min(column) < _ALIGNED for column in lefts)


def _within(edges: Edges, around: Edges) -> bool:
    middle_x, middle_y = (edges.left + edges.right) / 2, (edges.top + edges.bottom) / 2
    return around.left - 5 <= middle_x <= around.right + 5 and around.top - 3 <= middle_y <= around.bottom + 3
