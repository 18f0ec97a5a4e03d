"""A conversation → what to look up: a question that leans on the one before is searched with it, any other alone.

No model is asked: a follow-up says by a word that it is one (`its`, `what about`, 它, 呢), and a question that does not
say so is taken at its word, so that a change of subject does not drag the old passages along.
"""

from __future__ import annotations

import re

from shuyuan.base.records import Conversation
from shuyuan.store.words import terms

MOST_PARTS = 4
_LEANS = re.compile(
    r"^\s*(?:and|but|or|so|then|also|what about|how about|what else)\b"
    r"|^\s*(?:why(?: not| so)?|how so)\s*[?？]?\s*$"
    r"|\b(?:it|its|they|them|their|theirs|this|these|those|that one|the same|the former|the latter|there|he|him|his|she"
    r"|her|such|above|else|instead|(?:is|was|does|did|do|of|about|with|for|in) that)\b"
    r"|^\s*(?:那|那么|那要|还有|另外|然后|为什么[?？]|为何[?？]|具体)"
    r"|[它其该]|这[个些种样里儿]|那[个些种样里儿]|他们|她们|上述|前者|后者|同样|呢\s*[?？。]?\s*$",
    re.IGNORECASE,
)
_PLACED = re.compile(
    r"其[他它余中实]|应该|\b(?:is|are|was|were) there\b|\bthere (?:is|are)\b", re.IGNORECASE
)  # words in which such a sign is none
_SIDES = re.compile(
    r"\b(?:and|or|versus|vs\.?|as well as|compared (?:to|with))\b|以及|还是|[和与及、;；]|[?？](?=.)", re.IGNORECASE
)
_ASKING = re.compile(
    r"\b(?:what|which|who|when|where|why|how|much|many|is|are|was|were|do|does|did|can|could|should|would|will|the|an?"
    r"|of|in|on|to|for|with|by|from|at|as|be|mean|between|differences?)\b"
    r"|什么|哪[个些]|怎[么样]|如何|多少|区别|不同|差别|之间|有|是|的",
    re.IGNORECASE,
)


def leans(question: str) -> bool:
    """Whether a question says that it goes on from the one before."""
    return bool(_LEANS.search(_PLACED.sub(" ", question)))


def queries(conversation: Conversation, parts: bool = False) -> list[str]:
    """What to search for, the whole question first. `parts`: the sides of a compound question are searched as well.

    A question that leans is put behind the last one that does not, so a chain of follow-ups keeps its subject.
    """
    asked = [message.content.strip() for message in conversation if message.role == "user" and message.content.strip()]
    if not asked:
        return []
    whole, before = asked[-1], asked[:-1]
    if before and leans(whole):
        first = next((at for at in range(len(before) - 1, -1, -1) if not leans(before[at])), 0)
        whole = " ".join([before[first], *([before[-1]] if first < len(before) - 1 else []), whole])
    return [whole, *(_parts(whole) if parts else [])]


def _parts(question: str) -> list[str]:
    """The sides of a question that asks about two things, each with words of its own."""
    sides = [side.strip(" ,，。.?？") for side in _SIDES.split(question)]
    full = [side for side in sides if terms(_ASKING.sub(" ", side))]
    return full[:MOST_PARTS] if len(full) > 1 else []
