"""What people are told, in Chinese where they read Chinese: the source's templates, and what each becomes.

`base/told.zh.json` holds what the page can show as well, `cli/told.zh.json` what only a terminal shows: {0}, {1} … are
filled in as they are, {0*} is a text that is said in Chinese too. `web/src/chinese.ts` reads lines in the same way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

TABLES = ("base/told.zh.json", "cli/told.zh.json")
FEWEST = 5  # letters; a template with fewer would fit anything, so what is filled in must be figures
MOST_KEPT = 20_000  # texts
LONGEST = 1000  # characters of a line; a longer one is nobody's message

_SPACE = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"  # as JavaScript trims
_SPACE += "".join(map(chr, range(0x2000, 0x200B)))
_HOLE = re.compile(r"\{([0-9]+)(\*?)\}")
_ANY = r"[^\n\r\u2028\u2029]"
_FIGURES = r"(?:[^\p{L}]|(?<=[0-9] ?)(?:[kMGT]?B|[smh])(?!\p{L}))*?"  # 1.2 MB, 3m 20s
_AHEAD = r"(?:[0-9](?:[0-9.,]*[0-9])?%?)?"  # of a hole beside another: a number, or nothing


def language() -> Literal["zh", "en"]:
    """The language that people are told things in: `SHUYUAN_LANG`, else the locale; English unless it is Chinese."""
    named = ("SHUYUAN_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
    first = next((value for name in named if (value := os.environ.get(name))), "")
    return "zh" if first.lower().startswith("zh") else "en"


def told(text: str) -> str:
    """A text of ours as the reader is told it, line by line; what is not known, and a single word, is left as it is."""
    return _table().in_chinese(text) if language() == "zh" else text


def word(text: str) -> str:
    """A text that is ours to the last letter, a single word too: the head of a column, the title of a bar, a note."""
    return _table().word(text) if language() == "zh" else text


def labelled(label: str, text: str) -> str:
    """A word of ours in front of a text that is not."""
    return word(label) + ("：" if language() == "zh" else ": ") + text


def listed(parts: Iterable[str]) -> str:
    """Texts in one line."""
    return ("，" if language() == "zh" else ", ").join(parts)


@cache
def _table() -> Table:
    import json  # not for who reads English

    house = Path(__file__).resolve().parent.parent
    words: dict[str, str] = {}
    for name in TABLES:
        words |= json.loads((house / name).read_text(encoding="utf-8"))
    return Table(words)


class Table:
    """English templates with their Chinese."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._exact = words
        self._kept: dict[str, str | None] = {}

    def in_chinese(self, text: str) -> str:
        """A text, line by line. What is not known is left as it is."""
        return "\n".join(self._line(line) for line in text.split("\n"))

    def word(self, text: str) -> str:
        """A text that stands in the table as it is, under `| text` where it is one only alone; else as `in_chinese`."""
        return self._exact.get(f"| {text}") or self._exact.get(text) or self.in_chinese(text)

    def _whole(self, text: str) -> str | None:
        return self._exact.get(text) or self._exact.get(text[:1].upper() + text[1:])  # at a start, and after a colon

    def _line(self, line: str) -> str:
        bare = line.strip(_SPACE)
        if " " not in bare or len(line) > LONGEST:  # one word is a name
            return line
        return line[: len(line) - len(line.lstrip(_SPACE))] + self._part(bare)

    def _part(self, text: str) -> str:
        found = self._known(text)
        return text if found is None else found

    def _known(self, text: str) -> str | None:
        """The text in Chinese, or None where nothing of it is known. Of several ways, the one that leaves the least
        English."""
        with suppress(KeyError):
            return self._kept[text]
        if len(self._kept) > MOST_KEPT:
            self._kept.clear()
        found = self._whole(text)
        if found is None and re.search("[A-Za-z]{2}", text):
            found = min(self._ways(text), key=lambda way: len(re.sub("[^A-Za-z]", "", way)), default=None)
        self._kept[text] = found
        return found

    def _ways(self, text: str) -> Iterator[str]:
        """How a text can be read: as a template, as a hint, a list, with a place in front, a number, something in
        brackets."""
        yield from self._filled(text)
        yield from self._placed(text)
        if text.startswith("hint: "):
            yield f"提示：{self._part(text[6:])}"
        ways = (
            self._joined(text, " · ", " · ", _some),
            self._joined(text, "; ", "；", _some),
            self._joined(text, ", ", "，", _every),
            self._counted(text),
            self._bracketed(text),
        )
        yield from (way for way in ways if way is not None)

    def _joined(self, text: str, by: str, becomes: str, enough: _Enough) -> str | None:
        parts = text.split(by)
        if len(parts) < 2:
            return None
        said = [self._known(part) for part in parts]
        if not enough(said, parts):
            return None
        return becomes.join(part if one is None else one for one, part in zip(said, parts, strict=True))

    def _placed(self, text: str) -> Iterator[str]:
        """`notes.pdf: the file is empty`; the place may hold colons itself, so it is as long as it can be."""
        at = text.rfind(": ")
        while at > 0:
            rest = self._known(text[at + 2 :])
            if rest is not None:
                yield f"{self._part(text[:at])}：{rest}"
            at = text.rfind(": ", 0, at + 1)

    def _counted(self, text: str) -> str | None:
        """`12 files`"""
        found = re.fullmatch(rf"([0-9.,]+) ({_ANY}+)", text)
        said = found and self._known(found[2])
        return f"{found[1]} {said}" if found and said else None

    def _bracketed(self, text: str) -> str | None:
        """`rank of the adapter (≥ 1, ≤ 256; default 16)`"""
        found = re.fullmatch(rf"({_ANY}+?) \(({_ANY}+)\)", text)
        said = found and self._known(found[1])
        return f"{said}（{self._part(found[2])}）" if found and said else None

    def _filled(self, text: str) -> Iterator[str]:
        lower = text.lower()
        for template in self._templates:
            values = template.values(text) if template.holds in lower else None
            if values is None or any(value.startswith((",", ";", ":", "·")) for value in values):
                continue  # the end of what is in front
            parts = [values[int(at)] for at, star in _HOLE.findall(template.becomes) if star]
            if (
                template.letters < FEWEST
                and parts
                and not any(_is_figure(p) or self._known(p) is not None for p in parts)
            ):
                continue
            yield template.filled([*values], self._part)

    @cached_property
    def _templates(self) -> list[Template]:
        made = [Template(*pair) for pair in self._exact.items() if re.search(r"\{[0-9]+\}", pair[0])]
        return sorted(made, key=lambda template: -template.fixed)


