"""Small changes to a question that leave its meaning alone, in Chinese and English, the same for the same seed."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable
from functools import cache
from typing import Any

from shuyuan.examine.forgetting import DATA

Change = Callable[[str, random.Random], str]

_WORD = re.compile(r"(?<![\w./:`@#-])[a-z]{4,}(?![\w./:`@#-])")
_PUNCTUATION = re.compile(r"[，。！？；：、“”‘’（）]")
_TYPED = re.compile(r"(?<![\w./`-])[A-Za-z]\w*(?![\w./`-])|[?,!]")


def _case(text: str, _: random.Random) -> str:
    return _TYPED.sub(lambda match: match[0].lower(), text)


def _typo(text: str, draw: random.Random) -> str:
    """Two neighbouring letters of one word in five swapped, at least one; in Chinese one character misheard."""
    words = list(_WORD.finditer(text))
    if words:
        for match in sorted(draw.sample(words, max(1, len(words) // 5)), key=lambda match: -match.start()):
            at = match.start() + draw.randrange(1, len(match[0]) - 2) if len(match[0]) > 4 else match.start() + 1
            text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        return text
    there = [pair for pair in _words()["slips"]["zh"].items() if pair[0] in text]
    if not there:
        return text
    meant, typed = draw.choice(there)
    return text.replace(meant, typed, 1)


def _spaces(text: str, draw: random.Random) -> str:
    return re.sub(r" ", lambda _: " " * draw.randint(1, 3), text)


def _width(text: str, _: random.Random) -> str:
    """ASCII signs and letters in full width, as a Chinese keyboard may leave them."""
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def _punctuation(text: str, _: random.Random) -> str:
    return _PUNCTUATION.sub("", text) if _PUNCTUATION.search(text) else text.rstrip("?.! ")


def _traditional(text: str, _: random.Random) -> str:
    return str(_converter().convert(text))


def _synonym(text: str, _: random.Random) -> str:
    chinese = re.search(r"[\u4e00-\u9fff]", text)
    for old, new in _words()["same"]["zh" if chinese else "en"].items():
        changed = re.sub(rf"\b{old}\b" if old.isascii() else old, new, text, count=1, flags=re.IGNORECASE)
        if changed != text:
            return changed
    return text


@cache
def _words() -> Any:
    return tomllib.loads((DATA / "robustness.toml").read_text(encoding="utf-8"))


@cache
def _converter() -> Any:
    import opencc

    return opencc.OpenCC("s2t")


CHANGES: dict[str, Change] = {
    "case": _case,
    "punctuation": _punctuation,
    "spaces": _spaces,
    "synonym": _synonym,
    "traditional": _traditional,
    "typo": _typo,
    "width": _width,
}


def changed(text: str, how: str, seed: str) -> str:
    """A text with one kind of change, or nothing where the change leaves it as it is."""
    new = CHANGES[how](text, random.Random(f"{seed}/{how}"))
    return new if new != text else ""
