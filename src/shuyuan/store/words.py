"""Text → the terms that are matched: words as they are, Chinese, Japanese and Korean runs as characters and pairs."""

from __future__ import annotations

import re

from shuyuan.store.contract import normal

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U000323af"
_RUN = re.compile(rf"(?P<cjk>[{CJK}]+)|[^\W_{CJK}]+")


def terms(text: str) -> list[str]:
    """Lower-cased words; of a CJK run every character and every pair of neighbours (no dictionary needed)."""
    found: list[str] = []
    for run in _RUN.finditer(normal(text).casefold()):
        word = run.group()
        if run["cjk"]:
            found += [*word, *(word[at : at + 2] for at in range(len(word) - 1))]
        else:
            found.append(word)
    return found
