"""An assistant with a library: looks up the last question, answers from what was found, cites it or refuses."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from shuyuan.base.marks import View
from shuyuan.base.records import GREEDY, Answer, Assistant, Conversation, Decoding, Message, Passage, ask
from shuyuan.read.language import language
from shuyuan.recall.asking import queries
from shuyuan.recall.choosing import choose_shown
from shuyuan.recall.citing import sentences, support
from shuyuan.recall.evidence import HOPELESS, enough, hopeless
from shuyuan.recall.ground import BEYOND, REFUSAL, Ground, cleaned, holds_none, spoken
from shuyuan.recall.reader import reader_of
from shuyuan.recall.rewriting import Rewritten, rewritten, step_by_step
from shuyuan.recall.searching import Hit, Library

LEAST_FOUND = 10  # passages that are listed as found, whether or not they are shown
AT_ONCE = 2  # passages that the model reads at a time
SURE = math.log(0.98)  # mean log probability of a token, from which on a taught model knows what it says; LOG.md
_TURNS = 6  # earlier messages the model sees; what they cited is never taken up again


@dataclass(frozen=True, slots=True)
class _Found:
    """What was looked up for one conversation. `passages` is empty when nothing near enough was found.

    `held` is each passage's evidence, `nearer` by how much the question is nearer than the threshold.
    """

    question: str
    language: str
    hits: Sequence[Hit]
    passages: tuple[Passage, ...]
    held: Sequence[float]
    nearer: float
    asked: Rewritten
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
        return GroundedAssistant(self._name, self._inner, self.library, self.ground.but(mode=mode))

    def seen_by(self, view: View) -> GroundedAssistant:
        """The same assistant for somebody else: what they may not see is not looked up, shown or cited."""
        return GroundedAssistant(self._name, seen_by(self._inner, view), self.library.seen_by(view), self.ground)

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

        Citations are exact spans of the documents; sentences that nothing speaks for are marked. What a taught model is
        sure of is said by heart where the passages found hold it. Else they are read two at a time, best first, until
        what is said has support: more at once distract a small model. Refused (mode query) or answered from the model
        alone and marked `beyond` (mode chat) when nothing near enough was found, when the model says that the passages
        hold no answer or is near to it, or when they hold nothing of what it answers.
        """
        reader = reader_of(self._inner)
        found = self._look_up(conversations, reader is not self._inner)
        answers = [self._refused(one) for one in found]
        if getattr(self._inner, "learned", False) and not decoding.tools:
            self._say_by_heart(conversations, found, answers, decoding)
        for start in range(0, self.ground.passages, AT_ONCE):
            at = slice(start, start + AT_ONCE)
            shown = [replace(one, passages=one.passages[at], held=one.held[at]) for one in found]
            rows = [row for row, one in enumerate(shown) if one.passages and answers[row].refused]
            asked = [self._with_passages(conversations[row], shown[row]) for row in rows]
            for row, said in zip(rows, reader.answer(asked, decoding), strict=True):
                answers[row] = self._checked(shown[row], said, answers[row])
        if self.ground.mode == "chat":
            self._go_beyond(conversations, found, answers, decoding)
        return answers

    def _look_up(self, conversations: Sequence[Conversation], read: bool) -> list[_Found]:
        """What is found. `read`: by a model that knows what it cannot answer, so less is left out as too far."""
        began = time.perf_counter()
        searched = [(queries(conversation) or [""])[0] for conversation in conversations]
        asked = self._rewritten(searched)
        texts, hits = [one.texts[0] for one in asked], self._hits(asked)
        nearer = [self._nearer(text, of) for text, of in zip(texts, hits, strict=True)]
        weighed = read and self._least > 0 and self.ground.threshold is None
        near = [of if by >= (-HOPELESS if weighed else 0.0) else () for by, of in zip(nearer, hits, strict=True)]
        known = self.library.least_evidence > 0
        chosen = choose_shown(self.library, texts, near, self.ground, order=known, weigh=known or self._least > 0)
        seconds = (time.perf_counter() - began) / max(1, len(searched))
        found = []
        for conversation, one, of, by, best in zip(conversations, asked, hits, nearer, chosen, strict=True):
            question = conversation[-1].content
            useless = hopeless(max(best.held, default=0.0), self._least) and not _pinned(of)
            shown = () if useless else best.passages
            by = by if weighed else 0.0
            found.append(_Found(question, language(question), best.hits or of, shown, best.held, by, one, seconds))
        return found

    def _rewritten(self, searched: Sequence[str]) -> list[Rewritten]:
        """What to search for, for each question: itself, and what the model makes of it if the settings say so."""
        if self.ground.queries == "one":
            return [Rewritten((text,)) for text in searched]
        asked = rewritten(self._inner, searched, self.ground.queries)
        return [step_by_step(one, self._find_out) for one in asked] if self.ground.queries == "steps" else asked

    def _find_out(self, text: str) -> Answer:
        """A step answered from the library, as any question is, but from the first passages alone."""
        ground = self.ground.but(mode="query", queries="one", passages=AT_ONCE)
        (answer,) = GroundedAssistant(self._name, self._inner, self.library, ground).answer([ask(text)])
        return answer

    def _hits(self, asked: Sequence[Rewritten]) -> list[list[Hit]]:
        k = max(self.ground.passages, LEAST_FOUND)
        if all(len(one.texts) == 1 for one in asked):
            return self.library.search_all([one.texts[0] for one in asked], k)
        return [self.library.search_together(one.texts, k) for one in asked]

    def _nearer(self, searched: str, hits: Sequence[Hit]) -> float:
        """By how much it is nearer than the threshold: the given one, or the library's for this language."""
        learned = self.library.state.thresholds
        threshold = self.ground.threshold
        if threshold is None:
            threshold = learned.get(language(searched), min(learned.values(), default=-1.0))
        always = 2.0  # no nearness reaches that: what is pinned is read
        return always if _pinned(hits) else self.library.nearness(searched, hits) - threshold

    @property
    def _least(self) -> float:
        """The evidence that is enough: as given, or the embedder's own."""
        return self.library.least_evidence if self.ground.evidence is None else self.ground.evidence

    def _with_passages(self, conversation: Conversation, found: _Found) -> list[Message]:
        prompt = self.ground.prompt(found.question, found.passages, found.language)
        return [*conversation[-1 - _TURNS : -1], Message("user", prompt)]

    def _refused(self, found: _Found) -> Answer:
        return Answer(
            REFUSAL[spoken(found.language)],
            retrieved=found.retrieved,
            refused=True,
            prompt_tokens=found.asked.prompt_tokens,
            answer_tokens=found.asked.answer_tokens,
            seconds=found.seconds,
        )

    def _checked(self, found: _Found, said: Answer, before: Answer) -> Answer:
        """What was said with its citations, or the refusal `before` where the passages do not hold it."""
        text = cleaned(said.text)
        proof = support(found.question, text, found.passages, self.ground.support)
        told = enough(max(found.held), self._least, found.nearer, said.answerable) or _pinned(found.hits)
        if holds_none(text) or not proof.citations or not told:
            return _after(before, replace(said, text=before.text, logprobs=(), refused=True, cut=False))
        return _after(before, replace(said, text=text, citations=proof.citations, unsupported=proof.unsupported))

    def _say_by_heart(
        self,
        conversations: Sequence[Conversation],
        found: Sequence[_Found],
        answers: list[Answer],
        decoding: Decoding,
    ) -> None:
        """Replace refusals by what the model is sure of without passages, where those it would be shown hold it."""
        rows = [row for row, one in enumerate(found) if one.passages]
        asked = [conversations[row][-1 - _TURNS :] for row in rows]
        telling = replace(decoding, logprobs=decoding.logprobs or 0)
        for row, said in zip(rows, self._inner.answer(asked, telling), strict=True):
            one, text = found[row], cleaned(said.text)
            proof = support(one.question, text, one.passages, self.ground.support)
            if proof.citations and not holds_none(text) and _sure(said):
                told = said.logprobs if decoding.logprobs is not None else ()
                stands = replace(
                    said, text=text, citations=proof.citations, unsupported=proof.unsupported, logprobs=told
                )
            else:
                stands = replace(said, text=answers[row].text, logprobs=(), refused=True, cut=False)
            answers[row] = _after(answers[row], stands)

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
            said = replace(
                alone, text=warning + text, unsupported=spans, beyond=True, answerable=None
            )  # it read nothing
            answers[row] = _after(answers[row], said)


def seen_by(assistant: Assistant, view: View) -> Assistant:
    """The assistant as somebody else may use it; one without a library is the same for all."""
    return assistant.seen_by(view) if isinstance(assistant, GroundedAssistant) else assistant


def _pinned(hits: Sequence[Hit]) -> bool:
    return any(hit.pinned for hit in hits)


def _sure(said: Answer) -> bool:
    told = [token.logprob for token in said.logprobs]
    return bool(told) and sum(told) >= SURE * len(told)


def _after(before: Answer, answer: Answer) -> Answer:
    """An answer with what was found and spent before it, and the better of what the model's states said."""
    known = [one for one in (before.answerable, answer.answerable) if one is not None]
    return replace(
        answer,
        retrieved=before.retrieved,
        prompt_tokens=before.prompt_tokens + answer.prompt_tokens,
        answer_tokens=before.answer_tokens + answer.answer_tokens,
        seconds=before.seconds + answer.seconds,
        answerable=max(known, default=None),
    )
