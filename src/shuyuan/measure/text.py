"""One rule for text in every metric: how it is normalised (norm_v1) and cut into tokens (tok_mixed).

Both are versioned parts of each metric's signature: change a rule only under a new name.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

NORM, TOKENIZER = "v1", "mixed"
_ARTICLES = frozenset({"a", "an", "the"})
# Scripts written without spaces between words, where one character is one token: ideographs (with the extensions
# beyond the basic plane), kana, and hangul syllables, whose particles are glued to the word.
_SINGLE = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MINUS = re.compile(r"(?<![^\W_])[-−](?=\d)")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_TOKEN = re.compile(rf"[{_SINGLE}]|-?\d+(?:\.\d+)*|[^\s\d{_SINGLE}][^\s{_SINGLE}]*")
# Private marks that outlive the removal of punctuation.
_KEPT_MINUS, _KEPT_POINT = "\x00", "\x01"


def norm_v1(text: str, language: str = "") -> str:
    """Text as metrics compare it.

    NFKC, lower case; punctuation, symbols, separators and controls become one space (deleting them would fuse words);
    a point between digits, a minus before a number and no thousands comma stay: `−1,024.50` → `-1024.50`. With
    `language="en"` the articles a, an, the are left out. A text of nothing else is kept as it is, so that an answer
    such as `+` or `A` can still be right.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    plain = plain.replace(_KEPT_MINUS, " ").replace(_KEPT_POINT, " ")
    marked = _POINT.sub(_KEPT_POINT, _MINUS.sub(_KEPT_MINUS, _THOUSANDS.sub("", plain)))
    spaced = "".join(_spaced(char) for char in marked)
    words = spaced.replace(_KEPT_MINUS, "-").replace(_KEPT_POINT, ".").split()
    if language == "en":
        words = [word for word in words if word not in _ARTICLES] or words
    return " ".join(words) or " ".join(plain.split())


def tok_mixed(text: str) -> list[str]:
    """The tokens of a normalised text.

    A number is a token (`3.14`, `-5`); each ideograph, kana and hangul syllable is a token; any other run of letters
    is a token, with the digits that follow its first letter (`bf16`, `qwen2.5`, but `12mb` → `12`, `mb`).
    """
    return _TOKEN.findall(text)


@lru_cache(maxsize=4096)
def tokens(text: str, language: str = "") -> tuple[str, ...]:
    """Normalise and cut: `tok_mixed(norm_v1(text, language))`."""
    return tuple(tok_mixed(norm_v1(text, language)))


def contains(whole: tuple[str, ...], part: tuple[str, ...]) -> bool:
    """Whether `part` stands in `whole` as neighbouring tokens. Nothing is contained in nothing."""
    size = len(part)
    return size > 0 and any(whole[at : at + size] == part for at in range(len(whole) - size + 1))


def _spaced(char: str) -> str:
    return char if char in (_KEPT_MINUS, _KEPT_POINT) or unicodedata.category(char)[0] in "LMN" else " "
