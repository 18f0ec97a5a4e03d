"""A model behind any OpenAI-style server (vLLM, SGLang, Ollama, llama.cpp, Shuyuan), as an assistant."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from shuyuan.base.errors import Fixable
from shuyuan.base.records import GREEDY, Answer, Conversation, Decoding, TokenLogprob

KEY = "SHUYUAN_REMOTE_KEY"  # the environment's variable with the server's key
AT_ONCE = 16  # requests at the same time: such servers batch what comes together
TIMEOUT_SECONDS = 600.0
MOST_BYTES = 64_000_000  # of one answer


def is_remote(model: str) -> bool:
    """Whether a model's name is an address: `http://127.0.0.1:8000/v1#name`."""
    return model.startswith(("http://", "https://"))


@dataclass(frozen=True)
class RemoteAssistant:
    """Asks `POST <url>/chat/completions`. `model` is the name it has there; `system` "" sends no system message."""

    name: str
    url: str
    model: str
    system: str = ""
    max_new_tokens: int = 512

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        """Ask for all of them, some at the same time; the server batches them as it sees fit."""

        def one(conversation: Conversation) -> Answer:
            began = time.perf_counter()
            with _asked(self.url, "/chat/completions", self._request(conversation, decoding, False)) as response:
                return _answer(_read(response, self.url), time.perf_counter() - began, self.url)

        if len(conversations) == 1:
            return [one(conversations[0])]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(one, conversations))

    def stream(self, conversation: Conversation, decoding: Decoding = GREEDY) -> Generator[str, None, Answer]:
        """See `Assistant`. Closing the generator closes the connection, at which such servers stop."""
        began, text, calls, logprobs = time.perf_counter(), "", dict[int, dict[str, str]](), list[TokenLogprob]()
        usage, cut = {"prompt_tokens": 0, "completion_tokens": 0}, False
        with _asked(self.url, "/chat/completions", self._request(conversation, decoding, True)) as response:
            for chunk in _events(response, self.url):
                usage |= {name: value for name, value in (chunk.get("usage") or {}).items() if isinstance(value, int)}
                for choice in chunk.get("choices") or ():
                    delta = choice.get("delta") or {}
                    cut = cut or choice.get("finish_reason") == "length"
                    logprobs += _logprobs(choice)
                    _gather(calls, delta.get("tool_calls") or ())
                    if piece := delta.get("content"):
                        text += piece
                        yield piece
        if calls:
            said = _as_text(list(calls.values()))
            text += said
            yield said
        seconds = time.perf_counter() - began
        return Answer(
            text,
            prompt_tokens=usage["prompt_tokens"],
            answer_tokens=usage["completion_tokens"],
            seconds=seconds,
            cut=cut,
            logprobs=tuple(logprobs),
        )

    def nats(self, texts: Sequence[str]) -> list[float]:
        """From `POST <url>/completions` with `echo`, which vLLM has; `Fixable` where a server has it not."""
        found = []
        for text in texts:
            given = {"model": self.model, "prompt": text, "echo": True, "max_tokens": 1, "logprobs": 1}
            try:
                with _asked(self.url, "/completions", given) as response:
                    told = _read(response, self.url)["choices"][0]["logprobs"]
                    inside = [at < len(text) for at in told["text_offset"]]
                    pairs = zip(told["token_logprobs"], inside, strict=True)
                    found.append(-sum(value for value, counts in pairs if counts and value is not None))
            except (Fixable, KeyError, TypeError, IndexError) as error:
                raise Fixable(
                    f"the server at {self.url} does not tell how likely it finds a text",
                    "leave the paper on forgetting out, or open the model here",
                ) from error
        return found

    def _request(self, conversation: Conversation, decoding: Decoding, stream: bool) -> dict[str, Any]:
        turns = _turns(conversation)
        if self.system:
            turns = [{"role": "system", "content": self.system}, *turns]
        given: dict[str, Any] = {
            "model": self.model,
            "messages": turns,
            "max_tokens": decoding.max_tokens or self.max_new_tokens,
            "temperature": decoding.temperature,
            "seed": decoding.seed,
        }
        if decoding.top_p < 1:
            given["top_p"] = decoding.top_p
        if decoding.stop:
            given["stop"] = list(decoding.stop)
        if decoding.logprobs is not None:
            given |= {"logprobs": True, "top_logprobs": decoding.logprobs}
        if decoding.schema:
            schema = json.loads(decoding.schema)
            named = {"name": "answer", "schema": schema, "strict": True}
            form = {"type": "json_schema", "json_schema": named} if schema else {"type": "json_object"}
            given["response_format"] = form
        if decoding.tools:
            given["tools"] = json.loads(decoding.tools)
        if stream:
            given |= {"stream": True, "stream_options": {"include_usage": True}}
        return given


def open_remote(name: str, address: str) -> RemoteAssistant:
    """The assistant at an address; without `#model`, the first model that the server names."""
    url, _, model = address.partition("#")
    url = url.rstrip("/")
    if not urlsplit(url).hostname:
        raise Fixable(f"'{address}' is no address of a server", "write http://host:port/v1#model")
    if not model:
        with _asked(url, "/models", None) as response:
            known = _read(response, url).get("data") or ()
        if not known:
            raise Fixable(f"the server at {url} names no model", "name one: http://host:port/v1#model")
        model = str(known[0]["id"])
    return RemoteAssistant(name, url, model)


