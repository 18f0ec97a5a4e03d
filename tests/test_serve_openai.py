"""The official `openai` client against the running server: every call that we promise works unchanged."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from openai import OpenAI
from serving import Served, serving, tiny_school

from shuyuan.base.records import Answer, Citation, Decoding, Message, TokenLogprob
from shuyuan.base.workspace import finished
from shuyuan.teach.teaching import open_assistant

LONG: Any = [{"role": "user", "content": "长" * 5000}]
ASKED: Any = [{"role": "user", "content": "你好, what is a 书院?"}]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    at = tmp_path_factory.mktemp("openai")
    tiny_school(at)
    with serving(at / "house") as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> OpenAI:
    return OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=120)


def test_models_are_assistants_and_hosted_names_stand_for_them(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["bare", "prompt"]
    assert client.models.retrieve("prompt").owned_by == "school"
    assert client.models.retrieve("school/prompt").owned_by == "school/prompt"
    assert client.models.retrieve("gpt-3.5-turbo").owned_by == "school/bare"
    with pytest.raises(openai.NotFoundError) as wrong:
        client.models.retrieve("promt")
    assert wrong.value.code == "model_not_found"
    assert "prompt" in str(wrong.value.body)


def test_a_chat_is_the_assistants_own_answer(served: Served, client: OpenAI) -> None:
    said = client.chat.completions.create(model="bare", messages=ASKED, max_tokens=12)
    with served.house.opened("school") as school:
        conversation = [Message("user", ASKED[0]["content"])]
        (own,) = open_assistant(school, "bare").answer([conversation], Decoding(max_tokens=12))
    assert said.choices[0].message.content == own.text
    assert said.usage is not None
    assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (own.prompt_tokens, own.answer_tokens)
    assert said.usage.total_tokens == own.prompt_tokens + own.answer_tokens
    assert said.choices[0].finish_reason in ("stop", "length")
    assert said.object == "chat.completion"


def test_a_streamed_chat_is_the_whole_one(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="prompt", messages=ASKED, max_tokens=12)
    chunks = list(
        client.chat.completions.create(
            model="prompt", messages=ASKED, max_tokens=12, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert ends == [whole.choices[0].finish_reason]
    assert len({chunk.id for chunk in chunks}) == 1


def test_an_answer_ends_before_a_stop_whole_and_streamed(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "bare", "messages": ASKED, "max_tokens": 40, "temperature": 1, "seed": 7}
    text = client.chat.completions.create(**asked).choices[0].message.content or ""
    stops = ["no such words 🎓", text[len(text) // 2 :][:3]]
    assert stops[1]
    whole = client.chat.completions.create(**asked, stop=stops).choices[0]
    assert (whole.message.content, whole.finish_reason) == (text[: text.index(stops[1])], "stop")
    chunks = client.chat.completions.create(**asked, stop=stops, stream=True)
    assert "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices) == whole.message.content


def test_several_choices_are_all_there_whole_and_streamed(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "bare", "messages": ASKED, "max_tokens": 8, "n": 3, "temperature": 1, "seed": 7}
    whole = client.chat.completions.create(**asked)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    again = client.chat.completions.create(**asked)
    assert [c.message.content for c in again.choices] == [c.message.content for c in whole.choices], "the seed decides"
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == [choice.message.content for choice in whole.choices]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"messages": []}, "messages"),
        ({"n": 0}, "n"),
        ({"n": 10**18}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1_000_000}, "max_tokens"),
        ({"max_tokens": 100_000}, "max_tokens"),
        ({"temperature": 1e18}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"messages": [{"role": "assistant", "content": "I say so."}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"extra_body": {"no_such_thing": 1}}, "no_such_thing"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_in_the_apis_own_form(client: OpenAI, wrong: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{"model": "bare", "messages": ASKED, **wrong})
    assert str(refused.value.param).startswith(param)
    assert refused.value.type == "invalid_request_error"


def test_an_unknown_model_and_a_too_long_prompt_are_refused_streamed_too(client: OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="nobody", messages=ASKED, stream=stream)
        with pytest.raises(openai.BadRequestError, match="tokens"):
            client.chat.completions.create(model="bare", messages=LONG, stream=stream)


def test_embeddings_are_the_embedders_in_both_encodings(served: Served, client: OpenAI) -> None:
    texts = ["山长什么时候上任？", "When does the library open?"]
    given = client.embeddings.create(model="text-embedding-3-small", input=texts)
    own = served.house.embedder("multilingual-e5-small").embed(texts, "query")
    assert np.allclose([row.embedding for row in given.data], own, atol=1e-6)
    plain = client.embeddings.create(model="multilingual-e5-small", input=texts, encoding_format="float")
    assert np.allclose([row.embedding for row in plain.data], own, atol=1e-6)
    raw = client.embeddings.with_raw_response.create(model="text-embedding-3-small", input=texts[0])
    packed = json.loads(raw.text)["data"][0]["embedding"]
    assert np.allclose(np.frombuffer(base64.b64decode(packed), "<f4"), own[0], atol=1e-6)
    assert given.usage.prompt_tokens > 4
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="text-embedding-3-small", input="a", dimensions=7)
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="no-embedder", input="a")


def test_images_are_refused_as_not_supported(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(prompt="a gate 山门", model="dall-e-3")
    assert refused.value.code == "unsupported_operation"


def test_files_come_back_as_they_were(client: OpenAI, tmp_path: Path) -> None:
    content = rows(3)
    made = client.files.create(file=("训练 a.jsonl", content), purpose="fine-tune")
    assert (made.bytes, made.filename, made.purpose) == (len(content), "训练 a.jsonl", "fine-tune")
    assert client.files.retrieve(made.id).id == made.id
    assert client.files.content(made.id).read() == content
    others = [client.files.create(file=(f"{n}.jsonl", content), purpose="fine-tune").id for n in range(3)]
    assert [file.id for file in client.files.list(limit=2)][:4] == [*reversed(others), made.id], "pages join up"
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=("a.csv", b"a,b"), purpose="fine-tune")


def rows(count: int, start: int = 0) -> bytes:
    """Chats as OpenAI's format has them."""
    chats = [
        {
            "messages": [
                {"role": "system", "content": "You know the shelves."},
                {"role": "user", "content": f"Where is book {n} 书?"},
                {"role": "assistant", "content": f"On shelf {n * 7 % 50}。"},
            ]
        }
        for n in range(start, start + count)
    ]
    return "".join(json.dumps(chat, ensure_ascii=False) + "\n" for chat in chats).encode()


