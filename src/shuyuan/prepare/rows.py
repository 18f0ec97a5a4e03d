"""Rows of data files, one at a time: JSON lists, JSON lines, CSV, Parquet and Arrow, of any size."""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from shuyuan.base.errors import Fixable
from shuyuan.read.encoding import decode
from shuyuan.read.formats import load

SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow")
_CHUNK = 1 << 18
_LONGEST_CELL = 1 << 28  # characters; the csv module stops at 131,072, which is one long conversation
_TABLE_ROWS = 256  # rows of a Parquet or Arrow table that are Python objects at once
_SPACE = re.compile(r"[ \t\r\n]*")
_END_OF_TEXT = 12  # characters that a cut literal (`-Infinity`, `\\ud83d`) may still need

Numbered = tuple[str, dict[str, Any]]


def read_rows(path: Path) -> Iterator[Numbered]:
    """(where, row) for each row of a file: `where` is its line, or `row 12` in Parquet and Arrow files.

    The form is told by the content, not by the name. Memory holds one row and a buffer, however large the file is
    (files in other encodings than UTF-8 are read whole). What is not a row is a `Fixable` naming file and line.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_CHUNK)
    except OSError as error:
        raise Fixable(f"the file cannot be read: {error.strerror}", "check its name and permissions", path) from None
    if head[:4] == b"PAR1" or head[:6] == b"ARROW1" or head[:4] == b"\xff\xff\xff\xff":
        yield from _table(path, head)
        return
    start = _chunks(path, head)
    begin = next((chunk for chunk in start if chunk.strip()), "").lstrip()[:1]
    if not begin:
        raise Fixable("there is nothing in it", "put its content back, or leave it out", path)
    if begin == "[":
        numbered: Iterable[tuple[int, Any]] = json_list(_chunks(path, head), path)
    elif begin == "{":
        numbered = json_lines(_lines(_chunks(path, head)), path)
    else:
        numbered = csv_rows(_lines(_chunks(path, head)), path)
    for line, row in numbered:
        yield str(line), row


def parse_json(text: str) -> Any:
    """A JSON value, strictly: no `NaN`, no key twice. Raises `ValueError` or `RecursionError`."""
    return _DECODER.decode(text)


def json_lines(lines: Iterable[str], path: Path, like: str = "{…}") -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) for each line that is not blank."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except (ValueError, RecursionError) as error:
            raise Fixable(
                f"not valid JSON: {_reason(error)}", "each line must be one whole object", f"{path}:{number}"
            ) from None
        yield number, _checked(row, f"{path}:{number}", like)


def json_list(chunks: Iterable[str], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) for each element of a JSON list that comes in pieces."""
    text = _Text(chunks, path)
    text.skip("[")
    if text.next() == "]":
        raise Fixable("the list is empty", "put its content back, or leave it out", path)
    while True:
        text.next()
        line = text.line
        yield line, _checked(text.value(), f"{path}:{line}", "{…}")
        if text.next() == "]":
            text.skip("]")
            if text.next(or_end=True):
                text.fail("something stands behind the list")
            return
        text.skip(",")


