"""Tables as text (CSV, TSV): each row a line with its columns' names, and the line in the file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document
from shuyuan.read.encoding import decode
from shuyuan.read.formats import Format, make_document
from shuyuan.read.table import is_header, row_line

MOST_CELL = 1_000_000
_SAMPLE = 20_000


class Csv(Format):
    """Tables as text."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv")

    def read(self, data: bytes, path: Path, source: str) -> Document:
        """Read one table. A row over several lines of the file is followed by empty lines, so that lines keep step."""
        whole = decode(data, path)
        csv.field_size_limit(MOST_CELL)
        lines: list[str] = []
        header: list[str] | None = None
        rows = csv.reader(whole.splitlines(keepends=True), _dialect(whole, path))
        try:
            for row in rows:
                cells = [" ".join(cell.split()) for cell in row]
                if header is None and any(cells):
                    header = cells if is_header(cells) else []
                    lines.append(" | ".join(cells))
                else:
                    lines.append(row_line(cells, header or ()))
                lines += [""] * (rows.line_num - len(lines))
        except csv.Error as error:
            raise Fixable(
                f"not a table: {error}", "save it again as CSV, or name it .txt", f"{path}:{rows.line_num}"
            ) from None
        return make_document(path, source, data, "\n".join(lines) + "\n", first_line=1)


def _dialect(text: str, path: Path) -> type[csv.Dialect]:
    """How cells are parted: by the sign that is the most even over the first lines; commas where nothing else is."""
    kind = csv.excel_tab if path.suffix.lower() == ".tsv" else csv.excel
    counts = {sign: [line.count(sign) for line in text[:_SAMPLE].splitlines()[:20]] for sign in ",;\t|"}
    even = [sign for sign, found in counts.items() if found and min(found) > 0 and max(found) == min(found)]
    return type("Found", (kind,), {"delimiter": even[0]}) if even else kind
