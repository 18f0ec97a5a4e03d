"""A model that answers conversations through its own chat template, and says how likely it finds a text."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from jinja2 import TemplateError

from shuyuan.base.errors import Fixable
from shuyuan.base.records import GREEDY, Answer, Conversation, Decoding, Message, TokenLogprob
from shuyuan.load.batching import Ask, Row
from shuyuan.load.choosing import Likely
from shuyuan.load.generate import going
from shuyuan.load.model import Model
from shuyuan.load.saying import Speech, Stream
from shuyuan.load.shaping import mask_of
from shuyuan.load.telling import likelihoods
from shuyuan.prepare.chat import render

WINDOW = 1024  # tokens read at once when a text is measured
SHARED = 256  # tokens of the window before that the next window reads again


@dataclass(frozen=True)
class ModelAssistant:
    """A bare or tuned model as an assistant. `system` "" leaves the template's own system message in place, if any.

    `declines`: it learned to say nothing where what it was given holds no answer. It says something in any case, and
    how far it was from saying nothing is `Answer.answerable`. `learned`: its weights were taught answers. `untaught`:
    the model before that, where it reads passages better than what became of it.
    """

    name: str
    model: Model
    system: str = ""
    max_new_tokens: int = 96
    declines: bool = False
    learned: bool = False
    untaught: Model | None = None

    def prompt(self, conversation: Conversation, tools: str = "") -> list[int]:
        """The tokens of a conversation up to where the answer begins; `tools` as in `Decoding`.

        A model without a chat template (a base model) reads the turns as paragraphs.
        """
        turns = [Message("system", self.system), *conversation] if self.system else list(conversation)
        tokenizer = self.model.tokenizer
        if not tokenizer.chat_template and not tools:
            return self._tokens("".join(turn.content + "\n\n" for turn in turns), True)
        try:
            text = render(turns, tokenizer, True, tools)
            blind = bool(tools) and text == render(turns, tokenizer, True)
        except TemplateError as error:
            hint = "change the roles and their order, or choose another model"
            raise Fixable(f"this model's chat template refuses the conversation: {error}", hint) from None
        if blind:
            hint = "choose a model that was made to call tools, or offer none"
            raise Fixable("this model's chat template has no place for tools", hint)
        return self._tokens(text, False)

    def _tokens(self, text: str, special: bool) -> list[int]:
        try:
            return list(self.model.tokenizer(text, add_special_tokens=special)["input_ids"])
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of a pattern that tries without end; it is no Exception
                raise
            hint = "shorten or change the text, or choose another model"
            raise Fixable(f"this model's tokenizer breaks off at the text: {error}", hint) from None

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        """See `Assistant`; `seconds` is each answer's even share of the time for all of them."""
        began = time.perf_counter()
        streams = [Stream(Speech(self.model.tokenizer, decoding.stop)) for _ in conversations]
        asks = [self._ask(conversation, decoding) for conversation in conversations]
        if decoding.stop:  # somebody has to listen; else it is enough to read what was said
            asks = [replace(ask, listener=stream) for ask, stream in zip(asks, streams, strict=True)]
        with going(self.model, asks) as rows:
            for row, stream in zip(rows, streams, strict=True):
                for token in [] if row.wait().ask.listener else row.said:
                    stream.speech.hear(token)
        seconds = (time.perf_counter() - began) / max(1, len(rows))
        return [self._answered(row, stream.speech, seconds)[0] for row, stream in zip(rows, streams, strict=True)]

    def stream(self, conversation: Conversation, decoding: Decoding = GREEDY) -> Generator[str, None, Answer]:
        """See `Assistant`."""
        began = time.perf_counter()
        stream = Stream(Speech(self.model.tokenizer, decoding.stop))
        with going(self.model, [replace(self._ask(conversation, decoding), listener=stream)]) as (row,):
            while (piece := stream.pieces.get()) is not None:
                yield piece
            row.wait()
        answer, rest = self._answered(row, stream.speech, time.perf_counter() - began)
        if rest:
            yield rest
        return answer

    def _ask(self, conversation: Conversation, decoding: Decoding) -> Ask:
        if not (decoding.temperature >= 0 and 0 < decoding.top_p <= 1 and decoding.max_tokens >= 0):
            raise Fixable(
                f"nothing can be drawn with temperature {decoding.temperature}, top_p {decoding.top_p} and "
                f"max_tokens {decoding.max_tokens}",
                "temperature and max_tokens are 0 or more, top_p is above 0 and at most 1",
            )
        return Ask(
            self.prompt(conversation, decoding.tools),
            decoding.max_tokens or self.max_new_tokens,
            self.model.end_tokens,
            decoding.temperature,
            decoding.top_p,
            decoding.seed,
            decoding.logprobs,
            mask=mask_of(self.model, decoding.schema) if decoding.schema else None,
            speaks=self.declines,
        )

    def _answered(self, row: Row, speech: Speech, seconds: float) -> tuple[Answer, str]:
        """The whole answer of a row that has ended, and what of its text was not said yet."""
        rest = speech.end(row.cut)
        tokens = row.said
        told = row.likelihoods
        if told and speech.stopped:  # tokens that brought the stop are not part of the text
            texts = (
                self.model.tokenizer.decode(tokens[:count], skip_special_tokens=True) for count in range(len(tokens))
            )
            told = told[: next((n for n, text in enumerate(texts) if len(text.lstrip()) >= len(speech.text)), None)]
        answer = Answer(
            speech.text,
            prompt_tokens=len(row.ask.prompt),
            answer_tokens=len(tokens),
            seconds=seconds,
            cut=row.cut and not speech.stopped,
            logprobs=tuple(self._told(each) for each in told),
            prompt=str(self.model.tokenizer.decode(row.ask.prompt)),
            answerable=-row.silence if self.declines else None,
        )
        return answer, rest

    def _told(self, likely: Likely) -> TokenLogprob:
        decode = self.model.tokenizer.decode
        return TokenLogprob(
            decode([likely.token]), likely.logprob, tuple((decode([t]), value) for t, value in likely.top)
        )

    def nats(self, texts: Sequence[str]) -> list[float]:
        """The negative log-likelihood of each text in nats, summed over all of its tokens; 0.0 for an empty text.

        Every token counts, the first too: it is predicted from the model's start token. A text longer than `WINDOW`
        tokens is read in windows that overlap by `SHARED` tokens, and each token is counted once.
        """
        size = min(WINDOW, self.model.context)
        windows = [
            (row, window)
            for row, text in enumerate(texts)
            for window in _windows(self.model.start_token, self._tokens(text, False), size)
        ]
        sums = [0.0] * len(texts)
        found = likelihoods(self.model, [window for _, window in windows])
        for (row, _), likely in zip(windows, found, strict=True):
            sums[row] -= sum(each.logprob for each in likely)
        return sums


def _windows(start: int, tokens: Sequence[int], size: int) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """(tokens that are only read, tokens that count) until every token was counted once, `size` of them at a time."""
    whole, counted = [start, *tokens], 1
    while counted < len(whole):
        begin = max(0, counted - min(SHARED, size // 2))
        yield whole[begin:counted], whole[counted : begin + size]
        counted = begin + size
