"""Small changes to a question that leave its meaning alone, in Chinese and English, the same for the same seed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache
from typing import Any

Change = Callable[[str, random.Random], str]

_WORD = re.compile(r"(?<![\w./:`@#-])[a-z]{4,}(?![\w./:`@#-])")
_PUNCTUATION = re.compile(r"[，。！？；：、“”‘’（）]")
_TYPED = re.compile(r"(?<![\w./`-])[A-Za-z]\w*(?![\w./`-])|[?,!]")
# Words that mean the same in a question; first come, first changed.
_SAME_EN = (
    ("how many", "what number of"), ("at most", "at the most"), ("at least", "no less than"), ("which", "what"),
    ("need", "require"), ("start", "begin"), ("big", "large"), ("show", "display"), ("pick", "choose"), ("use", "employ"),
    ("is called", "is named"), ("kept", "stored"), ("often", "frequently"), ("make", "produce"), ("happens", "occurs"),
    ("by default", "unless told otherwise"), ("must", "have to"),
)  # fmt: skip
_SAME_ZH = (
    ("多少", "几多"), ("怎么", "如何"), ("什么", "啥"), ("默认", "缺省"), ("哪个", "哪一个"), ("至少", "最少"), ("最多", "至多"),
    ("需要", "须要"), ("叫什么", "名叫什么"), ("使用", "采用"), ("文件夹", "目录"), ("几个", "多少个"), ("为什么", "为何"),
    ("可以", "能够"), ("能不能", "可否"), ("用什么", "拿什么"), ("打开", "开启"), ("从哪里", "从何处"),
)  # fmt: skip
# Slips of who types by sound (pinyin) or shape.
_SLIPS_ZH = (
    ("的", "得"), ("在", "再"), ("做", "作"), ("哪", "那"), ("需", "须"), ("以", "已"), ("几", "己"), ("像", "象"), ("它", "他"),
    ("时", "是"), ("里", "裏"), ("么", "末"), ("由", "有"), ("为", "位"),
)  # fmt: skip


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
    there = [pair for pair in _SLIPS_ZH if pair[0] in text]
    return text.replace(*draw.choice(there), 1) if there else text


def _spaces(text: str, draw: random.Random) -> str:
    return re.sub(r" ", lambda _: " " * draw.randint(1, 3), text)


def _width(text: str, _: random.Random) -> str:
    """ASCII signs and letters in full width, as a Chinese keyboard may leave them."""
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def _punctuation(text: str, _: random.Random) -> str:
    return _PUNCTUATION.sub("", text) if _PUNCTUATION.search(text) else text.rstrip("?.! ")


def _traditional(text: str, _: random.Random) -> str:
    return _converter().convert(text)


def _synonym(text: str, _: random.Random) -> str:
    for old, new in _SAME_ZH if re.search(r"[\u4e00-\u9fff]", text) else _SAME_EN:
        changed = re.sub(rf"\b{old}\b" if old.isascii() else old, new, text, count=1, flags=re.IGNORECASE)
        if changed != text:
            return changed
    return text


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
