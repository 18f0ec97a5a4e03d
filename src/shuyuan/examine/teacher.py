"""A model behind an OpenAI-compatible address, used only when the person names it: to write and judge questions."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from shuyuan.base.errors import Fixable
from shuyuan.base.records import GREEDY, Answer, Conversation, Decoding

KEY = "OPENAI_API_KEY"
_SECONDS = 300.0
_MOST_BYTES = 10_000_000


@dataclass(frozen=True)
class Teacher:
    """`https://host/v1#model`: chat completions of that model; the key, if any, is in `OPENAI_API_KEY`."""

    address: str

    @property
    def name(self) -> str:
        """The model's name there."""
        return self.address.partition("#")[2]

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        """See `Assistant`. Raises `Fixable` for an address that does not answer as OpenAI's API does."""
        return [self._one(conversation, decoding) for conversation in conversations]

    def stream(self, conversation: Conversation, decoding: Decoding = GREEDY) -> Generator[str, None, Answer]:
        """See `Assistant`; in one piece."""
        answer = self._one(conversation, decoding)
        yield answer.text
        return answer

    def nats(self, texts: Sequence[str]) -> list[float]:
        """Not told by this API."""
        raise Fixable("a server does not tell how likely a text is", "use an assistant of this workspace for it")

    def _one(self, conversation: Conversation, decoding: Decoding) -> Answer:
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": turn.role, "content": turn.content} for turn in conversation],
            "temperature": decoding.temperature,
            "max_tokens": decoding.max_tokens or 256,
        }
        head = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            head["Authorization"] = f"Bearer {key}"
        base = self.address.partition("#")[0].rstrip("/")
        request = urllib.request.Request(f"{base}/chat/completions", json.dumps(body).encode(), head)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
                told = json.loads(reply.read(_MOST_BYTES))
            text, usage = told["choices"][0]["message"]["content"], told.get("usage") or {}
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise Fixable(
                f"{base} gave no answer: {reason}", f"check the address, the model's name and ${KEY}"
            ) from None
        return Answer(
            str(text or "").strip(),
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            answer_tokens=int(usage.get("completion_tokens") or 0),
        )


def is_address(name: str) -> bool:
    """Whether a name is `http(s)://…#model`; one without a model is a `Fixable`."""
    if not name.startswith(("http://", "https://")):
        return False
    if not name.partition("#")[2]:
        raise Fixable(f"{name} names no model", "write it behind a #: https://host/v1#model")
    return True
