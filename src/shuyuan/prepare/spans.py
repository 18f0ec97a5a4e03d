"""Numbers, dates, names and terms in a sentence, in Chinese and English, found without a dictionary.

Chinese has no spaces, so a name is taken only where writing itself marks its ends: by 《》 “” 「」, by code marks, by
bold type, or because it is written in Latin letters. A cut through the middle of a word cannot happen then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "date", "name", "term"]

UNITS = (
    "个月|个小时|小时|分钟|毫秒|秒|万元|亿元|美元|元|公里|千米|厘米|毫米|米|公斤|千克|克|吨|毫升|升|字节|字符|词元|维|"
    "个|名|位|人|条|项|种|次|台|章|节|页|张|份|篇|段|天|日|周|月|年|度|倍|步|字|行|列|层|轮|岁|道|级|成|分|款|页|期|届|"
    "遍|只|块|本|册|片|支|根|间|组|套|批|棵|座|家|件|回|趟|圈|滴|袋|瓶|包|箱|"
    "[kKMGT]i?B|kg|km|cm|mm|ms|[MG]Hz|%|％|‰|°C|℃"
)
_DATE = re.compile(
    r"\d{4}\s*年(?:\s*\d{1,2}\s*月(?:\s*\d{1,2}\s*[日号])?)?|\d{1,2}\s*月\s*\d{1,2}\s*[日号]|\d{4}-\d{2}-\d{2}"
    r"|(?:\d{1,2} )?(?:January|February|March|April|May|June|July|August|September|October|November|December)"
    r"(?: \d{1,2},?)? \d{4}|(?<=\bin )(?:1[5-9]|20)\d\d\b"
)
_NUMBER = re.compile(
    rf"(?<![\w.,/:#=-])(?P<prefix>第\s?)?(?P<number>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)*)(?P<gap>\s?)(?P<unit>{UNITS})?"
    rf"(?![A-Za-z_0-9/=]|[:.]\d)|(?P<han>[二两三四五六七八九十百千]+)(?P<hanunit>{UNITS})"
)
_TERM = re.compile(r"`+([^`\n]{2,40}?)`+")
_NAME = re.compile(r"[《“「『]([^》”」』\n]{2,20})[》”」』]|\*\*([^*\n]{2,30}?)\*\*")
_CAPITALS = re.compile(r"(?<=[a-z,;:] )(?:[A-Z][\w'’-]+(?: (?:of|the|de|von|van)(?= [A-Z]))? ?){1,4}(?<=\w)")
_LATIN = re.compile(
    r"(?<![\w.@/\\-])[A-Za-z][A-Za-z0-9]*(?:[-+.][A-Za-z0-9]+)*\+{0,2}(?: [A-Z][A-Za-z0-9]+)?(?![\w@/\\-])"
)
_HAN_NUMBERS = dict(zip("二两三四五六七八九十", (2, 2, 3, 4, 5, 6, 7, 8, 9, 10), strict=True))
_HAN = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Span:
    """`sentence[start:end] == text`, something of a kind; `unit` stands behind a number."""

    kind: Kind
    start: int
    end: int
    text: str
    unit: str = ""
    ordinal: bool = False

    @property
    def answers(self) -> tuple[str, ...]:
        """Right wordings: the text itself, and other ways to write the number."""
        bare = self.text.replace(",", "") if self.kind == "number" else self.text
        han = str(_HAN_NUMBERS[self.text]) if self.text in _HAN_NUMBERS else ""
        return tuple(dict.fromkeys(word for word in (self.text, bare, han) if word))


def spans(sentence: str) -> list[Span]:
    """All spans of a sentence that may still hold its code and bold marks, in order, none within another."""
    found: list[Span] = []

    def add(span: Span) -> None:
        if all(span.end <= other.start or span.start >= other.end for other in found):
            found.append(span)

    for match in _TERM.finditer(sentence):
        add(Span("term", match.start(1), match.end(1), match[1]))
    for match in _DATE.finditer(sentence):
        add(Span("date", match.start(), match.end(), match[0]))
    for match in _NUMBER.finditer(sentence):
        digits = "number" if match["number"] else "han"
        unit = (match["unit"] or match["hanunit"] or "").strip()
        add(Span("number", match.start(digits), match.end(digits), match[digits], unit, bool(match["prefix"])))
    for match in _NAME.finditer(sentence):
        group = 1 if match[1] else 2
        add(Span("name", match.start(group), match.end(group), match[group]))
    if _HAN.search(sentence):
        for match in _LATIN.finditer(sentence):
            add(Span("term", match.start(), match.end(), match[0]))
    else:
        for match in _CAPITALS.finditer(sentence):
            add(Span("name", match.start(), match.end(), match[0]))
    return sorted(found, key=lambda span: span.start)
