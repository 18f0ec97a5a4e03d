"""The words of a text as they are compared: without case, width, punctuation and the old forms of characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

_ENGLISH_COUNTS = "two three four five six seven eight nine ten"
# Small numbers written out. From two on: "one" and "一" mostly count nothing.
WRITTEN_NUMBERS = {word: str(value) for value, word in enumerate(_ENGLISH_COUNTS.split(), 2)} | {
    sign: str(value) for value, sign in enumerate("二三四五六七八九十", 2)
}
_HAN_RANGES = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00))
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_UNIT = re.compile(r"[^\s\u2e80-\u9fff\uac00-\ud7af\U00020000-\U000323af]+|\S")


def normal(text: str) -> str:
    """What two spellings of one wording share: NFKC, no case, simplified characters, no punctuation; single spaces,
    none beside Han.

    `+ # % =` and other signs stay, for C++ is not C; so does a minus before a digit.
    """
    return joined(units(text))


def units(text: str) -> list[str]:
    """The words of a text, each Han, kana or hangul character its own, without punctuation; signs as in `normal`."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return list(_UNIT.findall(_without_punctuation(simplified(text))))


def simplified(text: str) -> str:
    """Text with traditional characters replaced by simplified ones, one by one (OpenCC's table)."""
    return text.translate(_simplified_by_traditional()) if _HAN.search(text) else text


@cache
def _simplified_by_traditional() -> dict[int, int]:
    import opencc

    han = [chr(code) for first, last in _HAN_RANGES for code in range(first, last)]
    turned = [opencc.OpenCC("t2s").convert("\n".join(han)).split("\n")][0]
    return {ord(one): ord(other) for one, other in zip(han, turned, strict=True) if one != other and len(other) == 1}


def _without_punctuation(text: str) -> str:
    def keep(index: int, character: str) -> bool:
        category = unicodedata.category(character)
        if character == "-":
            return text[index + 1 : index + 2].isdigit() and not text[index - 1 : index].isalnum()
        if character == ".":
            return text[index + 1 : index + 2].isdigit() and text[index - 1 : index].isdigit()
        return character in "#%" or (category[0] not in "PZC" and category != "Sk")

    return "".join(character if keep(index, character) else " " for index, character in enumerate(text))


def joined(words: Sequence[str]) -> str:
    """Words as one text, with spaces but beside Han."""
    text = ""
    for word in words:
        text += word if not text or is_han(word) or is_han(text[-1]) else f" {word}"
    return text


def is_han(word: str) -> bool:
    """Whether a word of `units` is a Han, kana or hangul character."""
    return "\u2e80" <= word[0] <= "\u9fff" or "\uac00" <= word[0] <= "\ud7af" or word[0] >= "\U00020000"
