"""How made questions are worded, in Chinese and English."""

from __future__ import annotations

import re

from shuyuan.prepare.blocks import plain
from shuyuan.prepare.spans import Span

BLANK = "____"
_PLURAL = re.compile(r" ([a-z]{3,}s)\b(?! ?[=/])")
_COUNTED = re.compile(
    r"(?:^|[\s(])(?:at least|at most|up to|about|only|than|of|by|for|after|every|has|have|are|in|to|and|holds?) $"
)
_FEW = re.compile(r"(?:bytes|lines|is|was|has|does|[a-z]*ss)$")

ASKS: dict[str, dict[str, tuple[str, str]]] = {
    # made: language → (a wording, another wording of the same)
    "definition": {
        "zh": ("{subject}是什么？", "请用一句话解释{subject}。"),
        "en": ("What is {subject}?", "How does the text define {subject}?"),
    },
    "reversed": {
        "zh": ("“{place}”里，什么的意思是“{value}”？",) * 2,
        "en": ("In “{place}”, what is described as “{value}”?",) * 2,
    },
    "key-value": {
        "zh": ("“{place}”里，“{subject}”是什么？", "“{place}”对“{subject}”是怎么写的？"),
        "en": ("In “{place}”, what is given for “{subject}”?", "What does “{place}” state for “{subject}”?"),
    },
    "table": {
        "zh": (
            "“{place}”的表里，{subject} 的“{attribute}”是什么？",
            "查“{place}”的表：{subject} 这一行，“{attribute}”写着什么？",
        ),
        "en": (
            "In the table of “{place}”, what stands under “{attribute}” for {subject}?",
            "Looking up {subject} in the table of “{place}”: what is its entry for “{attribute}”?",
        ),
    },
    "table-reversed": {
        "zh": ("“{place}”的表里，哪个{head}的“{attribute}”是 {value}？",) * 2,
        "en": ("In the table of “{place}”, which {head} has “{value}” under “{attribute}”?",) * 2,
    },
    "step": {
        "zh": ("“{place}”的第 {number} 步是什么？", "按照“{place}”，第 {number} 步做什么？"),
        "en": ("What is step {number} of “{place}”?", "In “{place}”, what is done in step {number}?"),
    },
    "heading": {
        "zh": ("哪一节的开头是“{value}”？",) * 2,
        "en": ("Which section begins with “{value}”?",) * 2,
    },
    "none": {
        "zh": ("资料里 {subject} 的“{attribute}”是什么？",) * 2,
        "en": ("What does the material give as the “{attribute}” of {subject}?",) * 2,
    },
    "two-passage": {
        "zh": ("“{attribute}”更大的是哪一个：“{place}”里的 {subject}，还是“{there}”里的 {other}？",) * 2,
        "en": ("Which has the larger {attribute}: {subject} in “{place}” or {other} in “{there}”?",) * 2,
    },
}
CROSS = {
    "zh": "按照英文资料“{place}”，{subject} 的值是多少？",
    "en": "According to the Chinese text “{place}”, what is the value of {subject}?",
}


def asked(made: str, language: str, wording: int = 0, /, **words: object) -> str:
    """A question by template."""
    if "value" in words:
        words["value"] = str(words["value"]).rstrip("。.；;")
    return ASKS[made][language][wording].format(**words)


def cloze(sentence: str, span: Span, language: str, place: str) -> str:
    """A sentence as a question for what `span` says: by a question word where the grammar allows it, else by a blank.

    Chinese puts its question words where the answer stands; in English “how many” fits before a plural.
    """
    before, after = sentence[: span.start], sentence[span.end :]
    worded = _in_chinese(before, span, after) if language == "zh" else _in_english(before, span, after)
    if worded:
        body = plain(worded).rstrip("。.！!；; ")
        return f"根据“{place}”：{body}？" if language == "zh" else f"According to “{place}”: {body}?"
    stem = plain(f"{before}{BLANK}{after}")
    if language == "zh":
        return f"填空（出自“{place}”）：{stem}"
    return f"Fill in the blank (from “{place}”): {stem}"


def _in_chinese(before: str, span: Span, after: str) -> str:
    if span.kind == "date" and re.fullmatch(r"\d{4}\s*年", span.text):
        return f"{before}哪一年{after}"
    if span.kind != "number" or not span.unit or "." in span.text:
        return ""
    if span.ordinal:
        return f"{before[: -1 - before[::-1].index('第')]}第几{after.lstrip()}"
    return f"{before.rstrip()}多少{after.lstrip()}"


def _in_english(before: str, span: Span, after: str) -> str:
    plural = _PLURAL.match(after)
    if (
        span.kind != "number"
        or "." in span.text
        or not plural
        or _FEW.fullmatch(plural[1])
        or not _COUNTED.search(before)
    ):
        return ""
    return f"{before}how many{after}"