class Template:
    """One line with holes. Its pattern is made when a text may be one of it."""

    def __init__(self, english: str, becomes: str) -> None:
        self._texts = re.split(r"\{[0-9]+\}", english)
        self.becomes = becomes
        self.fixed = sum(map(len, self._texts))
        self.letters = sum(char.isalpha() or char in "“”" for text in self._texts for char in text)
        self.holds = max(self._texts, key=len).lower()

    def values(self, text: str) -> tuple[str, ...] | None:
        """What fills the holes, or None where the text is another one."""
        found = self._pattern.fullmatch(text)
        return None if found is None else found.groups()

    def filled(self, values: Sequence[str], part: Callable[[str], str]) -> str:
        """The Chinese with these values in the holes."""
        return _HOLE.sub(lambda hole: (part if hole[2] else str)(values[int(hole[1])]), self.becomes)

    @cached_property
    def _pattern(self) -> Any:
        starred = {int(at) for at, star in _HOLE.findall(self.becomes) if star}
        *ahead, last = self._texts
        pattern = ""
        for at, text in enumerate(ahead):
            beside = self._texts[at + 1] == "" and at + 2 < len(self._texts)
            figures = self.letters < FEWEST and at not in starred
            pattern += f"{re.escape(text)}({_AHEAD if beside else _FIGURES if figures else f'{_ANY}*?'})"
        return _compiled(pattern + re.escape(last))


_Enough = Callable[[Sequence[str | None], Sequence[str]], bool]


def _some(parts: Sequence[str | None], _: Sequence[str]) -> bool:
    return any(part is not None for part in parts)


def _every(parts: Sequence[str | None], of: Sequence[str]) -> bool:
    both = zip(parts, of, strict=True)
    return _some(parts, of) and all(part is not None or _is_figure(text) for part, text in both)


def _is_figure(text: str) -> bool:
    """Numbers, times and sizes: `1,234`, `3m 20s`, `1.2 MB`, `▁▄█`."""
    return _compiled(_FIGURES).fullmatch(text) is not None


@cache
def _compiled(pattern: str) -> Any:
    import regex  # knows letters of every script; slow to import, and help pages do without

    return regex.compile(pattern, regex.IGNORECASE)
