"""Questions others ask: what a library was really asked is kept, and the questions near to one in meaning are found.

Only an assistant with a library answers from the documents, so only its questions are kept, and only those that can be
read alone: not a follow-up, not a whole document with a question behind it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from shuyuan.base.asked import Asked, AskedQuestions, Wording
from shuyuan.base.material import Material
from shuyuan.base.records import GREEDY, Answer, Assistant, Conversation, Decoding
from shuyuan.prepare.meaning import marks
from shuyuan.read.language import language
from shuyuan.recall.asking import queries
from shuyuan.recall.grounded import GroundedAssistant

LONGEST = 500  # characters of a question; what is longer is material, not a question that others ask
SAME = 0.70  # cosine of two wordings of one question, in one language, that were answered from one sentence …
ALIKE = 0.93  # … or of which one has no answer (bench/results/asked.md)
RELATED = 0.45  # cosine from which a question is worth a look, in any language
_LOOKED_AT = 20  # nearest wordings


def keep(
    material: Material,
    assistant: Assistant,
    conversation: Conversation,
    answer: Answer,
    decoding: Decoding = GREEDY,
) -> str:
    """Keep what was just asked, and the answer if it cites the documents; returns the question's id, or nothing.

    Asked in other words before, in the same language, it is counted there. An answer from beyond the library is none.
    What found a document of a group is not kept: not everyone may know that it was asked.
    Raises Fixable when it cannot be written.
    """
    question = conversation[-1].content.strip()
    if not isinstance(assistant, GroundedAssistant) or answer.cut or decoding.schema or decoding.tools:
        return ""
    if len(question) > LONGEST or queries(conversation) != [question] or material.asked.keeping() == "off":
        return ""
    found = {cited.source for cited in answer.citations}
    found |= {passage.source for passage in (material.passages(answer.retrieved) if answer.retrieved else ())}
    if found.intersection(material.hidden()):
        return ""
    sound = answer if answer.citations and not (answer.refused or answer.beyond) else None
    vector = assistant.library.place([question])[0].tobytes()
    this = Wording("", question, assistant.library.state.embedder, vector)
    under = same(material.asked, this, sound)
    return material.asked.put(replace(this, asked=under), sound, assistant.name, time.time())


def related(
    asked: AskedQuestions, text: str, most: int = 5, public: bool = False, hidden: Sequence[str] = ()
) -> list[Asked]:
    """The questions nearest in meaning to one that was asked, whatever their language, nearest first.

    `public`: pages only. None whose answer cites a document that is `hidden`. Nothing for a text that was never asked.
    """
    this = asked.wording(text)
    if this is None:
        return []
    others = [one for one in asked.wordings(this.embedder, public, hidden) if one.asked != this.asked]
    nearest: dict[str, float] = {}
    for one, cosine in zip(others, _cosines(this, others), strict=True):
        if cosine >= max(RELATED, nearest.get(one.asked, -1.0)):
            nearest[one.asked] = cosine
    best = sorted(nearest, key=lambda name: (-nearest[name], name))[:most]
    return [asked.get(name) for name in best]


def same(asked: AskedQuestions, this: Wording, answer: Answer | None) -> str:
    """The question of which `this` is another wording, or nothing.

    It is near, in the same language, with the same numbers, names and denials. Where both have an answer, that comes
    from the same sentence and has no other numbers: the rank and the alpha of an adapter may stand in one sentence.
    """
    others = asked.wordings(this.embedder)
    signs = language(this.text), marks(this.text)
    nearest = sorted(((-cosine, row) for row, cosine in enumerate(_cosines(this, others))))[:_LOOKED_AT]
    for one, cosine in ((others[row], -less) for less, row in nearest if -less >= SAME):
        if (language(one.text), marks(one.text)) == signs:
            there = asked.get(one.asked).answer
            if _agree(answer, there) if answer and there else cosine >= ALIKE:
                return one.asked
    return ""


def _agree(one: Answer, other: Answer) -> bool:
    places = [{(cited.source, cited.start) for cited in answer.citations} for answer in (one, other)]
    names = [marks(answer.text)[0] for answer in (one, other)]
    return bool(places[0] & places[1]) and (names[0] <= names[1] or names[1] <= names[0])


def _cosines(this: Wording, others: Sequence[Wording]) -> list[float]:
    if not others:
        return []
    vectors = np.frombuffer(b"".join(one.vector for one in others), np.float32).reshape(len(others), -1)
    found: list[float] = (vectors @ np.frombuffer(this.vector, np.float32)).tolist()
    return found
