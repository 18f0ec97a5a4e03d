"""Chat completions as OpenAI's: whole and streamed, several choices, tools, JSON by schema, log probabilities."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from shuyuan.base.records import Answer, Decoding, Message, TokenLogprob
from shuyuan.base.settings import Settings
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.refusals import Refused
from shuyuan.serve.speaking import Talk, while_there
from shuyuan.serve.sse import Event, begun, stream
from shuyuan.serve.wire import ChatRequest, calls_in, may_be_a_call

router = APIRouter(prefix="/v1", tags=["openai"])
Asker = Annotated[Visitor, Depends(Door("ask"))]


class Chat(Settings):
    """Endpoint `/v1/chat/completions`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Said(BaseModel):
    """The answer's message. `annotations` hold the places of the library's documents that it rests on."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    annotations: list[dict[str, Any]] = []
    tool_calls: list[dict[str, Any]] | None = None


class Choice(BaseModel):
    """One answer."""

    index: int
    message: Said
    finish_reason: Literal["stop", "length", "tool_calls"]
    logprobs: dict[str, Any] | None = None


class Completion(BaseModel):
    """The answers to a request."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


@dataclass(frozen=True)
class _Asked:
    """What all choices of one request share."""

    visitor: Visitor
    wanted: ChatRequest
    workspace: str
    assistant: str
    turns: Sequence[Message]
    decoding: Decoding
    id: str
    created: int

    def pieces(self, choice: int) -> AsyncGenerator[str | Answer, None]:
        """One choice, each drawn with a seed of its own."""
        house = self.visitor.house
        decoding = replace(self.decoding, seed=self.decoding.seed + choice)
        opened = partial(house.assistant, self.visitor, self.workspace, self.assistant, self.wanted.within)
        kept = choice == 0 and self.wanted.store is not False
        return house.speaker.pieces(Talk(self.workspace, opened, self.turns, decoding, kept))

    def chunk(self, choices: list[dict[str, Any]], usage: Usage | None = None) -> Event:
        """A chunk of the stream."""
        return Event(
            {
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.wanted.model,
                "choices": choices,
                **({"usage": usage.model_dump()} if usage else {}),
            }
        )


@router.post(
    "/chat/completions",
    response_model=Completion,
    responses={200: {"content": {"text/event-stream": {"schema": {}}}}},
)
async def chat_completions(request: Request, visitor: Asker, wanted: ChatRequest) -> Any:
    """Answer a conversation."""
    workspace, assistant = await run_in_threadpool(visitor.house.resolve, visitor, wanted.model)
    decoding = wanted.decoding(visitor.house.bounds.answer_tokens)
    answer_id, created = f"chatcmpl-{secrets.token_hex(12)}", round(time.time())
    asked = _Asked(visitor, wanted, workspace, assistant, wanted.conversation(), decoding, answer_id, created)
    if wanted.stream:
        return stream(request, await while_there(request, begun(_chunks(asked))))
    answers = await while_there(request, _all(asked))
    choices = [_choice(asked, number, answer) for number, answer in enumerate(answers)]
    return Completion(id=answer_id, created=created, model=wanted.model, choices=choices, usage=_usage(answers))


async def _all(asked: _Asked) -> list[Answer]:
    async def whole(choice: int) -> Answer:
        async for piece in asked.pieces(choice):
            if isinstance(piece, Answer):
                return piece
        raise AssertionError("an answer ends with its record")

    tasks = [asyncio.create_task(whole(choice)) for choice in range(asked.wanted.choices)]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def _chunks(asked: _Asked) -> AsyncGenerator[Event, None]:
    """The chunks of all choices as they come, each choice's last one with why it ended; then the usage, if wanted."""
    came: asyncio.Queue[tuple[int, str | Answer | Exception]] = asyncio.Queue()

    async def follow(choice: int) -> None:
        try:
            async for piece in asked.pieces(choice):
                came.put_nowait((choice, piece))
        except Exception as error:
            came.put_nowait((choice, error))

    tasks = [asyncio.create_task(follow(choice)) for choice in range(asked.wanted.choices)]
    held = [""] * len(tasks)  # what may yet turn out to be a call
    shown = [not asked.decoding.tools] * len(tasks)
    begun_, answers = set[int](), list[Answer]()
    try:
        while len(answers) < len(tasks):
            choice, piece = await came.get()
            if isinstance(piece, Exception):
                raise piece
            if choice not in begun_:
                begun_.add(choice)
                yield asked.chunk([_delta(choice, {"role": "assistant", "content": ""})])
            if isinstance(piece, Answer):
                answers.append(piece)
                for delta in _last(asked, choice, piece, held[choice]):
                    yield asked.chunk([delta])
                continue
            held[choice] += piece
            shown[choice] = shown[choice] or not may_be_a_call(held[choice])
            if shown[choice] and held[choice]:
                yield asked.chunk([_delta(choice, {"content": held[choice]})])
                held[choice] = ""
        if asked.wanted.stream_options and asked.wanted.stream_options.include_usage:
            yield asked.chunk([], _usage(answers))
        yield Event("[DONE]")
    finally:
        for task in tasks:
            task.cancel()


