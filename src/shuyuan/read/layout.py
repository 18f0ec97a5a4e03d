"""Printed pages → running text: running heads dropped, lines joined, outline entries found again."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shuyuan.base.records import Heading
from shuyuan.read.encoding import tidy

_LINE_END = re.compile("(?<![\ufffe\x02])(?<![\ufffe\x02]\r)\r?\n")
_HYPHEN = re.compile("[\ufffe\x02]\r?\n?")  # PDFium's sign for a hyphen that only the line break made
_FORMS = re.compile("[\ufb00-\ufb06\u2e80-\u2fdf\uf900-\ufaff]")  # ligatures and radicals that stand for letters
CJK = re.compile(r"[\u2e80-\u303f\u3040-\u30ff\u3400-\u9fff\uff00-\uffef]")
_NEW_ITEM = re.compile(r"\s*(?:[•·●○▪■◦*–—-]\s|\(?\d{1,3}[.)、]\s*\D|[$#>]\s|第.{1,4}[章节条]|图\s*\d|表\s*\d)")
_NUMBERING = re.compile(
    r"(?:第[\d一二三四五六七八九十百]+[章节部篇]|(?:chapter|part|appendix|section)\s*[\da-z]{1,4}\b|附录\s*[a-z]?|[a-z]?[\d.]*\d[.:、]?|[a-z][.:])\s*",
    re.I,
)
_QUOTES = re.compile(r"[\s\"'`´‘’“”„]")
_LEADERS = re.compile(r"\s*(?:\.\s?){4,}")  # from an entry of a printed table of contents to its page number
_FULL_LINE = 0.85  # of the page's usual width: a line that ends earlier ends its paragraph
_EDGE_LINES = 2
_RUNNING_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Outlined:
    """An entry of the outline: its title, level (1 is the highest) and 0-based page."""

    title: str
    level: int
    page: int


class Edges(NamedTuple):
    """A rectangle in thousandths of the page's width and height, from its top left."""

    left: int
    top: int
    right: int
    bottom: int


class Line(NamedTuple):
    """A printed line and where it stands. A line with line ends inside is a table, which stands alone."""

    text: str
    edges: Edges | None = None


def line_spans(raw: str) -> list[tuple[int, int]]:
    """(start, end) of each line of a page as PDFium gives it; one that ends in a line-break hyphen goes on."""
    ends = [found.span() for found in _LINE_END.finditer(raw)]
    return list(zip([0, *(end for _, end in ends)], [*(start for start, _ in ends), len(raw)], strict=True))


def printed(raw: str) -> str:
    """One line as PDFium gives it, with ligatures and line-break hyphens undone."""
    text = _FORMS.sub(lambda form: unicodedata.normalize("NFKC", form[0]), _HYPHEN.sub("", raw))
    return _LEADERS.sub(" … ", re.sub(r"\s+", " ", tidy(text))).rstrip()


def without_furniture(pages: Sequence[Sequence[Line]], outline: Collection[Outlined]) -> list[list[Line]]:
    """The pages without running heads and page numbers: first and last lines that many pages share but for digits."""

    def pattern(line: str) -> str:
        return re.sub(r"\d+", "#", squash(line))

    edges = [_edge(lines) for lines in pages]
    seen = Counter(
        form
        for lines, edge in zip(pages, edges, strict=True)
        for form in {pattern(lines[index].text) for index in edge}
    )
    running = {form for form, count in seen.items() if count >= max(3, len(pages) * _RUNNING_SHARE)}
    opens = {(entry.page, squash(entry.title)) for entry in outline}
    return [
        [
            line
            for index, line in enumerate(lines)
            if index not in edge or pattern(line.text) not in running or (number, squash(line.text)) in opens
        ]
        for number, (lines, edge) in enumerate(zip(pages, edges, strict=True))
    ]


def _edge(lines: Sequence[Line]) -> set[int]:
    filled = [index for index, line in enumerate(lines) if line.text.strip()]
    return {*filled[:_EDGE_LINES], *filled[-_EDGE_LINES:]}