def ended(client: OpenAI, job: str) -> Any:
    for _ in range(1200):
        found = client.fine_tuning.jobs.retrieve(job)
        if found.status in ("succeeded", "failed", "cancelled"):
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def test_the_cookbooks_flow_from_upload_to_an_answer(served: Served, client: OpenAI) -> None:
    """As in OpenAI's notebook "How to fine-tune chat models": upload twice, create, follow, ask the tuned model."""
    training = client.files.create(file=("train.jsonl", rows(48)), purpose="fine-tune")
    validation = client.files.create(file=("valid.jsonl", rows(8, 100)), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        training_file=training.id, validation_file=validation.id, model="gpt-3.5-turbo", suffix="recipe-ner", seed=1
    )
    assert job.status == "validating_files"
    assert job.trained_tokens is None
    assert job.hyperparameters.n_epochs == "auto"
    done = ended(client, job.id)
    assert done.status == "succeeded", served.house.queue.log(job.id).read_text()
    assert done.trained_tokens > 1000
    assert done.fine_tuned_model.startswith("ft:gpt-3.5-turbo:school:recipe-ner:")
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=10))
    said = [event.message for event in reversed(events)]
    assert said[0] == f"Created fine-tuning job: {job.id}"
    assert said[-2:] == [f"New fine-tuned model created: {done.fine_tuned_model}", "The job has successfully completed"]
    steps = [event for event in events if event.type == "metrics"]
    assert [event.data["step"] for event in reversed(steps)] == list(range(1, 37)), "6 epochs of 48 chats, 8 at a time"
    assert said[3].startswith("Step 1/36: training loss=")
    assert any("validation loss=" in one for one in said)
    (checkpoint,) = client.fine_tuning.jobs.checkpoints.list(job.id)
    assert checkpoint.fine_tuned_model_checkpoint == done.fine_tuned_model
    table = client.files.content(done.result_files[0]).read().decode().splitlines()
    assert table[0] == "step,train_loss,valid_loss,learning_rate"
    assert len(table) == 37
    answer = client.chat.completions.create(
        model=done.fine_tuned_model, messages=[{"role": "user", "content": "Where is book 3 书?"}], temperature=0
    )
    run = served.house.state.row("select run from models where id = ?", (done.fine_tuned_model,))
    assert run is not None
    with served.house.opened("school") as school:
        own = open_assistant(school, run["run"]).answer([[Message("user", "Where is book 3 书?")]])[0]
        assert school.material.counts()["examples"] == 48, "the workspace's own examples are untouched"
    assert answer.choices[0].message.content == own.text
    assert done.fine_tuned_model in [model.id for model in client.models.list()]
    again = client.fine_tuning.jobs.create(
        training_file=training.id, model=done.fine_tuned_model, hyperparameters={"n_epochs": 1, "batch_size": 16}
    )
    assert ended(client, again.id).status == "succeeded", "a tuned model can be tuned further"
    assert client.models.delete(done.fine_tuned_model).deleted
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(done.fine_tuned_model)


