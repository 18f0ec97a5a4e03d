"""Messages as Anthropic's API has them, for programs that speak nothing else."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from shuyuan.base.records import Answer, Decoding, Message
from shuyuan.base.settings import Settings
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.limits import MOST_TOKENS, Body
from shuyuan.serve.refusals import AnthropicError, Refused, described
from shuyuan.serve.speaking import Talk, while_there
from shuyuan.serve.sse import Event, begun, stream
from shuyuan.serve.wire import Part

router = APIRouter(prefix="/v1", tags=["anthropic"], responses=described(AnthropicError))
Asker = Annotated[Visitor, Depends(Door("ask"))]
Content = Annotated[str, Field(max_length=2_000_000)] | Annotated[list[Part], Field(max_length=1000)]


class Anthropic(Settings):
    """Endpoint `/v1/messages`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class AnthropicTurn(Body):
    """One turn; its content is text, or parts of text."""

    role: Literal["user", "assistant"]
    content: Content


class AnthropicRequest(Body):
    """A conversation to be answered. What cannot take effect here is refused."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(min_length=1, max_length=300)
    max_tokens: int = Field(ge=1, le=MOST_TOKENS)
    messages: list[AnthropicTurn] = Field(min_length=1, max_length=2000)
    system: Content | None = None
    stream: bool = False
    temperature: float = Field(default=0, ge=0, le=1)
    top_p: float = Field(default=1, gt=0, le=1)
    stop_sequences: list[Annotated[str, Field(min_length=1)]] = Field(default=[], max_length=4)
    metadata: dict[str, Any] | None = None


class AnthropicUsage(BaseModel):
    """Tokens."""

    input_tokens: int
    output_tokens: int


class AnthropicMessage(BaseModel):
    """An answer."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[dict[str, Any]]
    stop_reason: Literal["end_turn", "max_tokens"] | None
    stop_sequence: str | None = None
    usage: AnthropicUsage


@router.post(
    "/messages",
    response_model=AnthropicMessage,
    responses={200: {"content": {"text/event-stream": {"schema": {}}}}},
)
async def messages(request: Request, visitor: Asker, wanted: AnthropicRequest) -> Any:
    """Answer a conversation, whole or as events."""
    house = visitor.house
    if wanted.max_tokens > house.bounds.answer_tokens:
        raise Refused(400, f"at most {house.bounds.answer_tokens:,} tokens may be asked for", param="max_tokens")
    if wanted.messages[-1].role != "user":
        raise Refused(400, "the last message must be the user's", param="messages")
    workspace, name = await run_in_threadpool(house.resolve, visitor, wanted.model)
    system = [Message("system", _text(wanted.system))] if wanted.system else []
    turns = [*system, *(Message(turn.role, _text(turn.content)) for turn in wanted.messages)]
    stops = tuple(wanted.stop_sequences)
    decoding = Decoding(wanted.max_tokens, wanted.temperature, wanted.top_p, 0, stops)
    talk = Talk(workspace, partial(house.assistant, visitor, workspace, name), turns, decoding)
    answer_id = f"msg_{secrets.token_hex(12)}"
    if wanted.stream:
        pieces = house.speaker.pieces(talk)
        return stream(request, await while_there(request, begun(_events(answer_id, wanted.model, pieces))))
    answer = await while_there(request, house.speaker.answer(talk))
    return _message(answer_id, wanted.model, answer)


def _text(content: Content) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _message(answer_id: str, model: str, answer: Answer | None) -> AnthropicMessage:
    answer_ = answer or Answer("")
    return AnthropicMessage(
        id=answer_id,
        model=model,
        content=[{"type": "text", "text": answer_.text}] if answer else [],
        stop_reason=("max_tokens" if answer_.cut else "end_turn") if answer else None,
        usage=AnthropicUsage(input_tokens=answer_.prompt_tokens, output_tokens=answer_.answer_tokens),
    )


async def _events(
    answer_id: str, model: str, pieces: AsyncGenerator[str | Answer, None]
) -> AsyncGenerator[Event, None]:
    def event(kind: str, **given: Any) -> Event:
        return Event(json.dumps({"type": kind, **given}, ensure_ascii=False), kind)

    begun_ = False
    try:
        async for piece in pieces:
            if not begun_:
                begun_ = True
                yield event("message_start", message=_message(answer_id, model, None).model_dump())
                yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            if isinstance(piece, str):
                yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
                continue
            whole = _message(answer_id, model, piece)
            yield event("content_block_stop", index=0)
            delta = {"stop_reason": whole.stop_reason, "stop_sequence": None}
            yield event("message_delta", delta=delta, usage=whole.usage.model_dump())
            yield event("message_stop")
    finally:
        await pieces.aclose()
