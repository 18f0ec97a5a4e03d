"""Streams that break off say so in each client's own form; readers who take nothing are cut off, slow ones are not."""

from __future__ import annotations

import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest
from serving import Served, serving

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Answer
from shuyuan.base.workspace import Workspace
from shuyuan.serve import serving as serving_
from shuyuan.serve.limits import Bounds

TURNS: Any = [{"role": "user", "content": "说 ＦＵＬＬ 🎉"}]
WORDS = "书院 🎓 ＯＰＥＮ "


class Speaking:
    """An assistant that says `words` so often, with a pause after each, and then fails if it is to."""

    name = "speaking"

    def __init__(self, often: int, words: str = WORDS, pause: float = 0.02, failure: Exception | None = None) -> None:
        self.often, self.words, self.pause, self.failure = often, words, pause, failure
        self.said = self.going = 0
        self.lock = threading.Lock()

    def stream(self, *_: object) -> Any:
        with self.lock:
            self.going += 1
        try:
            for _ in range(self.often):
                self.said += 1
                yield self.words
                time.sleep(self.pause)
            if self.failure:
                raise self.failure
            return Answer(self.words * self.often, answer_tokens=self.often)
        finally:
            with self.lock:
                self.going -= 1


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("streams")
    Workspace.create(at / "school")
    return at


@contextmanager
def speaking(root: Path, who: Speaking, bounds: Bounds | None = None) -> Iterator[Served]:
    with serving(root, bounds, jobs_run=False) as served:
        served.house.assistant = lambda *_: who  # type: ignore[method-assign, assignment, return-value]
        yield served


def by_openai(url: str) -> Iterator[str]:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    for chunk in client.chat.completions.create(model="bare", messages=TURNS, stream=True):
        yield chunk.choices[0].delta.content or ""


def by_anthropic(url: str) -> Iterator[str]:
    client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
    with client.messages.stream(model="bare", max_tokens=64, messages=TURNS) as stream:
        yield from stream.text_stream


def by_ollama_chat(url: str) -> Iterator[str]:
    for piece in ollama.Client(host=url).chat("bare", TURNS, stream=True):
        yield piece.message.content or ""


def by_ollama_generate(url: str) -> Iterator[str]:
    for piece in ollama.Client(host=url).generate("bare", "说 🎉", stream=True):
        yield piece.response


CLIENTS = [
    pytest.param(by_openai, openai.APIError, id="openai"),
    pytest.param(by_anthropic, anthropic.APIStatusError, id="anthropic"),
    pytest.param(by_ollama_chat, ollama.ResponseError, id="ollama-chat"),
    pytest.param(by_ollama_generate, ollama.ResponseError, id="ollama-generate"),
]


@pytest.mark.parametrize(("read", "error"), CLIENTS)
def test_a_server_that_stops_in_mid_answer_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[str], Iterator[str]], error: type[Exception]
) -> None:
    monkeypatch.setattr(serving_, "ENDING_SECONDS", serving_.SHUTDOWN_SECONDS)  # without waiting for it to end
    with speaking(root, Speaking(500)) as served:
        pieces = read(served.url)
        heard = [next(pieces), next(pieces)]
    with pytest.raises(error, match="being stopped"):
        heard.extend(pieces)
    assert set(filter(None, heard)) <= {WORDS}


@pytest.mark.parametrize(("read", "error"), CLIENTS)
@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (Fixable("the memory does not suffice 内存不够 😀", "choose a smaller model"), "内存不够 😀"),
        (RuntimeError("of no concern to anybody"), "should not have happened"),
    ],
)
def test_a_model_that_fails_in_mid_answer_is_told(
    root: Path, read: Callable[[str], Iterator[str]], error: type[Exception], failure: Exception, said: str
) -> None:
    heard: list[str] = []
    with speaking(root, Speaking(3, failure=failure)) as served:
        with pytest.raises(error, match=said):
            heard.extend(read(served.url))
        assert becomes(lambda: served.house.speaker.going == 0)
    assert "".join(heard) == WORDS * 3


