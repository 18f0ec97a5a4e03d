"""Which language a text is in, told by its script."""

from __future__ import annotations

import re

_SCRIPTS = {
    "han": re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]"),
    "kana": re.compile(r"[\u3040-\u30ff]"),
    "hangul": re.compile(r"[\u1100-\u11ff\uac00-\ud7af]"),
    "latin": re.compile(r"[A-Za-z\u00c0-\u024f]"),
    "cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "arabic": re.compile(r"[\u0600-\u06ff]"),
}
HAN_WEIGHT = (
    3  # a Han character carries about as much as three letters, so a Chinese manual full of commands is Chinese
)


def language(text: str) -> str:
    """`zh`, `ja`, `ko`, `en`, `ru` or `ar`, by the share of each script; `und` where there are no letters.

    A script is not a language: everything in Latin letters is called `en`, in Cyrillic `ru`.
    """
    count = {script: len(pattern.findall(text)) for script, pattern in _SCRIPTS.items()}
    if not any(count.values()):
        return "und"
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