def pairs(count: int, start: int = 0) -> bytes:
    """Preferences as OpenAI's format has them."""
    made = [
        {
            "input": {"messages": [{"role": "user", "content": f"Where is book {n} 书?"}], "tools": []},
            "preferred_output": [{"role": "assistant", "content": f"On shelf {n * 7 % 50}。"}],
            "non_preferred_output": [{"role": "assistant", "content": "很抱歉，I cannot say 🎓."}],
        }
        for n in range(start, start + count)
    ]
    return "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in made).encode()


def test_preferences_are_taught_by_the_method_dpo(served: Served, client: OpenAI) -> None:
    training = client.files.create(file=("pairs.jsonl", pairs(48)), purpose="fine-tune")
    validation = client.files.create(file=("valid.jsonl", pairs(8, 100)), purpose="fine-tune")
    hyper: Any = {"beta": 0.2, "n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": 10}
    job = client.fine_tuning.jobs.create(
        training_file=training.id,
        validation_file=validation.id,
        model="gpt-4o-mini",
        method={"type": "dpo", "dpo": {"hyperparameters": hyper}},
    )
    done = ended(client, job.id)
    assert done.status == "succeeded", served.house.queue.log(job.id).read_text()
    assert done.method.type == "dpo"
    assert done.method.dpo.hyperparameters.beta == 0.2
    assert done.method.dpo.hyperparameters.batch_size == "auto"
    assert done.hyperparameters.n_epochs == 2
    steps = [event.data for event in client.fine_tuning.jobs.list_events(job.id) if event.type == "metrics"]
    assert len(steps) == 12, "2 epochs of 48 pairs, 8 at a time"
    assert {"train_loss", "train_accuracy"} <= steps[0].keys()
    assert steps[0]["valid_accuracy"] == 1.0
    (checkpoint,) = client.fine_tuning.jobs.checkpoints.list(job.id)
    answer = client.chat.completions.create(model=checkpoint.fine_tuned_model_checkpoint, messages=ASKED, max_tokens=8)
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    run = served.house.state.row("select run from models where id = ?", (done.fine_tuned_model,))
    assert run is not None
    with served.house.opened("school") as school:
        kept = finished(school.run(run["run"])) or {}
    assert (kept["route"], kept["settings"]["beta"]) == ("dpo", 0.2)


def test_a_wrong_pair_fails_the_job_and_names_its_line(client: OpenAI) -> None:
    lone = pairs(2) + b'{"input": {"messages": [{"role": "user", "content": "q"}]}, "preferred_output": []}\n'
    for bad, what in ((lone, "no 'non_preferred_output'"), (rows(2), "this row has one answer")):
        file = client.files.create(file=("bad.jsonl", bad), purpose="fine-tune")
        job = ended(
            client, client.fine_tuning.jobs.create(training_file=file.id, model="gpt-4o", method={"type": "dpo"}).id
        )
        assert job.status == "failed"
        assert what in job.error.message
        assert job.error.message.startswith("line ")


