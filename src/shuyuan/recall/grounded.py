"""An assistant with a library: looks up the last question, answers from what was found, cites it or refuses."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from shuyuan.base.records import GREEDY, Answer, Assistant, Conversation, Decoding, Message, Passage
from shuyuan.read.language import language
from shuyuan.recall.asking import queries
from shuyuan.recall.citing import sentences, support
from shuyuan.recall.ground import BEYOND, REFUSAL, Ground, cleaned, holds_none, spoken
from shuyuan.recall.searching import Hit, Library

LEAST_FOUND = 10  # passages that are listed as found, whether or not they are shown
AT_ONCE = 2  # passages that the model reads at a time
_TURNS = 6  # earlier messages the model sees; what they cited is never taken up again


@dataclass(frozen=True, slots=True)
class _Found:
    """What was looked up for one conversation. `passages` is empty when nothing near enough was found.

    `searched` is the question with its subject, where it leans on an earlier one.
    """

    question: str
    searched: str
    language: str
    hits: Sequence[Hit]
    passages: tuple[Passage, ...]
    seconds: float

    @property
    def retrieved(self) -> tuple[str, ...]:
        return tuple(hit.passage.id for hit in self.hits)


class GroundedAssistant:
    """Any assistant, given the passages of a library with each question. Implements `Assistant`."""

    def __init__(self, name: str, inner: Assistant, library: Library, ground: Ground | None = None) -> None:
        self._name, self._inner = name, inner
        self.library, self.ground = library, ground or Ground()

    def in_mode(self, mode: str) -> GroundedAssistant:
        """The same assistant in another mode, `query` or `chat`."""
        ground = Ground.of({**self.ground.model_dump(), "mode": mode})
        return GroundedAssistant(self._name, self._inner, self.library, ground)

    @property
    def name(self) -> str:
        """The name it has in its workspace."""
        return self._name

    def nats(self, texts: Sequence[str]) -> list[float]:
        """Those of the assistant inside: a library changes no weights."""
        return self._inner.nats(texts)

    def stream(self, conversation: Conversation, decoding: Decoding = GREEDY) -> Generator[str, None, Answer]:
        """See `Assistant`; in one piece, for what is said is checked against the passages before it is shown."""
        (answer,) = self.answer([conversation], decoding)
        yield answer.text
        return answer

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        """Answer each conversation from the passages found for its last message.

        Citations are exact spans of the documents; sentences that nothing speaks for are marked. The passages are read
        two at a time, best first, until what is said has support: more at once distract a small model. Refused (mode
        query) or answered from the model alone and marked `beyond` (mode chat) when nothing near enough was found, when
        the model says that the passages hold no answer, or when they hold nothing of what it answers.
        """
        found = self._look_up(conversations)
        answers = [self._refused(one) for one in found]
        for start in range(0, self.ground.passages, AT_ONCE):
            shown = [replace(one, passages=one.passages[start : start + AT_ONCE]) for one in found]
            rows = [row for row, one in enumerate(shown) if one.passages and answers[row].refused]
            asked = [self._with_passages(conversations[row], shown[row]) for row in rows]
            for row, said in zip(rows, self._inner.answer(asked, decoding), strict=True):
                answers[row] = self._checked(shown[row], said, answers[row])
        if self.ground.mode == "chat":
            self._go_beyond(conversations, found, answers, decoding)
        return answers

    def _look_up(self, conversations: Sequence[Conversation]) -> list[_Found]:
        began = time.perf_counter()
        searched = [(queries(conversation) or [""])[0] for conversation in conversations]
        hits = self.library.search_all(searched, max(self.ground.passages, LEAST_FOUND))
        hold = self._hold(searched, hits)
        seconds = (time.perf_counter() - began) / max(1, len(searched))
        found = []
        for conversation, text, of, holds in zip(conversations, searched, hits, hold, strict=True):
            question = conversation[-1].content
            passages = [hit.passage for hit in of] if holds and self._near(text, of) else []
            fitting = tuple(self.ground.fitting(passages))
            found.append(_Found(question, text, language(question), of, fitting, seconds))
        return found

    def _near(self, searched: str, hits: Sequence[Hit]) -> bool:
        """Whether what was found is above the threshold: the given one, or the library's for this language."""
        learned = self.library.state.thresholds
        threshold = self.ground.threshold
        if threshold is None:
            threshold = learned.get(language(searched), min(learned.values(), default=-1.0))
        return self.library.nearness(searched, hits) >= threshold

    def _hold(self, searched: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[bool]:
        """Whether what was found holds enough of each question, by the given measure or the embedder's own."""
        least = self.library.least_evidence if self.ground.evidence is None else self.ground.evidence
        return [held >= least for held in self.library.evidence(searched, hits)] if least else [True] * len(searched)

    def _with_passages(self, conversation: Conversation, found: _Found) -> list[Message]:
        prompt = self.ground.prompt(found.question, found.passages, found.language)
        return [*conversation[-1 - _TURNS : -1], Message("user", prompt)]

    def _refused(self, found: _Found) -> Answer:
        return Answer(REFUSAL[spoken(found.language)], retrieved=found.retrieved, refused=True, seconds=found.seconds)

    def _checked(self, found: _Found, said: Answer, before: Answer) -> Answer:
        """What was said with its citations, or the refusal `before` where the passages do not hold it."""
        text = cleaned(said.text)
        proof = support(found.question, text, found.passages, self.ground.support)
        cited = {citation.passage_id for citation in proof.citations}
        near = self._near(found.searched, [hit for hit in found.hits if hit.passage.id in cited])
        if holds_none(text) or not cited or not near:
            return _after(before, replace(said, text=before.text, logprobs=(), refused=True, cut=False))
        return _after(before, replace(said, text=text, citations=proof.citations, unsupported=proof.unsupported))

    def _go_beyond(
        self,
        conversations: Sequence[Conversation],
        found: Sequence[_Found],
        answers: list[Answer],
        decoding: Decoding,
    ) -> None:
        """Replace refusals by what the model itself knows, saying so first."""
        rows = [row for row, answer in enumerate(answers) if answer.refused]
        for row, alone in zip(rows, self._inner.answer([conversations[row] for row in rows], decoding), strict=True):
            warning, text = BEYOND[spoken(found[row].language)], alone.text.strip()
            spans = tuple((start + len(warning), end + len(warning)) for start, end in sentences(text))
            answers[row] = _after(answers[row], replace(alone, text=warning + text, unsupported=spans, beyond=True))


def _after(before: Answer, answer: Answer) -> Answer:
    """An answer with what was found and spent before it."""
    return replace(
        answer,
        retrieved=before.retrieved,
        prompt_tokens=before.prompt_tokens + answer.prompt_tokens,
        answer_tokens=before.answer_tokens + answer.answer_tokens,
        seconds=before.seconds + answer.seconds,
    )
