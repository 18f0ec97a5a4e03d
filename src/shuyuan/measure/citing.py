"""Does a citation point at the evidence? What citation precision and recall share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from shuyuan.base.records import Citation, Question
from shuyuan.measure.text import contains, tokens

_ENOUGH = 0.5  # share of the evidence's tokens that a quote must hold


def supports(citation: Citation, question: Question, relevant: Collection[str]) -> bool:
    """Whether the quote is from the question's document and holds half of the evidence's tokens, or is a part of it.

    Where a question names no evidence, being from a relevant passage is enough.
    """
    evidence, quote = tokens(question.evidence), tokens(citation.quote)
    if not evidence:
        return citation.passage_id in set(relevant)
    if citation.source != question.source:
        return False
    shared = (Counter(evidence) & Counter(quote)).total()
    return shared >= _ENOUGH * len(evidence) or contains(evidence, quote)


def can_be_cited(question: Question, relevant: Collection[str]) -> bool:
    """Whether it is known what should be cited."""
    return bool(question.answers) and bool(tokens(question.evidence) or set(relevant))
