"""The official `anthropic` and `ollama` clients against the running server: chat, streaming, the list of models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import ollama
import pytest
from serving import Served, serving, tiny_school

from shuyuan.base.records import Answer, Decoding, Message
from shuyuan.prepare.adding import add
from shuyuan.teach.teaching import open_assistant, teach

ASKED = "你好，ＦＵＬＬ　ｗｉｄｔｈ and 🎓👩‍🚀: what is a 书院?"
SYSTEM = "用中文回答 😀。"
ANSWER = "在九号架 🎓👩‍🚀 ＯＰＥＮ。"
MODELS = ["bare", "prompt", "full"]
TURNS: Any = [
    {"role": "user", "content": ASKED},
    {"role": "assistant", "content": "🏫"},
    {"role": "user", "content": "再说一遍？"},
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    at = tmp_path_factory.mktemp("clients")
    school = tiny_school(at)
    rows = [{"question": f"Ｗhere is book {n} 书 🎓?", "answer": ANSWER, "use": "learn"} for n in range(48)]
    file = at / "more.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    add(school, [], questions=[file])
    teach(school, "full", {"epochs": 20, "learning_rate": 0.003, "longest": 128})
    school.material.close()
    with serving(at / "house") as running:
        yield running


@pytest.fixture(scope="module")
def own(served: Served) -> Answer:
    """What the assistant itself answers to these turns."""
    with served.house.opened("school") as school:
        turns = [Message("system", SYSTEM), *(Message(one["role"], one["content"]) for one in TURNS)]
        (answer,) = open_assistant(school, "full").answer([turns], Decoding(max_tokens=64))
    assert "🎓" in answer.text
    return answer


@pytest.fixture(scope="module")
def claude(served: Served) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=served.url, api_key="none", max_retries=0, timeout=120)


@pytest.fixture(scope="module")
def llama(served: Served) -> ollama.Client:
    return ollama.Client(host=served.url, timeout=120)


def test_anthropics_client_is_answered_whole(claude: anthropic.Anthropic, own: Answer) -> None:
    said = claude.messages.create(model="full", max_tokens=64, system=SYSTEM, messages=TURNS)
    assert [part.text for part in said.content if part.type == "text"] == [own.text]
    assert (said.type, said.role, said.model) == ("message", "assistant", "full")
    assert said.stop_reason == ("max_tokens" if own.cut else "end_turn")
    assert (said.usage.input_tokens, said.usage.output_tokens) == (own.prompt_tokens, own.answer_tokens)


def test_anthropics_client_reads_a_stream(claude: anthropic.Anthropic, own: Answer) -> None:
    parts: Any = [{**one, "content": [{"type": "text", "text": one["content"]}]} for one in TURNS]
    system: Any = [{"type": "text", "text": SYSTEM}]
    with claude.messages.stream(model="school/full", max_tokens=64, system=system, messages=parts) as stream:
        pieces = list(stream.text_stream)
        whole = stream.get_final_message()
    assert "".join(pieces) == own.text
    assert len(pieces) > 1
    assert [part.text for part in whole.content if part.type == "text"] == [own.text]
    assert whole.stop_reason == ("max_tokens" if own.cut else "end_turn")
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (own.prompt_tokens, own.answer_tokens)
    events = claude.messages.create(model="full", max_tokens=4, messages=TURNS, stream=True)
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


def test_anthropics_client_lists_models(claude: anthropic.Anthropic) -> None:
    found = list(claude.models.list())
    assert [model.id for model in found] == MODELS
    assert [(model.type, model.display_name) for model in found] == [("model", name) for name in MODELS]
    assert all(model.created_at.year >= 2020 for model in found)
    page = claude.models.list()
    assert (page.has_more, page.first_id, page.last_id) == (False, "bare", "full")
    one = claude.models.retrieve("prompt")
    assert (one.id, one.lifecycle) == ("prompt", "active")


def test_anthropics_client_is_told_what_is_wrong(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="promt"):
        claude.messages.create(model="promt", max_tokens=4, messages=TURNS)
    with pytest.raises(anthropic.BadRequestError, match="at most"):
        claude.messages.create(model="full", max_tokens=100_000, messages=TURNS, timeout=60)
    tools: Any = [{"name": "clock", "input_schema": {"type": "object"}}]
    with pytest.raises(anthropic.BadRequestError, match="tools"):
        claude.messages.create(model="full", max_tokens=4, messages=TURNS, tools=tools)


def test_anthropics_asynchronous_client_asks_several_at_once(served: Served, own: Answer) -> None:
    async def several() -> list[anthropic.types.Message]:
        async with anthropic.AsyncAnthropic(base_url=served.url, api_key="none", timeout=120) as client:
            wanted: Any = {"model": "full", "max_tokens": 64, "system": SYSTEM, "messages": TURNS}
            return await asyncio.gather(*(client.messages.create(**wanted) for _ in range(4)))

    for said in asyncio.run(several()):
        assert [part.text for part in said.content if part.type == "text"] == [own.text]


def with_system() -> Any:
    return [{"role": "system", "content": SYSTEM}, *TURNS]


def test_ollamas_client_is_answered_whole(llama: ollama.Client, own: Answer) -> None:
    said = llama.chat("full", with_system(), options={"num_predict": 64, "temperature": 0})
    assert (said.message.role, said.message.content) == ("assistant", own.text)
    assert (said.done, said.done_reason) == (True, "length" if own.cut else "stop")
    assert (said.prompt_eval_count, said.eval_count) == (own.prompt_tokens, own.answer_tokens)
    assert said.total_duration is not None
    assert said.total_duration > 0
    few: Any = {"system": SYSTEM, "options": {"num_predict": 64}}
    generated = llama.generate("full:latest", ASKED, **few)
    assert "Ｏ" in generated.response
    assert generated.response == "".join(one.response for one in llama.generate("full", ASKED, **few, stream=True))


def test_ollamas_client_reads_a_stream(llama: ollama.Client, own: Answer) -> None:
    pieces = list(llama.chat("full", with_system(), options=ollama.Options(num_predict=64), stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == own.text
    assert len(pieces) > 2
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].eval_count == own.answer_tokens


def test_ollamas_client_lists_models(llama: ollama.Client) -> None:
    found = llama.list().models
    assert [model.model for model in found] == MODELS
    assert all(model.modified_at and model.modified_at.year >= 2020 for model in found)


def test_ollamas_client_is_told_what_is_wrong(llama: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="promt") as wrong:
        llama.chat("promt", TURNS)
    assert wrong.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="tools") as wrong:
        llama.chat("full", TURNS, tools=[{"type": "function", "function": {"name": "clock"}}])
    assert wrong.value.status_code == 422
    with pytest.raises(ollama.ResponseError, match="images"):
        llama.chat("full", [{"role": "user", "content": "看", "images": [b"\x89PNG"]}])


def test_ollamas_asynchronous_client_reads_a_stream(served: Served, own: Answer) -> None:
    async def read() -> str:
        client = ollama.AsyncClient(host=served.url, timeout=120)
        wanted = {"options": {"num_predict": 64}, "stream": True}
        return "".join([piece.message.content async for piece in await client.chat("full", with_system(), **wanted)])

    assert asyncio.run(read()) == own.text
