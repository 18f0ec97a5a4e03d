"""OpenAI's chat requests as people send them → a conversation and how its answer is to be written; and calls back."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from shuyuan.base.records import Decoding, Message, Role
from shuyuan.load import tools as tools_of
from shuyuan.serve.access import WithinBody
from shuyuan.serve.limits import MOST_TOKENS, Body
from shuyuan.serve.refusals import Refused

MOST_CHARACTERS = 2_000_000  # of one text; the body's own bound is lower
MOST_CHOICES = 8
Text = Annotated[str, Field(max_length=MOST_CHARACTERS)]


class Part(Body):
    """A part of a message; only text can be read here."""

    type: Literal["text"]
    text: Text


class Function(Body):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[\w.-]+$")
    description: Text = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    strict: bool | None = None


class Tool(Body):
    """What the model may use."""

    type: Literal["function"]
    function: Function


class CalledFunction(Body):
    """A call: `arguments` is JSON."""

    name: str = Field(max_length=64)
    arguments: Text


class Call(Body):
    """A call of an earlier turn."""

    id: str = Field(default="", max_length=200)
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Body):
    """One turn."""

    model_config = ConfigDict(extra="ignore")  # clients send back whole answers: annotations, refusal, audio …
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Annotated[list[Part], Field(max_length=1000)] | None = None
    name: str | None = Field(default=None, max_length=200)
    tool_calls: list[Call] | None = Field(default=None, max_length=128)
    tool_call_id: str | None = Field(default=None, max_length=200)

    @property
    def text(self) -> str:
        """Its text, parts joined."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class ChosenFunction(Body):
    """The name of the function that has to be called."""

    name: str = Field(max_length=64)


class ToolChoice(Body):
    """The one function that has to be called."""

    type: Literal["function"]
    function: ChosenFunction


