"""Who declined to answer: by the assistant's own flag, or by the words it used."""

from __future__ import annotations

import re
import unicodedata

from shuyuan.base.records import Answer, Question
from shuyuan.measure.marking import best_of_golds
from shuyuan.measure.text import contains

_WINDOW = 160  # characters: who declines does so at once; later words are usually a caution after an answer
_ENGLISH = (
    r"\bi\s+(?:really\s+|just\s+|simply\s+)?(?:do\s+not|don't|cannot|can't|could\s+not|couldn't|am\s+unable|am\s+not)\b"
    r".{0,20}\b(?:know|find|answer|say|tell|determine|provide|have|sure|aware|able|access)",
    r"\bi'm\s+(?:sorry\b.{0,40}\b(?:not|n't|cannot|unable|no)\b|not\s+(?:sure|aware|certain|able)|unable)",
    r"\b(?:there\s+is|there's|i\s+have|i\s+found|contains?|holds?|provides?|gives?)\s+no\s+"
    r"(?:\w+\s+)?(?:information|answer|mention|evidence|data|details?)\b",
    r"\b(?:is|are|was|were)\s+(?:not|n't)\s+(?:\w+\s+)?"
    r"(?:mentioned|provided|specified|stated|given|found|available|described|known|covered)\b",
    r"\b(?:library|documents?|passages?|context|texts?|materials?|sources?)\s+(?:does|do|did)(?:\s+not|n't)\s+"
    r"(?:\w+\s+)?(?:contain|mention|say|provide|hold|specify|answer|state|give|cover|include|tell)",
    r"\b(?:cannot|can't|can\s+not)\s+be\s+(?:answered|determined|found|known)\b",
    r"^(?:no\s+answer|unknown|unanswerable|not\s+(?:known|stated|mentioned|specified|available|in\s+the))\b",
)
_CHINESE = (
    r"(?:^|[，。！；：、,.!;:\s]|我|也|并|暂时|目前|确实|还)(?:不知道|不清楚|不了解|不太清楚|不确定|不得而知)",
    r"(?:无法|不能|没法|没办法)(?:\S{0,6})(?:回答|确定|得知|提供|找到|判断|查到|给出|确认|知道|作答)",
    r"(?:没有|没能|未能|未)(?:\S{0,4})(?:找到|提到|提及|说明|提供|给出|记载|记录|涉及|查到|包含|描述|写明)",
    r"(?:资料|文档|文中|材料|书库|图书馆|知识库|原文|上下文|段落|内容|手册)(?:\S{0,4})(?:没有|未|不包含|不含)",
    r"没有(?:\S{0,6})(?:答案|信息|资料|内容|记载)",
)
_DECLINES = re.compile("|".join((*_ENGLISH, *_CHINESE)), re.IGNORECASE)


def says_no(text: str) -> bool:
    """Whether a text declines to answer, in Chinese or English words, within its first 160 characters.

    A list of phrases, so it misses the unusual and can be fooled; assistants that set `Answer.refused` need no guess.
    """
    plain = unicodedata.normalize("NFKC", text).replace("’", "'").strip()
    return bool(_DECLINES.search(plain[:_WINDOW]))


def declined(answer: Answer, question: Question) -> bool:
    """Whether the assistant declined: it says so by its flag, or by its words without giving a right answer."""
    return answer.refused or (says_no(answer.text) and not best_of_golds(answer, question, contains))
