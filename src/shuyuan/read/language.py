"""Which language a text is in, told by its script."""

from __future__ import annotations

import re
from collections import Counter

_SCRIPTS = {
    "han": re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]"),
    "kana": re.compile(r"[\u3040-\u30ff]"),
    "hangul": re.compile(r"[\u1100-\u11ff\uac00-\ud7af]"),
    "latin": re.compile(r"[A-Za-z\u00c0-\u024f]"),
    "cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "arabic": re.compile(r"[\u0600-\u06ff]"),
}
# What says nothing of the language around it: a Chinese manual is Chinese although most of its letters are commands.
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`]*`|\bhttps?://\S+", re.DOTALL)
HAN_WEIGHT = 3  # a Han character carries about as much as three letters
# Latin letters without any of these are names and commands; “update-alternatives 怎么用” is a Chinese question.
_ENGLISH = re.compile(
    r"\b(?:an?|and|are|as|at|be|by|can|did|do|does|for|from|how|if|in|is|it|not|of|on|or|that|the|this|to|was|were|"
    r"what|when|where|which|who|why|with|you)\b",
    re.IGNORECASE,
)


def language(text: str) -> str:
    """`zh`, `ja`, `ko`, `en`, `ru` or `ar`, by the share of each script; `und` where there are no letters.

    A script is not a language: everything in Latin letters is called `en`, in Cyrillic `ru`. Code and addresses count
    only where there is nothing else, and Latin letters beside Han characters only where a small English word stands.
    """
    prose = _CODE.sub(" ", text)
    count = _counted(prose) or _counted(text)
    if not count:
        return "und"
    if count["han"] and not _ENGLISH.search(prose):
        count["latin"] = 0
    if count["kana"] * 10 > count["han"] and count["kana"] * HAN_WEIGHT > count["latin"]:
        return "ja"
    weights = {
        "zh": count["han"] * HAN_WEIGHT,
        "ko": count["hangul"] * HAN_WEIGHT,
        "en": count["latin"],
        "ru": count["cyrillic"],
        "ar": count["arabic"],
    }
    return max(weights, key=lambda name: weights[name])


def _counted(text: str) -> Counter[str]:
    """The letters of each script; empty without any."""
    return +Counter({script: len(pattern.findall(text)) for script, pattern in _SCRIPTS.items()})
