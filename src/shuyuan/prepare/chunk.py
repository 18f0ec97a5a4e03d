"""Documents → passages with exact spans, cut where the document's own structure cuts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from shuyuan.base.files import fingerprint
from shuyuan.base.records import Document, Passage
from shuyuan.base.settings import Settings

DENSE_LANGUAGES = ("zh", "ja", "ko")  # a character says as much as two or three letters
DENSE_CHARACTERS = 400
OTHER_CHARACTERS = 1_000
TOP_LEVELS = 2
TINY_SHARE = 5  # a section under a fifth of a passage is too little to be found on its own
FULL_FROM = 0.625  # a passage this full is closed at the next good boundary (250 of 400, as measured)


class Chunk(Settings):
    """How documents are cut into passages."""

    characters: Annotated[
        int,
        Field(
            ge=0, le=20_000, description="most characters of a passage; 0: 400 in Chinese documents, 1,000 in others"
        ),
    ] = 0

    def chunk(self, document: Document) -> tuple[Passage, ...]:
        """Cut one document. Every character that is not white space is in exactly one passage.

        A section is a heading with what follows it. Sections that fit are kept whole, small ones are put together
        (across a heading of the top two levels only when tiny), long ones are split at paragraph, line and sentence
        ends by semantic-text-splitter. A heading is never parted from the text below it.
        """
        limit = self.characters or (DENSE_CHARACTERS if document.language in DENSE_LANGUAGES else OTHER_CHARACTERS)
        passages = []
        line, counted = document.first_line, 0
        for start, end in _joined(document, _sections(document), limit):
            for low, high in _split(document, start, end, limit):
                text = document.text[low:high]
                line, counted = line + document.text.count("\n", counted, low), low
                passages.append(
                    Passage(
                        id=fingerprint(document.id, low, text),
                        document_id=document.id,
                        source=document.source,
                        start=low,
                        end=high,
                        text=text,
                        headings=document.headings_at(_below_headings(document, low, high)),
                        page=document.page_at(low),
                        line=line if document.first_line else None,
                        boxes=document.boxes_of(low, high),
                    )
                )
        return tuple(passages)


Section = tuple[int, int, int]  # start, end, level of its heading (0 before the first)


def _sections(document: Document) -> list[Section]:
    """The spans between headings; a heading with nothing below it goes with the next one."""
    starts = [(0, 0), *((heading.start, heading.level) for heading in document.headings)]
    ends = [start for start, _ in starts[1:]] + [len(document.text)]
    sections: list[Section] = []
    waiting: tuple[int, int] | None = None
    for (start, level), end in zip(starts, ends, strict=True):
        if not document.text[start:end].strip():
            continue
        first = waiting or (start, level)
        if _below_headings(document, start, end) >= end and end < len(document.text):
            waiting = first
        else:
            sections.append((first[0], end, first[1]))
            waiting = None
    if waiting:
        sections.append((waiting[0], len(document.text), waiting[1]))
    return sections


def _joined(document: Document, sections: Sequence[Section], limit: int) -> list[tuple[int, int]]:
    """Sections put together while they fit; a top heading opens a new passage unless one side is tiny."""
    top = min((heading.level for heading in document.headings), default=1) + TOP_LEVELS - 1
    blocks: list[tuple[int, int]] = []
    for start, end, level in sections:
        if blocks and end - blocks[-1][0] <= limit:
            tiny = min(blocks[-1][1] - blocks[-1][0], end - start) * TINY_SHARE < limit
            if level > top or tiny:
                blocks[-1] = (blocks[-1][0], end)
                continue
        blocks.append((start, end))
    return blocks


def _split(document: Document, start: int, end: int, limit: int) -> list[tuple[int, int]]:
    """The spans of one block's passages, without white space at their ends."""
    text = document.text
    end = start + len(text[start:end].rstrip())
    start = end - len(text[start:end].lstrip())
    if end - start <= limit:
        return [(start, end)]
    body = _below_headings(document, start, end)
    if body >= end or body - start > limit // 2:
        body = start
    room = limit - (body - start)
    spans = [
        (body + offset, body + offset + len(piece))
        for offset, piece in _splitter(document, room).chunk_indices(text[body:end])
    ]
    return [(start, spans[0][1]), *spans[1:]]


def _splitter(document: Document, room: int) -> Any:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    written = document.headings and document.text.startswith("#", document.headings[0].start)
    kind = MarkdownSplitter if written and not document.pages else TextSplitter
    return kind((max(1, int(room * FULL_FROM)), room))


def _below_headings(document: Document, start: int, end: int) -> int:
    """The offset of the first text below the headings with which a span begins; `end` when there is none."""
    text = document.text
    at = start + len(text[start:end]) - len(text[start:end].lstrip())
    for index in range(bisect_left(document.headings, at, key=lambda heading: heading.start), len(document.headings)):
        heading = document.headings[index]
        if heading.start > at:
            break
        if heading.start == at:
            stop = text.find("\n", at, end)
            stop = end if stop < 0 else stop
            rest = text[stop:end]
            at = stop + len(rest) - len(rest.lstrip())
    return at
