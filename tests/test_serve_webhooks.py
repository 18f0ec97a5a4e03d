"""Webhooks: the official client reads and believes them; none is lost, none is led astray."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai
import pytest
from openai import OpenAI
from serving import Served, serving, tiny_school
from test_serve_openai import ended, rows

from shuyuan.base.errors import Fixable
from shuyuan.serve import webhooks
from shuyuan.serve.state import State
from shuyuan.serve.webhooks import Webhooks


class Address:
    """An address on this machine that keeps what it gets and answers with the given statuses, then with 200."""

    def __init__(self, port: int, answers: list[tuple[int, str]]) -> None:
        self.url = f"http://127.0.0.1:{port}/hook"
        self.answers, self.got = answers, list[tuple[dict[str, str], bytes]]()

    def wait(self, count: int) -> None:
        for _ in range(600):
            if len(self.got) >= count:
                return
            time.sleep(0.05)
        raise AssertionError(f"{len(self.got)} of {count} events came")


@contextmanager
def listening(answers: Sequence[tuple[int, str]] = (), port: int = 0) -> Iterator[Address]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            status, location = address.answers.pop(0) if address.answers else (200, "")
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            address.got.append(({name.lower(): value for name, value in self.headers.items()}, content))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    address = Address(server.server_port, list(answers))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield address
    server.shutdown()
    server.server_close()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_school(tmp_path)
    monkeypatch.setattr(webhooks, "AGAIN_SECONDS", (0.2, 0.2, 0.2))
    return tmp_path / "house"


def client_of(served: Served) -> OpenAI:
    return OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=120)


def cancelled(client: OpenAI) -> str:
    """A job that was cancelled before it began."""
    file = client.files.create(file=("a.jsonl", rows(2)), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(training_file=file.id, model="gpt-4o-mini")
    client.fine_tuning.jobs.cancel(job.id)
    return job.id


def test_the_official_client_believes_an_event_that_came_at_the_second_try(root: Path) -> None:
    with listening([(500, "")]) as address, serving(root, webhooks=(address.url,)) as served:
        client = client_of(served)
        bad = rows(2) + '{"messages": [{"role": "user", "content": "没有回答 🌉"}]}\n'.encode()
        file = client.files.create(file=("bad.jsonl", bad), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(training_file=file.id, model="gpt-4o-mini")
        assert ended(client, job.id).status == "failed"
        address.wait(2)
        secret = served.house.webhooks.secret_file.read_text().strip()
        assert served.house.webhooks.secret_file.stat().st_mode & 0o077 == 0
        first, again = address.got
        event = client.webhooks.unwrap(again[1], again[0], secret=secret)
        assert (event.type, event.data.id) == ("fine_tuning.job.failed", job.id)
        assert first[0]["webhook-id"] == again[0]["webhook-id"] == event.id
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(again[1].replace(b"failed", b"succeeded"), again[0], secret=secret)
        time.sleep(3 * webhooks.LOOK_SECONDS)
        assert len(address.got) == 2, "what has arrived is not sent again"


def test_an_event_outlasts_the_server_and_an_address_that_is_down(root: Path) -> None:
    with serving(root, jobs_run=False) as served:
        cancelled(client_of(served))  # before anyone was to be told
    with listening() as address:
        port = int(address.url.split(":")[2].partition("/")[0])
    with serving(root, jobs_run=False, webhooks=(address.url,)) as served:
        job = cancelled(client_of(served))
        served.house.webhooks.stop()
    with listening(port=port) as address, serving(root, jobs_run=False, webhooks=(address.url,)) as served:
        address.wait(1)
        secret = served.house.webhooks.secret_file.read_text().strip()
        headers, content = address.got[0]
        event = client_of(served).webhooks.unwrap(content, headers, secret=secret)
        assert (event.type, event.data.id) == ("fine_tuning.job.cancelled", job)
        time.sleep(3 * webhooks.LOOK_SECONDS)
        assert len(address.got) == 1


def test_an_event_goes_nowhere_else_and_is_given_up_in_the_end(root: Path) -> None:
    with listening() as elsewhere, listening([(307, elsewhere.url)] * 9) as address:
        with serving(root, jobs_run=False, webhooks=(address.url,)) as served:
            cancelled(client_of(served))
            address.wait(4)
            time.sleep(1 + webhooks.LOOK_SECONDS)
            assert len(address.got) == 4, "the first time and three more"
        assert elsewhere.got == []


@pytest.mark.parametrize("wrong", ["example.com/hook", "file:///etc/passwd", "https://", "http://[::1/x"])
def test_what_is_no_address_is_refused(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(Fixable, match="--webhook cannot use"):
        Webhooks(State(tmp_path / ".serve"), [wrong])
