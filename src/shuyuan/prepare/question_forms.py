"""Question files that people write in a spreadsheet (XLSX, XLS, ODS) or a note (Markdown) → rows by line."""

from __future__ import annotations

import datetime
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from shuyuan.base.errors import Fixable
from shuyuan.prepare.normal import simplified

Header = Callable[[Sequence[str], str], Sequence[str]]
Rows = Iterator[tuple[int, dict[str, str]]]
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
QUESTION_LINE = re.compile(
    r"\s*(?:[-*+]|\d+[.)、])?\s*\**(?:Q(?:uestion)?\s*\d*|问题?\s*\d*)\s*[:：]\**\s*(.+)", re.IGNORECASE
)
ANSWER_LINE = re.compile(r"\s*(?:[-*+])?\s*\**(?:A(?:nswer)?\s*\d*|答案?\s*\d*)\s*[:：]\**\s*(.*)", re.IGNORECASE)
_COLUMNS_IN_CHINESE = {
    **dict.fromkeys(("问题", "题目", "提问"), "question"),
    **dict.fromkeys(("答案", "标准答案"), "answer"),
    **dict.fromkeys(("回答", "回复"), "reply"),
    **{"事实": "fact", "用途": "use", "语言": "language", "来源": "source", "依据": "evidence"},
    **{"类型": "kind", "选项": "choices"},
}
_HEADING = re.compile(r"#{1,6}\s+(.+?[?？])\s*#*$")
_BAR = re.compile(r"(?<!\\)\|")


def column_of(name: str) -> str:
    """The column that the head of a table names, in Chinese or in any case."""
    return _COLUMNS_IN_CHINESE.get(simplified(name), name.lower())


def workbook_rows(data: bytes, path: Path, header: Header) -> Rows:
    """(row number, cells by column) of the first sheet with anything in it; its first row names the columns."""
    import python_calamine

    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheets = [book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in book.sheet_names]
    except Exception as error:  # calamine raises one class for each of its parsers
        raise Fixable(
            f"the spreadsheet cannot be read: {error}", "save it again as XLSX, without a password", path
        ) from None
    rows = next((sheet for sheet in sheets if any(any(row) for row in sheet)), [])
    columns: Sequence[str] = ()
    for number, row in enumerate(rows, start=1):
        cells = [_cell(value) for value in row]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        if not columns:
            columns = header(cells, f"{path}:{number}")
        elif len(cells) > len(columns):
            raise Fixable(f"{len(cells)} cells under {len(columns)} columns", "name every column", f"{path}:{number}")
        else:
            yield number, dict(zip(columns, cells, strict=False))


def markdown_rows(text: str, path: Path, header: Header) -> Rows:
    """(line number, cells by column): a table whose header names `question`, lines `Q: …` `A: …` (`问：` `答：`), or
    headings that end in a question mark with their answer below."""
    lines = text.splitlines()
    columns: Sequence[str] = ()
    asked, told, at = "", [""], 0
    for number, line in enumerate([*lines, "# "], start=1):
        cells = _cells(line)
        if line.strip().startswith("|") and (columns or "question" in map(column_of, cells)):
            if not columns:
                columns = header(cells, f"{path}:{number}")
            elif len(cells) != len(columns):
                raise Fixable(
                    f"{len(cells)} cells under {len(columns)} columns",
                    "write \\| for a bar in a cell",
                    f"{path}:{number}",
                )
            elif not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                yield number, dict(zip(columns, cells, strict=True))
            continue
        columns = ()
        asks, tells = _HEADING.match(line) or QUESTION_LINE.match(line), ANSWER_LINE.match(line)
        if (asks or line.startswith("#")) and asked:
            yield at, {"question": asked, "answer": " ".join(told).strip()}
            asked = ""
        if asks:
            asked, told, at = asks[1].strip("* "), [""], number
        elif asked:
            told.append(tells[1] if tells else line.strip())
    return


def looks_like_markdown(text: str) -> bool:
    """Whether a question file is a note: a table of questions, or lines that ask and answer."""
    lines = text.splitlines()
    tables = (_cells(line) for line in lines if line.strip().startswith("|"))
    return any("question" in map(column_of, cells) for cells in tables) or any(
        _HEADING.match(line) or QUESTION_LINE.match(line) for line in lines
    )


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in _BAR.split(line.strip().strip("|"))]


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return str(value).strip()