@contextmanager
def _asked(url: str, path: str, given: Mapping[str, Any] | None) -> Iterator[HTTPResponse]:
    """The response to a request, which is closed at the end. An error is a `Fixable` with the server's own words."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    if key := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {key}"
    response = None
    try:
        body = None if given is None else json.dumps(given, ensure_ascii=False).encode()
        connection.request("GET" if given is None else "POST", f"{parts.path}{path}", body, headers)
        response = connection.getresponse()
        if response.status != 200:
            raise _refused(url, response)
        yield response
    except (OSError, HTTPException) as error:
        reason = str(error).strip() or type(error).__name__
        if response is not None:
            raise Fixable(f"the server at {url} broke off: {reason}", "ask again") from error
        raise Fixable(f"the server at {url} does not answer: {reason}", "start it, or check its address") from error
    finally:
        connection.close()


def _refused(url: str, response: HTTPResponse) -> Fixable:
    said = response.read(10_000).decode(errors="replace")
    try:
        error = json.loads(said).get("error", said)
        said = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        pass
    hint = f"put its key into the environment: {KEY}=…" if response.status in (401, 403) else ""
    return Fixable(f"the server at {url} refuses ({response.status}): {said[:500]}", hint)


def _read(response: HTTPResponse, url: str) -> dict[str, Any]:
    try:
        content = json.loads(response.read(MOST_BYTES))
    except ValueError as error:
        raise Fixable(f"the server at {url} answers no JSON", "is it an OpenAI-style server?") from error
    if not isinstance(content, dict):
        raise Fixable(f"the server at {url} answers no JSON object", "is it an OpenAI-style server?")
    return content


def _events(response: HTTPResponse, url: str) -> Iterator[dict[str, Any]]:
    """The chunks of a stream; one that breaks off is an error, not a short answer."""
    while line := response.readline(MOST_BYTES):
        data = line.strip().removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or not data:
            continue
        if data == b"[DONE]":
            return
        chunk = json.loads(data)
        if chunk.get("error"):
            error = chunk["error"]
            raise Fixable(f"the server at {url} broke off: {error.get('message', error)}")
        yield chunk
    raise Fixable(f"the server at {url} broke off in the middle of an answer", "ask again")


def _answer(content: Mapping[str, Any], seconds: float, url: str) -> Answer:
    try:
        choice = content["choices"][0]
        message = choice["message"]
    except (KeyError, IndexError, TypeError) as error:
        raise Fixable(f"the server at {url} answers in another form than OpenAI's") from error
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    usage = content.get("usage") or {}
    return Answer(
        (message.get("content") or "") + (_as_text(calls) if calls else ""),
        prompt_tokens=usage.get("prompt_tokens") or 0,
        answer_tokens=usage.get("completion_tokens") or 0,
        seconds=seconds,
        cut=choice.get("finish_reason") == "length",
        logprobs=tuple(_logprobs(choice)),
    )


def _logprobs(choice: Mapping[str, Any]) -> list[TokenLogprob]:
    told = (choice.get("logprobs") or {}).get("content") or ()
    return [
        TokenLogprob(
            one["token"], one["logprob"], tuple((top["token"], top["logprob"]) for top in one.get("top_logprobs") or ())
        )
        for one in told
    ]


def _gather(calls: dict[int, dict[str, str]], deltas: Sequence[Mapping[str, Any]]) -> None:
    """Join the pieces of calls that a stream brings."""
    for delta in deltas:
        call = calls.setdefault(delta.get("index", len(calls)), {"name": "", "arguments": ""})
        function = delta.get("function") or {}
        call["name"] += function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""


def _as_text(calls: Sequence[Mapping[str, str]]) -> str:
    """Calls as models write them in their text."""
    said = []
    for call in calls:
        try:
            arguments = json.loads(call["arguments"] or "{}")
        except ValueError:
            arguments = call["arguments"]
        said.append(json.dumps({"name": call["name"], "arguments": arguments}, ensure_ascii=False))
    return "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in said)


def _turns(conversation: Conversation) -> list[dict[str, Any]]:
    """Messages in OpenAI's form; a tool's answer names the call that it belongs to, in their order."""
    turns, waiting = [], list[str]()
    for number, message in enumerate(conversation):
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            calls = json.loads(message.tool_calls)
            for place, call in enumerate(calls):
                call["id"] = call.get("id") or f"call_{number}_{place}"
                call["type"] = "function"
                if not isinstance(call["function"].get("arguments"), str):
                    call["function"]["arguments"] = json.dumps(call["function"].get("arguments") or {})
            turn["tool_calls"], waiting = calls, [call["id"] for call in calls]
        if message.role == "tool":
            turn["tool_call_id"] = waiting.pop(0) if waiting else f"call_{number}"
        turns.append(turn)
    return turns
