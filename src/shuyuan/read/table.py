"""Rows of a table → lines that can be found and understood one by one: each cell under its column's name."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"[-+]?[\d.,\s%¥$€]*")


def is_header(row: Sequence[str]) -> bool:
    """Whether a first row names columns: words, all different, none of them a number."""
    words = [cell for cell in row if cell]
    return len(words) > 1 and len(set(words)) == len(words) and not any(_NUMBER.fullmatch(word) for word in words)


def row_line(row: Sequence[str], header: Sequence[str]) -> str:
    """One row as `column: cell; column: cell`, without empty cells; cells alone where there is no header."""
    cells = []
    for number, cell in enumerate(row):
        if cell:
            name = header[number] if number < len(header) else ""
            cells.append(f"{name}: {cell}" if name else cell)
    return "; ".join(cells)


def cell_text(value: object) -> str:
    """A cell as it is shown: dates without an empty time, whole numbers without a point, white space joined."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return " ".join(str(value).split())


def table_lines(rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a whole table; its first row names the columns if it looks so."""
    lines: list[str] = []
    header: Sequence[str] | None = None
    for row in rows:
        if header is None and any(row):
            header = row if is_header(row) else ()
            if header:
                continue
        if line := row_line(row, header or ()):
            lines.append(line)
    return lines or ([row_line(header, ())] if header else [])
