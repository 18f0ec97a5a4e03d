"""Spreadsheets (XLSX, XLS, ODS): each sheet a heading, each row a line with its columns' names; macros never run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document, Heading
from shuyuan.read.archive import BEGINS, broken, holds, open_archive
from shuyuan.read.docx import OLD_OFFICE, OLD_SHEET
from shuyuan.read.encoding import tidy
from shuyuan.read.formats import Format, make_document
from shuyuan.read.table import cell_text, table_lines

_PARTS = ("xl/workbook.xml", "xl/workbook.bin")
_ODS = b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet"


class Xlsx(Format):
    """Spreadsheets."""

    suffixes: ClassVar[tuple[str, ...]] = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
    always_shows: ClassVar[bool] = True

    @classmethod
    def recognises(cls, data: bytes) -> bool:
        """A zip archive with a workbook in it, or an old Office file with one."""
        if data.startswith(OLD_OFFICE):
            return OLD_SHEET in data
        return any(holds(data, part) for part in _PARTS) or (data.startswith(BEGINS) and _ODS in data[:200])

    def read(self, data: bytes, path: Path, source: str) -> Document:
        """Read all sheets that are not hidden, with the values that formulas last had."""
        import python_calamine

        if data.startswith(BEGINS):
            open_archive(data, path).close()
        try:
            book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        except python_calamine.PasswordError:
            raise Fixable("this spreadsheet has a password", "save a copy without one", path) from None
        except Exception as error:  # calamine raises one class for each of its parsers
            raise broken(path, error) from None
        text, headings = "", []
        for sheet in book.sheets_metadata:
            if sheet.visible == python_calamine.SheetVisibleEnum.Visible:
                rows = _rows(book, sheet.name, path)
                if rows:
                    title = " ".join(tidy(sheet.name).split())
                    headings.append(Heading(len(text), 1, title))
                    text += f"# {title}\n\n" + tidy("\n".join(rows)) + "\n\n"
        return make_document(path, source, data, text, title=Path(source).stem, headings=headings)


def _rows(book: Any, name: str, path: Path) -> list[str]:
    try:
        sheet = book.get_sheet_by_name(name)
    except Exception as error:  # as above: chart sheets and broken ones
        raise broken(path, f"sheet '{name}': {error}") from None
    return table_lines([cell_text(cell) for cell in row] for row in sheet.iter_rows())
