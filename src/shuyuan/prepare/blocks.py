"""A document as questions are made from it: its tables, list items and sentences, each with its exact span."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shuyuan.base.records import Document

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_ITEM = re.compile(r"[ \t]*(?:[-*+•][ \t]+|(\d{1,2})[.)、．](?!\d)[ \t]*)(?=\S)")
_ROW = re.compile(r"[ \t]*\|.*\|[ \t]*$")
RULE = re.compile(r"[ \t|:=-]+$")  # below a table's header
_SENTENCE = re.compile(r"\S.*?(?:[。！？]+[”」』）)]*|[.!?]+[\"”’)]*(?=\s+[\"“`*(\[A-Z\u4e00-\u9fff])|\s*$)", re.DOTALL)
_ABBREVIATED = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|Dr|Mr|Mrs|Ms|Prof|Fig|No|St|approx)\.$")
_IMAGE_OR_LINK = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_MARK = re.compile(r"(\*\*|__|\*|`+|~~)(\S(?:[^\n]*?\S)??)\1|</?[A-Za-z][^>]*>")
_HAN_BREAK = re.compile(r"(?<=[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef])\s*\n\s*(?=[\u4e00-\u9fff])")


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines of a document that belong together: `document.text[start:end]`.

    `kind`: `table` (all its rows), `item` (of a list; `number` is its own, 0 without one) or `paragraph`.
    """

    kind: str
    start: int
    end: int
    number: int = 0


def blocks(document: Document) -> Iterator[Block]:
    """The blocks of a document in their order; headings and code are left out."""
    headings = {heading.start for heading in document.headings}
    fence, kind, number, start, end = "", "", 0, 0, 0
    at = 0
    for line in document.text.splitlines(keepends=True):
        below, at = at, at + len(line)
        mark = _FENCE.match(line)
        item = _ITEM.match(line)
        if fence or mark:
            fence = "" if fence and line.strip().startswith(fence) else fence or (mark[1] if mark else "")
            new = ""
        elif not line.strip() or below in headings or line.lstrip().startswith("#"):
            new = ""
        elif _ROW.match(line):
            new = "table"
        elif item:
            new = "item"
        else:
            new = "item" if kind == "item" and line[:1] in " \t" else "paragraph"
        if kind and (new != kind or item):
            yield Block(kind, start, end, number)
            kind = ""
        if new and not kind:
            kind, start, number = new, below + (item.end() if item else 0), int(item[1] or 0) if item else 0
        end = at
    if kind:
        yield Block(kind, start, end, number)


def sentences(document: Document, block: Block) -> Iterator[tuple[int, int]]:
    """The spans of a paragraph's or item's sentences."""
    text = document.text[block.start : block.end]
    begun = None
    for match in _SENTENCE.finditer(text):
        begin = match.start() if begun is None else begun
        end = match.start() + len(match[0].rstrip())
        if _ABBREVIATED.search(text[begin:end]):
            begun = begin
            continue
        begun = None
        yield block.start + begin, block.start + end


def table_rows(document: Document, block: Block) -> list[list[str]]:
    """The cells of a table, its header first, without the line of dashes below it."""
    lines = document.text[block.start : block.end].splitlines()
    return [
        [plain(cell) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        for line in lines
        if not RULE.match(line)
    ]


def plain(text: str) -> str:
    """Text without marks of Markdown and HTML, on one line."""
    for _ in range(2):  # a code span in bold
        text = _MARK.sub(lambda mark: mark[2] or "", _IMAGE_OR_LINK.sub(r"\1", text))
    return " ".join(_HAN_BREAK.sub("", text).replace("\\|", "|").split())


def place_of(document: Document, offset: int) -> str:
    """What to call the part of a document that holds an offset: the document's title and its nearest heading.

    A heading alone may stand in every document (“Syntax”, “Example”).
    """
    title, headings = plain(document.title), document.headings_at(offset)
    nearest = plain(headings[-1]) if headings else title
    return nearest if nearest == title or not title else f"{title}, {nearest}"
