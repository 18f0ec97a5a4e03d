"""An assistant with a library: looks up the last question, answers from what was found, cites it or refuses."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from shuyuan.base.records import GREEDY, Answer, Assistant, Conversation, Decoding, Message, Passage
from shuyuan.read.language import language
from shuyuan.recall.citing import sentences, support
from shuyuan.recall.ground import BEYOND, REFUSAL, Ground, cleaned, holds_none, spoken
from shuyuan.recall.searching import Hit, Library

_TURNS = 6  # earlier messages the model sees; what they cited is never taken up again


@dataclass(frozen=True, slots=True)
class _Found:
    """What was looked up for one conversation. `passages` is empty when nothing near enough was found."""

    question: str
    language: str
    retrieved: tuple[str, ...]
    passages: tuple[Passage, ...]
    seconds: float


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

        Citations are exact spans of the documents. Refused (mode query) or answered from the model alone and marked
        `beyond` (mode chat) when nothing near enough was found, when the model says that the passages hold no answer,
        or when they do not hold what it answers.
        """
        found = self._look_up([conversation[-1].content for conversation in conversations])
        shown = [row for row, one in enumerate(found) if one.passages]
        said = self._inner.answer([self._with_passages(conversations[row], found[row]) for row in shown], decoding)
        answers = [self._refused(one) for one in found]
        for row, answer in zip(shown, said, strict=True):
            answers[row] = self._checked(found[row], answer)
        if self.ground.mode == "chat":
            self._go_beyond(conversations, found, answers, decoding)
        return answers

    def _look_up(self, questions: Sequence[str]) -> list[_Found]:
        began = time.perf_counter()
        hits = self.library.search_all(questions, max(self.ground.passages, 10))
        seconds = (time.perf_counter() - began) / max(1, len(questions))
        found = []
        for question, of in zip(questions, hits, strict=True):
            spoken_in = language(question)
            passages = self.ground.fitting([hit.passage for hit in of]) if self._near(of, spoken_in) else []
            retrieved = tuple(hit.passage.id for hit in of)
            found.append(_Found(question, spoken_in, retrieved, tuple(passages), seconds))
        return found

    def _near(self, hits: Sequence[Hit], spoken_in: str) -> bool:
        """Whether the nearest passage is above the threshold: the given one, or the library's for this language."""
        learned = self.library.state.thresholds
        threshold = self.ground.threshold
        if threshold is None:
            threshold = learned.get(spoken_in, min(learned.values(), default=-1.0))
        return max((hit.cosine for hit in hits if hit.cosine is not None), default=-1.0) >= threshold

    def _with_passages(self, conversation: Conversation, found: _Found) -> list[Message]:
        prompt = self.ground.prompt(found.question, found.passages, found.language)
        return [*conversation[-1 - _TURNS : -1], Message("user", prompt)]

    def _refused(self, found: _Found, after: Answer | None = None) -> Answer:
        return Answer(
            REFUSAL[spoken(found.language)],
            retrieved=found.retrieved,
            refused=True,
            prompt_tokens=after.prompt_tokens if after else 0,
            answer_tokens=after.answer_tokens if after else 0,
            seconds=found.seconds + (after.seconds if after else 0.0),
        )

    def _checked(self, found: _Found, answer: Answer) -> Answer:
        """The answer with its citations, or a refusal where the passages do not hold it."""
        text = cleaned(answer.text)
        if holds_none(text):
            return self._refused(found, answer)
        proof = support(found.question, text, found.passages, self.ground.support)
        if not proof.citations:
            return self._refused(found, answer)
        return replace(
            answer,
            text=text,
            citations=proof.citations,
            unsupported=proof.unsupported,
            retrieved=found.retrieved,
            seconds=found.seconds + answer.seconds,
        )

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
            before, warning, text = answers[row], BEYOND[spoken(found[row].language)], alone.text.strip()
            answers[row] = replace(
                alone,
                text=warning + text,
                unsupported=tuple((start + len(warning), end + len(warning)) for start, end in sentences(text)),
                retrieved=before.retrieved,
                beyond=True,
                prompt_tokens=before.prompt_tokens + alone.prompt_tokens,
                answer_tokens=before.answer_tokens + alone.answer_tokens,
                seconds=before.seconds + alone.seconds,
            )