def test_an_answer_cut_by_time_ends_as_one_cut_at_its_length(root: Path) -> None:
    with speaking(root, Speaking(500), Bounds(answer_seconds=0.2)) as served:
        pieces = list(ollama.Client(host=served.url).chat("bare", TURNS, stream=True))
        assert (pieces[-1].done, pieces[-1].done_reason) == (True, "length")
        with anthropic.Anthropic(base_url=served.url, api_key="none").messages.stream(
            model="bare", max_tokens=64, messages=TURNS
        ) as stream:
            assert stream.get_final_message().stop_reason == "max_tokens"


FORMS = {
    "/v1/chat/completions": {"model": "bare", "messages": TURNS, "stream": True},
    "/v1/messages": {"model": "bare", "messages": TURNS, "max_tokens": 64, "stream": True},
    "/api/chat": {"model": "bare", "messages": TURNS},
    "/api/workspaces/school/ask": {"question": "说 🎉", "assistant": "bare", "stream": True},
}


def asked(served: Served, path: str, **more: object) -> socket.socket:
    """A connection on which a question was sent; nothing of its answer is read yet, and little fits into it."""
    content = json.dumps({**FORMS[path], **more}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.settimeout(60)
    reader.connect(("127.0.0.1", served.port))
    reader.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return reader


def read_out(reader: socket.socket) -> bytes:
    return b"".join(iter(lambda: reader.recv(1 << 20), b""))


def becomes(right: Callable[[], bool], seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while not right() and time.monotonic() < until:
        time.sleep(0.05)
    return right()


def connections(served: Served) -> int:
    """Connections that the server holds, of any kind."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    own = [row.split() for row in rows]
    return sum(row[1].endswith(f":{served.port:04X}") and row[3] == "01" for row in own)  # 01: established


@pytest.mark.parametrize("path", FORMS)
def test_who_never_reads_is_cut_off_and_all_is_free_again(root: Path, path: str) -> None:
    """An answer far longer than a connection holds, which would go on for minutes."""
    long = Speaking(20_000, words="字" * 20_000, pause=0.01)
    with speaking(root, long, Bounds(answers_at_once=2, answers_waiting=0, unread_seconds=1)) as served:
        readers = [asked(served, path) for _ in range(2)]
        try:
            assert becomes(lambda: long.going == 2)
            assert served.house.speaker.going == 2
            tracemalloc.start()
            assert becomes(lambda: tracemalloc.get_traced_memory()[0] > 2_000_000), "it waits in memory"
            assert becomes(lambda: served.house.speaker.going == 0)
            assert (long.going, served.house.speaker.waiting) == (0, 0)
            assert becomes(lambda: connections(served) == 0)
            assert becomes(lambda: tracemalloc.get_traced_memory()[0] < 1_000_000), "nothing of it is held any more"
        finally:
            tracemalloc.stop()
        assert long.said < 2_000
        for reader in readers:
            with pytest.raises(ConnectionResetError):
                read_out(reader)
            reader.close()
        served.house.assistant = lambda *_: Speaking(3)  # type: ignore[method-assign, assignment, return-value]
        assert "".join(by_openai(served.url)) == WORDS * 3, "the places are free"


def test_an_answer_that_has_ended_does_not_wait_for_ever_either(root: Path) -> None:
    """Whole and streamed answers that were written to their end; a connection that would be kept for the next."""
    with speaking(root, Speaking(100, words="字" * 20_000, pause=0), Bounds(unread_seconds=1)) as served:
        readers = [asked(served, "/v1/chat/completions", stream=stream) for stream in (True, False)]
        assert becomes(lambda: connections(served) == 2)
        assert becomes(lambda: connections(served) == 0, seconds=20)
        for reader in readers:
            with pytest.raises(ConnectionResetError):
                read_out(reader)
            reader.close()


def test_who_reads_slowly_gets_it_all(root: Path) -> None:
    """Longer than the bound, and never faster than a few kilobytes at a time."""
    wordy = Speaking(12, words="字" * 20_000, pause=0)
    with speaking(root, wordy, Bounds(unread_seconds=1)) as served, asked(served, "/api/chat") as reader:
        assert becomes(lambda: wordy.said == 12)
        began, got = time.monotonic(), b""
        while b'"done": true' not in got[-400:]:
            got += reader.recv(8192)
            time.sleep(0.05)
        assert time.monotonic() - began > 3
    assert got.decode().count("字") == 12 * 20_000