def _last(asked: _Asked, choice: int, answer: Answer, held: str) -> list[dict[str, Any]]:
    """The chunks that end a choice: what was held back, its calls, citations and log probabilities, and why it ends."""
    whole = _choice(asked, choice, answer)
    deltas = []
    if whole.message.tool_calls:
        calls = [{"index": number, **call} for number, call in enumerate(whole.message.tool_calls)]
        deltas.append(_delta(choice, {"tool_calls": calls}))
    elif held:
        deltas.append(_delta(choice, {"content": held}))
    if whole.message.annotations:
        deltas.append(_delta(choice, {"annotations": whole.message.annotations}))
    if whole.logprobs:
        deltas.append({**_delta(choice, {}), "logprobs": whole.logprobs})
    return [*deltas, {**_delta(choice, {}), "finish_reason": whole.finish_reason}]


def _delta(choice: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"index": choice, "delta": delta, "logprobs": None, "finish_reason": None}


def _choice(asked: _Asked, number: int, answer: Answer) -> Choice:
    if asked.decoding.logprobs is not None and answer.answer_tokens and not answer.logprobs:
        raise Refused(400, f"'{asked.wanted.model}' does not tell log probabilities", param="logprobs")
    content, calls = calls_in(answer.text, asked.wanted.tools or ()) if asked.decoding.tools else (answer.text, [])
    message = Said(
        content=content or None if calls else content,
        annotations=[] if calls else _annotations(asked.workspace, answer),
        tool_calls=calls or None,
    )
    ended: Literal["stop", "length", "tool_calls"] = "tool_calls" if calls else "length" if answer.cut else "stop"
    logprobs = {"content": [_logprob(one) for one in answer.logprobs], "refusal": None} if answer.logprobs else None
    return Choice(index=number, message=message, finish_reason=ended, logprobs=logprobs)


def _annotations(workspace: str, answer: Answer) -> list[dict[str, Any]]:
    """The citations as OpenAI's `url_citation`, one for each sentence and each place that speaks for it.

    `content[start_index:end_index]` is the sentence, in characters; the end of the text where none is known. Beside it
    stands the exact place; the address is the document's on this server, with the characters as RFC 5147 writes them.
    """
    end = len(answer.text)
    placed = [(span, cited) for cited in answer.citations for span in cited.supports or ((end, end),)]
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": start,
                "end_index": stop,
                "title": cited.source,
                "url": f"/api/workspaces/{quote(workspace)}/document?source={quote(cited.source)}"
                f"&start={cited.start}&end={cited.end}#char={cited.start},{cited.end}",
            },
            "source": cited.source,
            "start": cited.start,
            "end": cited.end,
            "quote": cited.quote,
            "page": cited.page,
        }
        for (start, stop), cited in sorted(placed, key=lambda one: one[0])
    ]


def _logprob(one: TokenLogprob) -> dict[str, Any]:
    tops = [{"token": t, "logprob": value, "bytes": list(t.encode())} for t, value in one.top]
    return {"token": one.token, "logprob": one.logprob, "bytes": list(one.token.encode()), "top_logprobs": tops}


def _usage(answers: Sequence[Answer]) -> Usage:
    prompt = max((answer.prompt_tokens for answer in answers), default=0)
    said = sum(answer.answer_tokens for answer in answers)
    return Usage(prompt_tokens=prompt, completion_tokens=said, total_tokens=prompt + said)
