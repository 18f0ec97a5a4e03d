"""Markdown: headings of both kinds; fenced code and front matter are not headings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from shuyuan.base.records import Document, Heading
from shuyuan.read.encoding import decode
from shuyuan.read.formats import Format, make_document

_FRONT_MATTER = re.compile(r"\s*---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)
_FRONT_FIELD = re.compile(r"^[\w-]+:", re.MULTILINE)
_HASHES = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r"(?:[ \t]*(?:[-*+]|\d+[.)])[ \t]+)?[ \t]*(`{3,}|~{3,})(.*)$")
_NOT_A_PARAGRAPH = re.compile(r" {4}|\t| {0,3}(?:[>|]|[-*+][ \t]|\d+[.)][ \t])")
_LINK = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_ANCHOR = re.compile(r"[ \t]*\{#[^}]*\}$|<[^>]+>")
_EMPHASIS = re.compile(r"(\*\*|__|\*|`+)(\S(?:.*?\S)?)\1")


class Markdown(Format):
    """Markdown (CommonMark headings)."""

    suffixes: ClassVar[tuple[str, ...]] = (".md", ".markdown", ".mdown", ".mkd")

    def read(self, data: bytes, path: Path, source: str) -> Document:
        """Read one Markdown file; its text is kept as it is, without the front matter."""
        whole = decode(data, path)
        text, title = without_front_matter(whole)
        begins = whole.count("\n") - text.count("\n") + 1
        return make_document(path, source, data, text, title=title, headings=find_headings(text), first_line=begins)


def without_front_matter(text: str) -> tuple[str, str]:
    """The text below a YAML front matter, and the title which that gives (empty when there is none)."""
    matter = _FRONT_MATTER.match(text)
    if not matter or not _FRONT_FIELD.search(matter[1]):
        return text, ""
    title = _FRONT_TITLE.search(matter[1])
    return text[matter.end() :], title[1].strip("'\"") if title else ""


def find_headings(text: str) -> list[Heading]:
    """Headings by `#` and by underline, in order; `start` is the offset of the line that holds the words."""
    headings: list[Heading] = []
    fence = ""
    start, paragraph = 0, ""  # `paragraph`: the line above, where an underline would make it a heading
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
            paragraph = ""
        elif mark and not (mark[1][0] == "`" and "`" in mark[2]):
            fence, paragraph = mark[1], ""
        elif hashes := _HASHES.match(line):
            if title := plain(hashes[2] or ""):
                headings.append(Heading(start, len(hashes[1]), title))
            paragraph = ""
        elif paragraph and (underline := _UNDERLINE.match(line)):
            title = plain(paragraph)
            headings.append(Heading(start - len(paragraph) - 1, 1 if underline[1][0] == "=" else 2, title))
            paragraph = ""
        else:
            paragraph = "" if not line.strip() or _NOT_A_PARAGRAPH.match(line) else line
        start += len(line) + 1
    return headings


def plain(title: str) -> str:
    """A heading's words without its marks: emphasis, links, anchors."""
    title = _EMPHASIS.sub(r"\2", _LINK.sub(r"\1", _ANCHOR.sub("", title)))
    return " ".join(title.split())
