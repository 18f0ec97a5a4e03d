"""Questions made from documents without a model: from tables, keys, definitions, steps, headings and sentences."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from shuyuan.base.files import fingerprint
from shuyuan.base.records import Document, Heading
from shuyuan.prepare.blocks import RULE, Block, blocks, place_of, plain, sentences, table_rows
from shuyuan.prepare.spans import Span, spans
from shuyuan.prepare.wording import CROSS, asked, cloze
from shuyuan.read.language import language

MAKERS = ("definition", "key-value", "table", "step", "heading", "cloze", "two-passage")
_WORDINGS = ((0, ""), (1, "paraphrase"))
LONGEST_ANSWER = 40  # characters; a Han character counts as two
_ZH_MEANS = re.compile(
    r"(?P<subject>[^，。；：！？、\s]{2,16})(?:（[^）]*）)?(?P<verb>是指|指的是|，?即|是)(?P<value>[^。；！？]{8,60})。$"
)
_EN_MEANS = re.compile(
    r"(?:(?:An?|The) )?(?P<subject>[^,.;:!?()]{2,40}?)(?: \([^)]*\))? (?P<verb>is|are|means|refers to) "
    r"(?P<value>(?:an?|any|every|what|how)\b[^;!?]{10,120}?)\.$"
)
_KEY = re.compile(r"(?P<key>[^：:|。，,;；!?！？]{2,24})(?P<colon>：|:\s)\s*(?P<value>[^：:]{1,80}?)[。.;；]?$")
_TERM_LIKE = re.compile(r"^(?:[`*“「『《].*[`*”」』》]|[A-Z][\w-]*[A-Z\d][\w-]*|[A-Za-z][\w.-]*)$")
_NUMERIC = re.compile(r"(-?\d[\d,]*(?:\.\d+)?)\s*(\D{0,6})$")


@dataclass(frozen=True, slots=True)
class Item:
    """A made question before the gates. The answer is a span: `document.text[start:end]` says `answers[0]`.

    `evidence` is the sentence or row that proves it, as it stands in the document; `stem` the words of the document
    that the question repeats; `span` what was taken out of a sentence. In tables `subject` is the row's first cell,
    `attribute` the column's name and `head` the first column's.
    """

    document: Document
    made: str
    kind: str
    text: str
    answers: tuple[str, ...]
    start: int
    end: int
    evidence: str
    stem: str
    fact: str
    language: str
    span: Span | None = None
    choices: tuple[str, ...] = ()
    subject: str = ""
    attribute: str = ""
    head: str = ""


def items(documents: Iterable[Document], makers: Sequence[str] = MAKERS) -> Iterator[Item]:
    """Every question that the makers can make of Chinese and English documents, good or bad: the gates come after."""
    tables: list[Item] = []
    for document in documents:
        if document.language not in ("zh", "en"):
            continue
        keyed = _keyed(document) if "key-value" in makers else set()
        for block in blocks(document):
            if block.kind == "table" and "table" in makers:
                of = list(_table(document, block))
                tables += of
                yield from of
            if block in keyed:
                yield from _key_value(document, block)
            if "step" in makers and block.number:
                yield from _step(document, block)
            if block.kind in ("item", "paragraph"):
                yield from _sentences(document, block, makers)
        if "heading" in makers:
            yield from _headings(document)
    if "two-passage" in makers:
        yield from _compared(tables)


def _sentences(document: Document, block: Block, makers: Sequence[str]) -> Iterator[Item]:
    for start, end in sentences(document, block):
        raw = document.text[start:end]
        spoken = language(raw)
        if spoken != document.language:
            continue
        if "definition" in makers and start == block.start:
            yield from _definition(document, start, raw, spoken)
        if "cloze" in makers:
            yield from _cloze(document, start, raw, spoken)


def _cloze(document: Document, start: int, raw: str, spoken: str) -> Iterator[Item]:
    """A blank for the only number or date of a sentence, else for its only name or term."""
    found = spans(raw)
    exact = [span for span in found if span.kind in ("number", "date")]
    named = [span for span in found if span.kind in ("name", "term")]
    span = exact[0] if len(exact) == 1 else named[0] if len(named) == 1 and not exact else None
    if span is None:
        return
    made = _Made(document, "cloze", spoken, raw, plain(f"{raw[: span.start]} {raw[span.end :]}"), span)
    text = cloze(raw, span, spoken, place_of(document, start))
    yield made.item(text, span.answers, (start + span.start, start + span.end))


def _definition(document: Document, start: int, raw: str, spoken: str) -> Iterator[Item]:
    match = (_ZH_MEANS if spoken == "zh" else _EN_MEANS).match(raw)
    if not match:
        return
    subject, value = plain(match["subject"]), plain(match["value"])
    titles = {plain(heading.title).casefold() for heading in document.headings} | {document.title.casefold()}
    means = match["verb"] in ("是指", "指的是", "means", "refers to")
    if not (means or _TERM_LIKE.match(match["subject"]) or subject.casefold() in titles):
        return
    made = _Made(document, "definition", spoken, raw, subject)
    behind = start + match.start("value"), start + match.end("value")
    for wording, kind in _WORDINGS:
        yield made.item(asked("definition", spoken, wording, subject=subject), (value,), behind, kind)
    at = start + match.start("subject"), start + match.end("subject")
    text = asked("reversed", spoken, value=value, place=place_of(document, start))
    yield replace(made, stem=value).item(text, (subject,), at, "reversed")


def _keyed(document: Document) -> set[Block]:
    """The items of lists that give a value for each key; a list with a colon here and there is prose."""
    lists: list[list[Block]] = [[]]
    for block in blocks(document):
        if block.kind != "item" or (lists[-1] and document.text[lists[-1][-1].end : block.start].count("\n") > 1):
            lists.append([])
        if block.kind == "item":
            lists[-1].append(block)
    chosen: set[Block] = set()
    for of in lists:
        keyed = [block for block in of if _KEY.match(document.text[block.start : block.end].strip())]
        if len(keyed) > 1 and len(keyed) >= 0.8 * len(of):
            chosen.update(keyed)
    return chosen


def _key_value(document: Document, block: Block) -> Iterator[Item]:
    raw = document.text[block.start : block.end].strip()
    match = _KEY.match(raw) if "\n" not in raw else None
    if not match:
        return
    key, value = plain(match["key"]), plain(match["value"])
    place, spoken = place_of(document, block.start), document.language
    begin = block.start + document.text[block.start : block.end].index(raw)
    at = begin + match.start("value"), begin + match.end("value")
    made = _Made(document, "key-value", spoken, raw, key, subject=key)
    for wording, kind in _WORDINGS:
        yield made.item(asked("key-value", spoken, wording, place=place, subject=key), (value,), at, kind)
    if re.fullmatch(r"[\w.-]+", key, re.ASCII) and _NUMERIC.fullmatch(value):
        other = "en" if spoken == "zh" else "zh"
        text = CROSS[other].format(place=place, subject=key)
        yield replace(made, language=other).item(text, (value,), at, "cross-language")


def _table(document: Document, block: Block) -> Iterator[Item]:
    rows = table_rows(document, block)
    if len(rows) < 3 or any(len(row) != len(rows[0]) for row in rows) or not all(rows[0]):
        return
    head, place, spoken = rows[0], place_of(document, block.start), document.language
    names = [row[0] for row in rows[1:]]
    lines = [line for line in _lines(document, block) if not RULE.match(line[1])][1:]
    for row, (begin, raw) in zip(rows[1:], lines, strict=True):
        if not row[0] or names.count(row[0]) > 1 or language(row[0]) not in (spoken, "en", "und"):
            continue
        for column in range(1, len(head)):
            value, at = row[column], _within(raw, row[column], column)
            if at is None:
                continue
            words = {"place": place, "subject": row[0], "attribute": head[column], "value": value, "head": head[0]}
            made = _Made(document, "table", spoken, raw.strip(), row[0], None, row[0], head[column], head[0])
            for wording, kind in _WORDINGS:
                text = asked("table", spoken, wording, **words)
                yield made.item(text, (value,), (begin + at[0], begin + at[1]), kind)
            first = _within(raw, row[0], 0)
            if first and [other[column] for other in rows[1:]].count(value) == 1:
                text, back = asked("table-reversed", spoken, **words), (begin + first[0], begin + first[1])
                yield replace(made, stem=value).item(text, (row[0],), back, "reversed")


def _step(document: Document, block: Block) -> Iterator[Item]:
    raw = document.text[block.start : block.end].strip()
    value = plain(raw).rstrip("。.；;")
    place, spoken = place_of(document, block.start), document.language
    begin = block.start + document.text[block.start : block.end].index(raw)
    made = _Made(document, "step", spoken, raw, place)
    for wording, kind in _WORDINGS:
        text = asked("step", spoken, wording, place=place, number=block.number)
        yield made.item(text, (value,), (begin, begin + len(raw.rstrip("。.；;"))), kind)


def _headings(document: Document) -> Iterator[Item]:
    """Which section begins with a sentence: the heading is the answer."""
    starts = [(heading.start, heading) for heading in document.headings if heading.level > 1]
    firsts: dict[int, tuple[Heading, tuple[int, int] | None]] = {}
    for block in blocks(document):
        above = [heading for start, heading in starts if start < block.start]
        if block.kind == "paragraph" and above:
            firsts.setdefault(above[-1].start, (above[-1], next(sentences(document, block), None)))
    for heading, span in firsts.values():
        title = plain(heading.title)
        at = document.text.find(title, heading.start, document.text.find("\n", heading.start))
        if span is None or at < 0:
            continue
        first = plain(document.text[span[0] : span[1]])
        made = _Made(document, "heading", document.language, document.text[heading.start : span[1]], first)
        text = asked("heading", document.language, value=first)
        yield made.item(text, (title,), (at, at + len(title)), "reversed")


def _compared(tables: Sequence[Item]) -> Iterator[Item]:
    """Two numbers under one name in different tables: which is larger?"""
    by_name: dict[tuple[str, str, str], list[tuple[float, Item]]] = defaultdict(list)
    for item in tables:
        number = _NUMERIC.fullmatch(item.answers[0])
        if number and not item.kind:
            key = item.language, item.attribute.casefold(), number[2].strip()
            by_name[key].append((float(number[1].replace(",", "")), item))
    for (spoken, _, _), numbers in sorted(by_name.items()):
        for (low, one), (high, other) in itertools.pairwise(numbers):
            places = [place_of(item.document, item.start) for item in (one, other)]
            if low == high or places[0] == places[1] or one.subject == other.subject:
                continue
            larger = one if low > high else other
            at = larger.document.text.find(larger.subject, larger.start - len(larger.evidence))
            words = {"subject": one.subject, "other": other.subject, "place": places[0], "there": places[1]}
            text = asked("two-passage", spoken, **words, attribute=one.attribute)
            if at >= 0:
                made = _Made(larger.document, "table", spoken, larger.evidence, "", None, larger.subject, one.attribute)
                yield made.item(text, (larger.subject,), (at, at + len(larger.subject)), "two-passage")


@dataclass(frozen=True, slots=True)
class _Made:
    """What the questions of one fact share."""

    document: Document
    made: str
    language: str
    evidence: str
    stem: str
    span: Span | None = None
    subject: str = ""
    attribute: str = ""
    head: str = ""

    def item(self, text: str, answers: tuple[str, ...], at: tuple[int, int], kind: str = "") -> Item:
        """A question; its fact is the place of its answer, so that two wordings are one fact."""
        place = text if kind == "two-passage" else self.document.source
        known = {name: getattr(self, name) for name in self.__slots__}
        fact = f"{self.made}-{fingerprint(place, *at)}"
        return Item(**known, kind=kind, text=text, answers=answers, start=at[0], end=at[1], fact=fact)


def _lines(document: Document, block: Block) -> Iterator[tuple[int, str]]:
    at = block.start
    for line in document.text[block.start : block.end].splitlines(keepends=True):
        yield at, line
        at += len(line)


def _within(line: str, value: str, column: int) -> tuple[int, int] | None:
    """Where a cell's plain text stands in its line, in its own column."""
    bars = [match.start() for match in re.finditer(r"(?<!\\)\|", line)]
    if not value or len(bars) <= column + 1:
        return None
    at = line.find(value, bars[column], bars[column + 1])
    return (at, at + len(value)) if at >= 0 else None
