"""A conversation → what to look up: a question that leans on the one before is searched with it, any other alone.

No model is asked: a follow-up says by a word that it is one (`its`, `what about`, 它, 呢), and a question that does not
say so is taken at its word, so that a change of subject does not drag the old passages along.
"""

from __future__ import annotations

import re

from shuyuan.base.records import Conversation
from shuyuan.store.words import asked

MOST_BEFORE = 2  # words of its own that a question may have before "it"; with more, it names what it speaks of itself
_OPENS = re.compile(
    r"^\s*(?:(?:and|but|or|so|then|also|what about|how about|what else)\b|(?:why(?: not| so)?|how so)\s*[?？]?\s*$"
    r"|那么?(?![个些种么])|还有|另外|然后|(?:为什么|为何)\s*[?？]?\s*$|.{1,8}呢\s*[?？。]?\s*$)",
    re.IGNORECASE,
)
_STANDS_FOR = re.compile(
    r"\b(?:it|its|they|them|their|theirs|this|these|those|that one|the same|the former|the latter|he|him|his|she|her"
    r"|(?:is|was|does|did|do|of|about|with|for|in) that)\b"
    r"|其(?![他它余中实])|(?<!应)该|它|他们|她们|上述|前者|后者|[这那][个些种样里儿]?(?=[是有怎能会要为吗呢如])",
    re.IGNORECASE,
)
_SAYS_NOTHING = re.compile(
    r"\b(?:what|which|who|when|where|why|how|much|many|is|are|was|were|do|does|did|can|could|should|would|will|the|an?"
    r"|of|in|on|to|for|with|by|from|at|as|be|i|you|we|my|your|our)\b|什么|哪[个些]|怎[么样]|如何|多少|有|是|的|我|你",
    re.IGNORECASE,
)


def leans(question: str) -> bool:
    """Whether a question says that it goes on from the one before."""
    if _OPENS.search(question):
        return True
    sign = _STANDS_FOR.search(question)
    return bool(sign and len(asked(_SAYS_NOTHING.sub(" ", question[: sign.start()]))) <= MOST_BEFORE)


def queries(conversation: Conversation) -> list[str]:
    """What to search for: one text, or none where nothing was asked.

    A question that leans is put behind the last one that does not, so a chain of follow-ups keeps its subject.
    """
    said = [message.content.strip() for message in conversation if message.role == "user" and message.content.strip()]
    if not said:
        return []
    now, before = said[-1], said[:-1]
    if before and leans(now):
        first = next((at for at in range(len(before) - 1, -1, -1) if not leans(before[at])), 0)
        now = " ".join([before[first], *([before[-1]] if first < len(before) - 1 else []), now])
    return [now]
