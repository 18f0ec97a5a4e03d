"""The header of a GGUF file, read without trusting a word of it: every count is held to what the file has room for."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from shuyuan.base.errors import Fixable

AGAIN = "fetch or export it again"
MOST_FIELDS, MOST_TENSORS = 10_000, 100_000
MOST_ENTRIES = 3_000_000  # of all lists together: the largest vocabularies have half of it, with scores and merges
MOST_NAME, MOST_TEXT = 1 << 16, 1 << 24  # bytes
MOST_DIMENSIONS, MOST_ELEMENTS, MOST_ALIGNMENT = 4, 1 << 40, 1 << 20
_FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _LIST = 8, 9


@dataclass(frozen=True, slots=True)
class Header:
    """The fields by name, their values where these are numbers, else None; and how many weights all tensors have."""

    fields: Mapping[str, Any]
    weights: int


def read_header(path: Path) -> Header:
    """The header of a GGUF file. Raises `Fixable`: another format, cut short, or what it says cannot be."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise Fixable("this is not a GGUF file: it does not start with 'GGUF'", AGAIN, path)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            cursor = _Cursor(data)
            try:
                return _header(cursor, len(data), path)
            except (_Wrong, struct.error):
                what = f"not a whole GGUF file: what it says at byte {cursor.at:,} cannot be"
                raise Fixable(what, AGAIN, path) from None


class _Wrong(Exception):  # noqa: N818  (it is what the file is)
    pass


class _Cursor:
    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.order = data, 4, "<"

    def number(self, form: str, most: int | None = None) -> Any:
        (value,) = struct.unpack_from(self.order + form, self.data, self.at)
        if most is not None and not 0 <= value <= most:
            raise _Wrong
        self.at += struct.calcsize(self.order + form)
        return value

    def skip(self, count: int) -> None:
        if count > len(self.data) - self.at:
            raise _Wrong
        self.at += count

    def text(self, most: int) -> str:
        size = self.number("Q", most)
        self.skip(size)
        return self.data[self.at - size : self.at].decode("utf-8", "replace")


def _header(cursor: _Cursor, size: int, path: Path) -> Header:
    if cursor.number("I") > 0xFFFF:  # the other byte order
        cursor.order = ">"
    cursor.at = 4
    if cursor.number("I") not in (2, 3):
        raise _Wrong
    tensors, count = cursor.number("Q", MOST_TENSORS), cursor.number("Q", MOST_FIELDS)
    fields, left = dict[str, Any](), MOST_ENTRIES
    for _ in range(count):
        name = cursor.text(MOST_NAME)
        kind = cursor.number("I")
        if kind == _LIST:
            of, entries = cursor.number("I"), cursor.number("Q", left)
            left -= entries
            fields[name] = None
            if of == _STRING:
                for _ in range(entries):
                    cursor.skip(cursor.number("Q", MOST_TEXT))
            else:
                cursor.skip(entries * struct.calcsize(_form(of)))
        elif kind == _STRING:
            cursor.skip(cursor.number("Q", MOST_TEXT))
            fields[name] = None
        else:
            fields[name] = cursor.number(_form(kind))
    if any(name.endswith(".block_count") and (value or 0) > tensors for name, value in fields.items()):
        raise _Wrong  # each would be built before anything is missed
    return Header(fields, _weights(cursor, tensors, fields.get("general.alignment", 32), size, path))


def _form(kind: int) -> str:
    if kind not in _FORMS:
        raise _Wrong
    return _FORMS[kind]


def _weights(cursor: _Cursor, tensors: int, alignment: Any, size: int, path: Path) -> int:
    """How many weights there are. All lie in the file, and none twice: no more can be made of it than it holds."""
    found = list[tuple[str, int, int]]()
    weights = taken = 0
    for _ in range(tensors):
        name = cursor.text(MOST_NAME)
        elements = 1
        for _ in range(cursor.number("I", MOST_DIMENSIONS)):
            elements *= cursor.number("Q", MOST_ELEMENTS)
        kind, offset = cursor.number("I"), cursor.number("Q", size)
        if elements > MOST_ELEMENTS or kind not in iter(GGMLQuantizationType):
            raise _Wrong
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        if elements % block:
            raise _Wrong
        weights += elements
        taken += elements // block * block_bytes
        found.append((name, offset, elements // block * block_bytes))
    if not (isinstance(alignment, int) and 1 <= alignment <= MOST_ALIGNMENT):
        raise _Wrong
    start = -(-cursor.at // alignment) * alignment
    for name, offset, held in found:
        if start + offset + held > size:
            raise Fixable(f"the file is cut short: '{name}' lies beyond its end", AGAIN, path)
    if taken > size - start:
        raise _Wrong
    return weights