def test_a_wrong_row_fails_the_job_and_names_its_line(client: OpenAI) -> None:
    bad = rows(2) + b'{"messages": [{"role": "user", "content": "no answer"}]}\n'
    file = client.files.create(file=("bad.jsonl", bad), purpose="fine-tune")
    job = ended(client, client.fine_tuning.jobs.create(training_file=file.id, model="gpt-4o-mini").id)
    assert job.status == "failed"
    assert job.error.message.startswith("line 3: the last turn is the user's; the answer to learn is missing")


def test_tuning_refuses_what_it_cannot_do(client: OpenAI) -> None:
    file = client.files.create(file=("a.jsonl", rows(2)), purpose="fine-tune")
    create: Any = client.fine_tuning.jobs.create
    for wrong in (
        {"method": {"type": "reinforcement"}},
        {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0}}}},
        {"method": {"type": "dpo", "dpo": {"hyperparameters": {"gamma": 1}}}},
        {"method": {"type": "dpo"}, "metadata": {"route": "lora"}},
        {"metadata": {"route": "dpo"}},
        {"training_file": "file-none"},
        {"hyperparameters": {"n_epochs": 0}},
        {"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]},
        {"suffix": "x" * 65},
        {"metadata": {"route": "retrieve"}},
    ):
        with pytest.raises(openai.BadRequestError):
            create(**{"training_file": file.id, "model": "gpt-3.5-turbo", **wrong})
    with pytest.raises(openai.NotFoundError):
        create(training_file=file.id, model="nobody")
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.retrieve("ftjob-none")


def test_a_job_is_paused_resumed_and_cancelled(client: OpenAI) -> None:
    file = client.files.create(file=("long.jsonl", rows(400)), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        training_file=file.id, model="gpt-3.5-turbo", hyperparameters={"n_epochs": 200}, metadata={"why": "a pause"}
    )
    assert [one.id for one in client.fine_tuning.jobs.list(metadata={"why": "a pause"})] == [job.id]
    client.fine_tuning.jobs.pause(job.id)
    for _ in range(600):
        if (status := str(client.fine_tuning.jobs.retrieve(job.id).status)) == "paused":
            break
        time.sleep(0.1)
    assert status == "paused"
    assert client.fine_tuning.jobs.resume(job.id).status in ("queued", "validating_files")
    client.fine_tuning.jobs.cancel(job.id)
    assert ended(client, job.id).status == "cancelled"
    with pytest.raises(openai.ConflictError):
        client.fine_tuning.jobs.cancel(job.id)


class Scripted:
    """An assistant that says what it is told, in pieces, with a citation and its tokens' log probabilities."""

    name = "scripted"

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.cited = (Citation("手册/书院.md", 7, 12, "正月初八。", passage_id="p"),)
        self.asked: list[Any] = []

    def stream(self, conversation: Any, decoding: Decoding) -> Any:
        self.asked.append((conversation, decoding))
        yield from self.pieces
        told = tuple(TokenLogprob(piece, -0.5, ((piece, -0.5), ("或", -1.0))) for piece in self.pieces)
        return Answer("".join(self.pieces), self.cited, ("p",), prompt_tokens=3, answer_tokens=2, logprobs=told)


def scripted(monkeypatch: pytest.MonkeyPatch, served: Served, *pieces: str) -> Scripted:
    speaker = Scripted(*pieces)
    monkeypatch.setattr(served.house, "assistant", lambda *_: speaker)
    return speaker