def unwrap(lines: Sequence[Line], titles: Collection[str]) -> tuple[str, list[int]]:
    """The lines of each paragraph joined, and where in the text each line begins.

    A line goes on when it fills the page's width and no item begins after it. `titles` are squashed headings: such a
    line stands alone.
    """
    widths = sorted(width for line in lines if "\n" not in line.text and (width := _width(line.text)) > 0)
    usual = widths[int(len(widths) * 0.9)] if widths else 0
    pieces: list[str] = []
    starts: list[int] = []
    at, goes_on, last = 0, False, ""
    for line in (line.text for line in lines):
        if not line.strip() and pieces and not pieces[-1].strip():
            starts.append(at)  # of several empty lines one is kept
            continue
        table = "\n" in line
        alone = table or squash(line) in titles or squash(_NUMBERING.sub("", line, count=1)) in titles
        if goes_on and line.strip() and not alone and not _NEW_ITEM.match(line):
            line = line.lstrip()
            joint = "" if CJK.match(last) or CJK.match(line[0]) else " "
            pieces[-1] = pieces[-1][:-1] + joint
            at += len(joint) - 1
        starts.append(at)
        pieces.append(line + "\n")
        at += len(line) + 1
        last = line[-1:] or "\n"
        goes_on = not alone and usual > 20 and _width(line) >= usual * _FULL_LINE
    return "".join(pieces), starts


def find_outline(text: str, pages: Sequence[int], outline: Sequence[Outlined]) -> list[Heading]:
    """Where each outline entry stands in the text: on its page, or the one after, in order.

    A whole line is taken before the start of a line, and that before words inside one. What cannot be found is
    left out: a heading without a place would be a wrong citation.
    """
    squashed, offsets = _squashed(text)
    starts = [bisect_left(offsets, page) for page in (*pages, len(text))]
    headings: list[Heading] = []
    cursor = 0
    for entry in outline:
        between = max(cursor, starts[entry.page]), starts[min(entry.page + 2, len(pages))]
        short = _NUMBERING.sub("", entry.title, count=1)
        found = next(
            filter(None, (_find(text, squashed, offsets, between, squash(t)) for t in (entry.title, short))), None
        )
        if found:
            headings.append(Heading(found[0], entry.level, entry.title))
            cursor = found[1]
    return headings


def squash(text: str) -> str:
    """Letters, digits and signs without white space, width, case and quotes: what two prints of one title share."""
    return _QUOTES.sub("", unicodedata.normalize("NFKC", text).casefold())


def _find(
    text: str, squashed: str, offsets: Sequence[int], between: tuple[int, int], title: str
) -> tuple[int, int] | None:
    """(offset in `text` of the line or word, end in `squashed`) of the best place for a title."""
    best: tuple[int, int, int] | None = None
    at = squashed.find(title, *between) if title else -1
    while at >= 0:
        end = at + len(title)
        start = offsets[at]
        line_start = text.rfind("\n", 0, start) + 1
        line_end = text.find("\n", offsets[end - 1])
        before, after = text[line_start:start], text[offsets[end - 1] + 1 : line_end]
        begins_line = not squash(_NUMBERING.sub("", before, count=1)).strip(".:、")
        rank = 2 if begins_line and not squash(after) else int(begins_line)
        if best is None or rank > best[0]:
            best = (rank, line_start if begins_line else start, end)
        at = squashed.find(title, at + 1, between[1])
    return best[1:] if best else None


def _squashed(text: str) -> tuple[str, list[int]]:
    """`squash(text)`, with the offset in `text` of each of its characters."""
    pieces, offsets = [], []
    for offset, character in enumerate(text):
        piece = squash(character)
        pieces.append(piece)
        offsets += [offset] * len(piece)
    return "".join(pieces), offsets


def _width(line: str) -> int:
    return sum(2 if CJK.match(character) else 1 for character in line)
