"""Which passages hold a question's evidence, by the characters they share with it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from shuyuan.base.records import Document, Passage, Question


def relevant_passages(
    questions: Sequence[Question], documents: Iterable[Document], passages: Iterable[Passage]
) -> Mapping[str, tuple[str, ...]]:
    """Question id → ids of the passages that hold at least half of its evidence (or else the most of it).

    The evidence is looked for in the question's own document, wherever it stands there; spaces and line ends may
    differ. A question without evidence, or whose evidence is not found, has no entry.
    """
    texts = {document.source: document.text for document in documents}
    by_source: dict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        by_source[passage.source].append(passage)
    found: dict[str, tuple[str, ...]] = {}
    for question in questions:
        shared: dict[str, float] = {}
        for start, end in _spans(question.evidence, texts.get(question.source, "")):
            for passage in by_source[question.source]:
                overlap = (min(end, passage.end) - max(start, passage.start)) / (end - start)
                shared[passage.id] = max(overlap, shared.get(passage.id, 0.0))
        most = max(shared.values(), default=0.0)
        if most > 0:
            found[question.id] = tuple(sorted(id for id, part in shared.items() if part >= min(0.5, most)))
    return found


def _spans(evidence: str, text: str) -> Iterator[tuple[int, int]]:
    words = evidence.split()
    if words:
        for match in re.finditer(r"\s+".join(map(re.escape, words)), text):
            yield match.span()