def test_citations_and_log_probabilities_come_whole_and_streamed(
    served: Served, client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, served, "正月", "初八")
    asked: dict[str, Any] = {"model": "bare", "messages": ASKED, "logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**asked).choices[0]
    (cited,) = whole.message.annotations or ()
    assert (cited.type, cited.url_citation.title, cited.url_citation.end_index) == ("url_citation", "手册/书院.md", 4)
    assert cited.url_citation.url.endswith("#char=7,12")
    assert whole.logprobs is not None
    assert whole.logprobs.content is not None
    assert [(one.token, one.logprob, len(one.top_logprobs)) for one in whole.logprobs.content] == [
        ("正月", -0.5, 2),
        ("初八", -0.5, 2),
    ]
    chunks = [choice for chunk in client.chat.completions.create(**asked, stream=True) for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in chunks) == "正月初八"
    (shown,) = [one for choice in chunks for one in (choice.delta.model_extra or {}).get("annotations", ())]
    assert shown == cited.model_dump()
    assert [t.token for c in chunks if c.logprobs for t in c.logprobs.content or ()] == ["正月", "初八"]


def test_each_annotation_spans_a_sentence_that_its_place_speaks_for(
    served: Served, client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = "😀 Ｎine arches. ", "正月初八。", "Nobody knows. "
    said = first + third + second
    speaker = scripted(monkeypatch, served, first + third, second)
    at = len(first + third)
    speaker.cited = (
        Citation("手册/书院.md", 7, 12, "正月初八。", passage_id="p", supports=((at, at + 5),)),
        Citation("桥.md", 0, 9, "Ｎine arches", page=3, passage_id="q", supports=((0, 14), (at, at + 5))),
    )
    whole = client.chat.completions.create(model="bare", messages=ASKED).choices[0].message
    assert whole.content == said
    spans = [(one.url_citation.title, one.url_citation) for one in whole.annotations or ()]
    assert [(title, said[one.start_index : one.end_index]) for title, one in spans] == [
        ("桥.md", "😀 Ｎine arches."),
        ("手册/书院.md", "正月初八。"),
        ("桥.md", "正月初八。"),
    ]
    chunks = client.chat.completions.create(model="bare", messages=ASKED, stream=True)
    shown = [one for chunk in chunks for one in (chunk.choices[0].delta.model_extra or {}).get("annotations", ())]
    assert shown == [one.model_dump() for one in whole.annotations or ()]


TOOL: Any = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def test_calls_of_tools_come_whole_and_streamed_and_their_answers_go_back(
    served: Served, client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ("<tool", '_call>\n{"name": "look_up", ', '"arguments": {"书": 1}}\n</tool_call>')
    speaker = scripted(monkeypatch, served, *said)
    asked: dict[str, Any] = {"model": "bare", "messages": ASKED, "tools": [TOOL]}
    choice = client.chat.completions.create(**asked).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls or ()
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("look_up", {"书": 1})
    chunks = [one for chunk in client.chat.completions.create(**asked, stream=True) for one in chunk.choices]
    assert not any(one.delta.content for one in chunks), "a call is not shown as text"
    (streamed,) = [call for one in chunks for call in one.delta.tool_calls or ()]
    assert streamed.function is not None
    assert streamed.function.name == "look_up"
    assert chunks[-1].finish_reason == "tool_calls"
    turns: Any = [*ASKED, choice.message, {"role": "tool", "tool_call_id": call.id, "content": "九万卷"}]
    client.chat.completions.create(**{**asked, "messages": turns})
    conversation, decoding = speaker.asked[-1]
    assert [turn.role for turn in conversation] == ["user", "assistant", "tool"]
    assert json.loads(conversation[1].tool_calls)[0]["function"]["name"] == "look_up"
    assert json.loads(decoding.tools)[0]["function"]["name"] == "look_up"
    client.chat.completions.create(**asked, tool_choice="none")
    assert speaker.asked[-1][1].tools == ""
    client.chat.completions.create(**asked, tool_choice={"type": "function", "function": {"name": "look_up"}})
    assert json.loads(speaker.asked[-1][1].schema)["properties"]["name"] == {"const": "look_up"}


def test_json_by_a_schema_is_asked_for_and_given(served: Served, client: OpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    form: Any = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema}}
    said = client.chat.completions.create(model="bare", messages=ASKED, response_format=form, max_tokens=40)
    assert json.loads(said.choices[0].message.content or "")["n"] in (1, 2)
    said = client.chat.completions.create(model="bare", messages=ASKED, stop=["\n"], max_tokens=5, logprobs=True)
    assert said.choices[0].logprobs is not None
