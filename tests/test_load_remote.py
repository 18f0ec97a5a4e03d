"""A model behind a server answers as it does here; the server is our own, over a real connection."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Served, serving, tiny_school

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Decoding, Message, ask
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.load.remote import _turns, open_remote
from shuyuan.serve.wire import Function, Tool, calls_in
from shuyuan.teach.teaching import open_assistant, teach


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    at = tmp_path_factory.mktemp("remote")
    tiny_school(at)
    with serving(at / "house") as running:
        yield running


def test_it_answers_as_the_model_itself_whole_streamed_and_in_a_workspace(served: Served, tmp_path: Path) -> None:
    far = Workspace.create(tmp_path / "far", Choices(model=f"{served.url}/v1#bare"))
    remote = open_assistant(far, "bare")
    with served.house.opened("school") as school:
        here = open_assistant(school, "bare")
        asked = [ask("你好吗？"), ask("What is a 书院? 😀"), ask("c")]
        decoding = Decoding(max_tokens=10)
        own, theirs = here.answer(asked, decoding), remote.answer(asked, decoding)
        instructed = open_assistant(school, "prompt").answer(asked, decoding)
    assert [answer.text for answer in theirs] == [answer.text for answer in own]
    assert [(a.prompt_tokens, a.answer_tokens, a.cut) for a in theirs] == [
        (a.prompt_tokens, a.answer_tokens, a.cut) for a in own
    ]
    pieces, end = [], None
    stream = remote.stream(asked[0], decoding)
    while end is None:
        try:
            pieces.append(next(stream))
        except StopIteration as stop:
            end = stop.value
    assert "".join(pieces) == end.text == own[0].text
    assert end.answer_tokens == own[0].answer_tokens
    far_prompt = teach(far, "prompt")
    assert [answer.text for answer in far_prompt.answer(asked, decoding)] == [answer.text for answer in instructed]
    with pytest.raises(Fixable, match="needs the model itself"):
        teach(far, "lora")


def test_without_a_name_the_first_model_is_taken(served: Served) -> None:
    assert open_remote("bare", f"{served.url}/v1").model == "bare"


def test_what_the_server_refuses_is_said_in_its_words(served: Served) -> None:
    with pytest.raises(Fixable, match=r"refuses \(404\): The model 'nobody' does not exist"):
        open_remote("x", f"{served.url}/v1#nobody").answer([ask("a")])
    with pytest.raises(Fixable, match="does not tell how likely"):
        open_remote("x", f"{served.url}/v1#bare").nats(["a"])
    with pytest.raises(Fixable, match="is no address"):
        open_remote("x", "http://#m")


def test_a_server_that_is_gone_is_an_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Fixable, match="does not answer"):
        open_remote("x", f"http://127.0.0.1:{port}/v1#m").answer([ask("a")])


@pytest.mark.parametrize("reset", [False, True])
def test_a_server_that_breaks_off_is_an_error_not_a_short_answer(reset: bool) -> None:
    heard = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as half:

        def answer_half() -> None:
            connection, _ = half.accept()
            with connection:
                connection.recv(65536)
                chunk = b'data: {"choices": [{"delta": {"content": "half"}}]}\n\n'
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + chunk)
                heard.wait(60)
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=answer_half)
        thread.start()
        stream = open_remote("x", f"http://127.0.0.1:{half.getsockname()[1]}/v1#m").stream(ask("a"))
        assert next(stream) == "half"
        heard.set()
        with pytest.raises(Fixable, match="broke off"):
            next(stream)
        thread.join()


def test_calls_and_their_answers_find_each_other() -> None:
    calls = '[{"function": {"name": "f", "arguments": {"书": 1}}}, {"function": {"name": "g", "arguments": "{}"}}]'
    turns = _turns(
        [Message("user", "a"), Message("assistant", "", tool_calls=calls), Message("tool", "1"), Message("tool", "2")]
    )
    ids = [call["id"] for call in turns[1]["tool_calls"]]
    assert [turn["tool_call_id"] for turn in turns[2:]] == ids
    assert turns[1]["tool_calls"][0]["function"]["arguments"] == '{"\\u4e66": 1}'
    tools = [Tool(type="function", function=Function(name="f"))]
    text = 'So:\n<tool_call>\n{"name": "f", "arguments": {"书": 1}}\n</tool_call>'
    beside, (call,) = calls_in(text, tools)
    assert beside == "So:"
    assert call["function"] == {"name": "f", "arguments": '{"书": 1}'}
    for plain in ("A plain answer about f.", '<tool_call>{"name": "g", "arguments": {}}</tool_call>'):
        assert calls_in(plain, tools) == (plain, [])
    assert calls_in('{"name": "f", "arguments": {}}', tools)[1][0]["function"]["arguments"] == "{}"