def csv_rows(
    lines: Iterable[str],
    path: Path,
    header: Callable[[Sequence[str], str], Sequence[str]] = lambda names, _: names,
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells by column) for each row; `header(names, place)` may check the columns and rename them."""
    csv.field_size_limit(_LONGEST_CELL)
    lines, shown = itertools.tee(lines)
    first = next((line for line in shown if line.strip()), "")
    del shown  # or it would hold every line
    reader = csv.reader(lines, delimiter=max(",;\t", key=first.count), strict=True)
    columns: Sequence[str] = ()
    line = 1
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                pass
            elif not columns:
                columns = header([cell.strip() for cell in cells], f"{path}:{line}")
                if len(set(columns)) < len(columns):
                    raise Fixable("a column stands there twice", "remove one", f"{path}:{line}")
            elif len(cells) > len(columns):
                raise Fixable(
                    f"{len(cells)} cells, but the header has {len(columns)} columns",
                    "put cells that hold a delimiter in double quotes",
                    f"{path}:{line}",
                )
            else:
                yield line, dict(zip(columns, cells, strict=False))
            line = reader.line_num + 1
    except csv.Error as error:
        raise Fixable(f"not valid CSV: {error}", "save it again as CSV", f"{path}:{line}") from None


class _Text:
    """A JSON text that comes in pieces, read value by value; `line` is where it stands."""

    def __init__(self, chunks: Iterable[str], path: Path) -> None:
        self._chunks, self._path = iter(chunks), path
        self._buffer, self._at, self._counted = "", 0, 0
        self._line = 1

    @property
    def line(self) -> int:
        self._line += self._buffer.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def next(self, or_end: bool = False) -> str:
        """The next character that is not white space, still to be read."""
        while True:
            self._at = _end(_SPACE.match(self._buffer, self._at))
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return "" if or_end else self.fail("the list does not end")

    def skip(self, mark: str) -> None:
        """Pass over a character that has to be there."""
        if self.next() != mark:
            self.fail(f"'{mark}' is missing")
        self._at += 1

    def value(self) -> Any:
        """The value that begins here."""
        while True:
            try:
                value, self._at = _DECODER.raw_decode(self._buffer, self._at)
                return value
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos >= len(self._buffer) - _END_OF_TEXT
                if not (cut and self._more()):
                    self._at = error.pos
                    self.fail(error.msg)
            except (ValueError, RecursionError) as error:
                self.fail(_reason(error))

    def fail(self, what: str) -> NoReturn:
        place = f"{self._path}:{self.line}"
        raise Fixable(f"not valid JSON: {what}", "correct it there, or write one object a line (JSONL)", place)

    def _more(self) -> bool:
        """Read on, by as much again as there is, so that a long row is not parsed from its start too often."""
        pieces, wanted = [], len(self._buffer) - self._at
        while wanted >= 0 and (piece := next(self._chunks, "")):
            pieces.append(piece)
            wanted -= len(piece)
        if pieces:
            self._line = self.line
            self._buffer = "".join((self._buffer[self._at :], *pieces))
            self._at = self._counted = 0
        return bool(pieces)


def _end(match: re.Match[str] | None) -> int:
    assert match is not None  # the pattern matches nothing at all as well
    return match.end()


class _NotJsonError(ValueError):
    """Something that Python's parser lets through and JSON does not."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _NotJsonError(f"the key '{twice}' stands there twice")
    return made


def _constant(name: str) -> NoReturn:
    raise _NotJsonError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _reason(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


def _checked(row: Any, place: str, like: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise Fixable("not a JSON object", f"write {like}", place)
    return row


def _chunks(path: Path, head: bytes) -> Iterator[str]:
    """The text of a file in pieces. Whether it is UTF-8 is told by its first megabyte."""
    utf8 = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        utf8.decode(head)
    except UnicodeDecodeError:
        yield decode(load(path), path)
        return
    utf8.reset()
    line = 1
    with path.open("rb") as stream:
        while True:
            data = stream.read(_CHUNK)
            try:
                text = utf8.decode(data, final=not data)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                raise Fixable("not valid UTF-8", "save it again as UTF-8 text", f"{path}:{line}") from None
            line += text.count("\n")
            if text:
                yield text
            if not data:
                return


def _lines(chunks: Iterable[str]) -> Iterator[str]:
    """The lines of a text that comes in pieces, each with its end."""
    pieces: list[str] = []
    for chunk in chunks:
        *whole, rest = chunk.split("\n")
        for line in whole:
            yield "".join((*pieces, line, "\n"))
            pieces = []
        pieces.append(rest)
    if last := "".join(pieces):
        yield last


def _table(path: Path, head: bytes) -> Iterator[Numbered]:
    """The rows of a Parquet or Arrow file; Arrow comes as a file or as a stream."""
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    try:
        if head[:4] == b"PAR1":
            batches = pyarrow.parquet.ParquetFile(path, memory_map=True).iter_batches(batch_size=_TABLE_ROWS)
        elif head[:6] == b"ARROW1":
            file = pyarrow.ipc.open_file(pyarrow.memory_map(str(path)))
            batches = (file.get_batch(index) for index in range(file.num_record_batches))
        else:
            batches = iter(pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))))
        number = 0
        for batch in batches:
            for start in range(0, batch.num_rows, _TABLE_ROWS):
                for row in batch.slice(start, _TABLE_ROWS).to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise Fixable(f"the table cannot be read: {reason}", "write the file again", path) from None
