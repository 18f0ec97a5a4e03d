"""JSON and JSONL: each value under the path of names that leads to it; a line of JSONL stays a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document
from shuyuan.read.encoding import decode, tidy
from shuyuan.read.formats import Format, make_document


class Json(Format):
    """JSON and JSONL."""

    suffixes: ClassVar[tuple[str, ...]] = (".json", ".jsonl", ".ndjson")

    def read(self, data: bytes, path: Path, source: str) -> Document:
        """Read one file. An object of a list, or of a line, becomes one line `name: value; name: value`."""
        text = decode(data, path)
        by_line = path.suffix.lower() != ".json"
        try:
            if by_line:
                lines = [tidy(_one_line(row)) for row in (_lines(text, path))]
            else:
                lines = [tidy(line) for line in _top_lines(_parsed(text, path, 1))]
        except RecursionError:
            raise Fixable("its values are nested too deeply", "flatten it, or name it .txt", path) from None
        return make_document(path, source, data, "\n".join(lines) + "\n", first_line=int(by_line))


def _lines(text: str, path: Path) -> list[Any]:
    """The value of each line, None where a line is empty, so that lines keep their numbers."""
    lines = text.split("\n")
    return [_parsed(line, path, number) if line.strip() else None for number, line in enumerate(lines, start=1)]


def _parsed(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}:{line + error.lineno - 1}"
        raise Fixable(f"not valid JSON: {error.msg}", "correct it, or name it .txt", place) from None
    except ValueError as error:  # a number of thousands of digits
        raise Fixable(f"not valid JSON: {error}", "correct it, or name it .txt", f"{path}:{line}") from None


def _top_lines(value: Any) -> list[str]:
    """A list of objects: a line for each; anything else: a line for each value, under its path."""
    if isinstance(value, list):
        return [_one_line(entry) for entry in value]
    return [f"{path}: {leaf}" if path else leaf for path, leaf in _leaves(value)]


def _one_line(value: Any) -> str:
    return "; ".join(f"{path}: {leaf}" if path else leaf for path, leaf in _leaves(value))


def _leaves(value: Any, path: str = "") -> list[tuple[str, str]]:
    """(path of names, value as text) of every value inside; empty ones are left out."""
    if isinstance(value, dict):
        return [leaf for name, entry in value.items() for leaf in _leaves(entry, f"{path}.{name}" if path else name)]
    if isinstance(value, list):
        if all(not isinstance(entry, (dict, list)) for entry in value):
            value = ", ".join(_text(entry) for entry in value)
        else:
            return [leaf for at, entry in enumerate(value, start=1) for leaf in _leaves(entry, f"{path}[{at}]")]
    text = _text(value)
    return [(path, text)] if text else []


def _text(value: Any) -> str:
    if isinstance(value, str):
        return " ".join(value.split())
    return "" if value is None else json.dumps(value)
