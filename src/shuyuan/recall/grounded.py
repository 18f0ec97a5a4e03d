"""An assistant with a library: looks up the last question, answers from what was found, cites it or refuses."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from shuyuan.base.records import GREEDY, Answer, Assistant, Conversation, Decoding, Message, Passage
from shuyuan.read.language import language
from shuyuan.recall.asking import queries
from shuyuan.recall.citing import key_terms, sentences, support
from shuyuan.recall.ground import BEYOND, REFUSAL, Ground, cleaned, holds_none, spoken
from shuyuan.recall.searching import Hit, Library

LEAST_FOUND = 10  # passages that are listed as found, whether or not they are shown
_TURNS = 6  # earlier messages the model sees; what they cited is never taken up again


@dataclass(frozen=True, slots=True)
class _Found:
    """What was looked up for one conversation. `passages` is empty when nothing near enough was found."""

    question: str
    language: str
    retrieved: tuple[str, ...]
    passages: tuple[Passage, ...]
    seconds: float

    def best(self) -> _Found:
        """The passage that holds most of the question's key terms, alone; none where there is only one anyway."""
        asked = key_terms(self.question)
        ranked = sorted(self.passages, key=lambda passage: -len(asked & key_terms(passage.searchable)))
        return replace(self, passages=tuple(ranked[:1] if len(ranked) > 1 else ()))


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

        Citations are exact spans of the documents; sentences that nothing speaks for are marked. What the passages do
        not hold is asked once more over the best of them alone, which distracts a small model less. Refused (mode
        query) or answered from the model alone and marked `beyond` (mode chat) when nothing near enough was found, when
        the model says that the passages hold no answer, or when they hold nothing of what it answers.
        """
        found = self._look_up(conversations)
        answers = [self._refused(one) for one in found]
        for shown in (found, [one.best() for one in found]):
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
        seconds = (time.perf_counter() - began) / max(1, len(searched))
        found = []
        for conversation, text, of in zip(conversations, searched, hits, strict=True):
            question = conversation[-1].content
            passages = [hit.passage for hit in of] if self._near(text, of) else []
            retrieved = tuple(hit.passage.id for hit in of)
            fitting = tuple(self.ground.fitting(passages))
            found.append(_Found(question, language(question), retrieved, fitting, seconds))
        return found

    def _near(self, question: str, hits: Sequence[Hit]) -> bool:
        """Whether what was found is above the threshold: the given one, or the library's for this language."""
        learned = self.library.state.thresholds
        threshold = self.ground.threshold
        if threshold is None:
            threshold = learned.get(language(question), min(learned.values(), default=-1.0))
        return self.library.nearness(question, hits) >= threshold

    def _with_passages(self, conversation: Conversation, found: _Found) -> list[Message]:
        prompt = self.ground.prompt(found.question, found.passages, found.language)
        return [*conversation[-1 - _TURNS : -1], Message("user", prompt)]

    def _refused(self, found: _Found) -> Answer:
        return Answer(REFUSAL[spoken(found.language)], retrieved=found.retrieved, refused=True, seconds=found.seconds)

    def _checked(self, found: _Found, said: Answer, before: Answer) -> Answer:
        """What was said with its citations, or the refusal `before` where the passages do not hold it."""
        text = cleaned(said.text)
        proof = support(found.question, text, found.passages, self.ground.support)
        if holds_none(text) or not proof.citations:
            return _with_cost(replace(before, prompt=said.prompt), before, said)
        checked = replace(said, text=text, citations=proof.citations, unsupported=proof.unsupported)
        return _with_cost(replace(checked, retrieved=before.retrieved), before, said)

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
            unsupported = tuple((start + len(warning), end + len(warning)) for start, end in sentences(text))
            freely = replace(alone, text=warning + text, unsupported=unsupported, beyond=True)
            answers[row] = _with_cost(replace(freely, retrieved=before.retrieved), before, alone)


def _with_cost(answer: Answer, *askings: Answer) -> Answer:
    """An answer that took several askings: their tokens and seconds added up."""
    return replace(
        answer,
        prompt_tokens=sum(one.prompt_tokens for one in askings),
        answer_tokens=sum(one.answer_tokens for one in askings),
        seconds=sum(one.seconds for one in askings),
    )
