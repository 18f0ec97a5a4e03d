"""Text → the terms that are matched: words as they are, Chinese, Japanese and Korean runs as characters and pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shuyuan.store.contract import normal

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U000323af"
_RUN = re.compile(rf"(?P<cjk>[{CJK}]+)|[^\W_{CJK}]+")


def terms(text: str) -> list[str]:
    """Lower-cased words; of a CJK run every character and every pair of neighbours (no dictionary needed)."""
    return [term for word, cjk in _runs(text) for term in ([*word, *_pairs(word)] if cjk else [word])]


def asked(text: str) -> list[str]:
    """The terms to look for: single characters only where they stand alone; in a run they cost much and say little."""
    return [term for word, cjk in _runs(text) for term in (_pairs(word) if cjk and len(word) > 1 else [word])]


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    for run in _RUN.finditer(normal(text).casefold()):
        yield run.group(), bool(run["cjk"])


def _pairs(word: str) -> list[str]:
    return [word[at : at + 2] for at in range(len(word) - 1)]
