"""Chat and generation as Ollama's API has them, for programs that speak nothing else."""

from __future__ import annotations

import datetime
import json
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from shuyuan import __version__
from shuyuan.base.records import Answer, Decoding, Message
from shuyuan.base.settings import Settings
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.limits import MOST_TOKENS, Body
from shuyuan.serve.refusals import OllamaError, described
from shuyuan.serve.speaking import Talk, while_there
from shuyuan.serve.sse import begun, written

router = APIRouter(prefix="/api", tags=["ollama"], responses=described(OllamaError))
_LINES: dict[int | str, dict[str, Any]] = {200: {"content": {"application/x-ndjson": {"schema": {}}}}}  # streamed
Asker = Annotated[Visitor, Depends(Door("ask"))]
Reader = Annotated[Visitor, Depends(Door("read"))]
Text = Annotated[str, Field(max_length=2_000_000)]
Unread = Annotated[list[Any] | None, Field(max_length=0, description="cannot take effect here: refused unless empty")]


class Ollama(Settings):
    """Endpoints `/api/chat`, `/api/generate`, `/api/tags` and `/api/version`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class Options(Body):
    """How the answer is to be written; Ollama's other options tune its own engine and mean nothing here."""

    model_config = ConfigDict(extra="ignore")
    num_predict: int = Field(default=0, ge=-2, le=MOST_TOKENS, description="0 or less: as many as the assistant allows")
    temperature: float = Field(default=0, ge=0, le=2)
    top_p: float = Field(default=1, gt=0, le=1)
    seed: int = Field(default=0, ge=0, le=2**62)
    stop: list[Annotated[str, Field(min_length=1)]] = Field(default=[], max_length=4)


class OllamaMessage(Body):
    """One turn."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "user", "assistant"]
    content: Text
    images: Unread = None


class _Wanted(Body):
    model_config = ConfigDict(extra="ignore")
    model: str = Field(min_length=1, max_length=300, description="with or without `:latest`")
    stream: bool = True
    options: Options = Options()
    format: Literal["", "json"] | dict[str, Any] | None = None


class OllamaChat(_Wanted):
    """A conversation to be answered."""

    messages: list[OllamaMessage] = Field(min_length=1, max_length=2000)
    tools: Unread = None


class OllamaPrompt(_Wanted):
    """A prompt to be answered."""

    prompt: Annotated[str, Field(min_length=1, max_length=2_000_000)]
    system: Text = ""
    images: Unread = None


class OllamaModels(BaseModel):
    """The models that can be asked."""

    models: list[dict[str, Any]]


@router.post("/chat", response_model=dict[str, Any], responses=_LINES)
async def ollama_chat(request: Request, visitor: Asker, wanted: OllamaChat) -> Any:
    """Answer a conversation, as lines of JSON or whole."""
    turns = [Message(one.role, one.content) for one in wanted.messages]
    return await _answered(request, visitor, wanted, turns, "message")


@router.post("/generate", response_model=dict[str, Any], responses=_LINES)
async def ollama_generate(request: Request, visitor: Asker, wanted: OllamaPrompt) -> Any:
    """Answer a prompt, as lines of JSON or whole."""
    turns = [*([Message("system", wanted.system)] if wanted.system else []), Message("user", wanted.prompt)]
    return await _answered(request, visitor, wanted, turns, "response")


@router.get("/tags")
def ollama_models(visitor: Reader) -> OllamaModels:
    """The assistants that you may see, in Ollama's form."""
    return OllamaModels(
        models=[
            {"name": one["id"], "model": one["id"], "modified_at": _time(one["created"]), "size": 0, "details": {}}
            for one in visitor.house.models(visitor)
        ]
    )


@router.get("/version")
def ollama_version() -> dict[str, str]:
    """The version of this server."""
    return {"version": __version__}


async def _answered(request: Request, visitor: Visitor, wanted: _Wanted, turns: list[Message], form: str) -> Any:
    house, options = visitor.house, wanted.options
    workspace, name = await run_in_threadpool(house.resolve, visitor, wanted.model.removesuffix(":latest"))
    schema = "{}" if wanted.format == "json" else json.dumps(wanted.format) if wanted.format else ""
    tokens = min(max(0, options.num_predict), house.bounds.answer_tokens)
    decoding = Decoding(tokens, options.temperature, options.top_p, options.seed, tuple(options.stop), None, schema)
    talk = Talk(workspace, partial(house.assistant, visitor, workspace, name), turns, decoding)
    if not wanted.stream:
        answer = await while_there(request, house.speaker.answer(talk))
        return {**_piece(wanted.model, answer.text, form), **_end(answer)}
    pieces = await while_there(request, begun(house.speaker.pieces(talk)))
    lines = written(request, pieces, partial(_line, wanted.model, form), _as_line)
    return StreamingResponse(lines, media_type="application/x-ndjson")


def _line(model: str, form: str, piece: str | Answer) -> str:
    if isinstance(piece, str):
        said = {**_piece(model, piece, form), "done": False}
    else:
        said = {**_piece(model, "", form), **_end(piece)}
    return _as_line(said)


def _as_line(said: dict[str, Any]) -> str:
    return json.dumps(said, ensure_ascii=False) + "\n"


def _piece(model: str, text: str, form: str) -> dict[str, Any]:
    said = {"message": {"role": "assistant", "content": text}} if form == "message" else {"response": text}
    return {"model": model, "created_at": _time(datetime.datetime.now(datetime.UTC).timestamp()), **said}


def _end(answer: Answer) -> dict[str, Any]:
    nanoseconds = round(answer.seconds * 1e9)
    return {
        "done": True,
        "done_reason": "length" if answer.cut else "stop",
        "total_duration": nanoseconds,
        "prompt_eval_count": answer.prompt_tokens,
        "eval_count": answer.answer_tokens,
        "eval_duration": nanoseconds,
    }


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")