class JsonSchema(Body):
    """A schema that the answer has to keep to."""

    model_config = ConfigDict(populate_by_name=True)
    name: str = Field(max_length=64)
    description: str | None = Field(default=None, max_length=10_000)
    schema_: dict[str, Any] = Field(default={}, alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """Text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _with_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is missing")
        return self


class StreamOptions(Body):
    """Whether the last chunk tells the tokens that were used."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatRequest(Body):
    """A request for an answer. What cannot take effect here is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(min_length=1, max_length=300)
    within: WithinBody | None = Field(default=None, description="not OpenAI's: only these documents are looked up")
    messages: list[ChatMessage] = Field(min_length=1, max_length=2000)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=MOST_CHOICES)
    max_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    temperature: float | None = Field(default=None, ge=0, le=2, description="left out: 0, so that answers repeat")
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stop: str | list[str] | None = Field(default=None, max_length=1000)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = Field(default=None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    presence_penalty: float | None = Field(default=None, ge=0, le=0, description="0 only")
    frequency_penalty: float | None = Field(default=None, ge=0, le=0, description="0 only")
    logit_bias: dict[str, float] | None = Field(default=None, max_length=0, description="empty only")
    modalities: list[Literal["text"]] | None = None
    store: bool | None = Field(default=None, description="false: the question is not kept in the workspace")
    # Notes that clients attach for the hosted service; they mean nothing for the answer.
    user: str | None = Field(default=None, max_length=1000)
    metadata: dict[str, str] | None = None
    service_tier: str | None = Field(default=None, max_length=100)
    safety_identifier: str | None = Field(default=None, max_length=1000)
    prompt_cache_key: str | None = Field(default=None, max_length=1000)

    @property
    def choices(self) -> int:
        """How many answers are wanted."""
        return self.n or 1

    def conversation(self) -> list[Message]:
        """The turns; the last one has to be answered."""
        turns = [message_of(message) for message in self.messages]
        if turns[-1].role not in ("user", "tool"):
            raise Refused(400, "the last message must be the user's, or a tool's answer", param="messages")
        return turns

    def decoding(self, most: int) -> Decoding:
        """How the answer is to be written; `most` tokens may be asked for."""
        wanted = self.max_completion_tokens or self.max_tokens or 0
        if wanted > most:
            raise Refused(400, f"at most {most:,} tokens may be asked for", param="max_tokens", code="invalid_value")
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if len(stops) > 4 or not all(stops):
            raise Refused(400, "'stop' takes up to 4 texts, none of them empty", param="stop", code="invalid_value")
        if self.top_logprobs and not self.logprobs:
            raise Refused(400, "'top_logprobs' needs 'logprobs': true", param="top_logprobs", code="invalid_value")
        return Decoding(
            max_tokens=wanted,
            temperature=self.temperature or 0.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=(self.seed or 0) % 2**62,
            stop=stops,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            schema=self._schema(),
            tools="" if self.tool_choice == "none" else self.offered(),
        )

    def offered(self) -> str:
        """The tools as JSON."""
        if not self.tools:
            if self.tool_choice not in (None, "none", "auto"):
                raise Refused(400, "'tool_choice' needs 'tools'", param="tool_choice", code="invalid_value")
            return ""
        return json.dumps([tool.model_dump(exclude_none=True) for tool in self.tools], ensure_ascii=False)

    def _schema(self) -> str:
        """The JSON schema of the answer: what was asked for, or that of a call which has to be made."""
        if self.tools and self.tool_choice not in (None, "none", "auto"):
            named = self.tool_choice.function.name if isinstance(self.tool_choice, ToolChoice) else ""
            wanted = [tool.function for tool in self.tools if named in ("", tool.function.name)]
            if not wanted:
                raise Refused(400, f"there is no tool '{named}'", param="tool_choice", code="invalid_value")
            calls = [_call_schema(function) for function in wanted]
            return json.dumps(calls[0] if len(calls) == 1 else {"anyOf": calls}, ensure_ascii=False)
        form = self.response_format
        if form is None or form.type == "text":
            return ""
        return json.dumps(form.json_schema.schema_, ensure_ascii=False) if form.json_schema else "{}"


def message_of(message: ChatMessage) -> Message:
    """A turn as an assistant reads it."""
    role: Role = "system" if message.role == "developer" else message.role
    calls = message.tool_calls if role == "assistant" else None
    if not calls and message.content is None:
        raise Refused(400, f"a message of the {message.role} has no content", param="messages", code="invalid_value")
    shown = json.dumps([call.model_dump() for call in calls], ensure_ascii=False) if calls else ""
    return Message(role, message.text, tool_calls=shown)


def calls_in(text: str, tools: Sequence[Tool]) -> tuple[str, list[dict[str, Any]]]:
    """What a model's answer says beside its calls, and the calls in OpenAI's form; only offered functions count.

    Beside the form of `load/tools.py`, an answer is read that is nothing but the JSON of a call, as a forced one is.
    """
    beside, given = tools_of.calls_in(text)
    if not given:
        beside, given = tools_of.calls_in(f"<tool_call>{text.strip()}</tool_call>")
    names = {tool.function.name for tool in tools}
    calls = json.loads(given) if given else []
    if not calls or any(call["function"]["name"] not in names for call in calls):
        return text, []
    return beside, [{**call, "id": f"call_{secrets.token_hex(12)}", "type": "function"} for call in calls]


def may_be_a_call(text: str) -> bool:
    """Whether an answer that begins so may turn out to be a call; it is not shown before that is known."""
    begin = text.lstrip()
    return begin[:1] in ("", "{") or begin.startswith("<tool_call>"[: len(begin)])


def _call_schema(function: Function) -> dict[str, Any]:
    arguments = function.parameters or {"type": "object"}
    properties = {"name": {"const": function.name}, "arguments": arguments}
    return {
        "type": "object", "properties": properties, "required": ["name", "arguments"], "additionalProperties": False
    }  # fmt: skip
