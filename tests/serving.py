"""A real server in a thread of the test's process, on a tiny real model."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from tiny import tiny_folder

from shuyuan.base.workspace import Choices, Workspace
from shuyuan.prepare.adding import add
from shuyuan.serve.app import build_app
from shuyuan.serve.house import House
from shuyuan.serve.limits import Bounds
from shuyuan.serve.serving import Server, configured
from shuyuan.teach.teaching import teach


class Served:
    """A running server: its house, its port, and plain requests to it."""

    def __init__(self, house: House, port: int) -> None:
        self.house, self.port = house, port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(
        self, method: str, path: str, given: Any = None, headers: dict[str, str] | None = None, raw: bytes | None = None
    ) -> tuple[int, Any, HTTPResponse]:
        """Status, the body read as JSON where it is, and the response with its headers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        body = raw if raw is not None else json.dumps(given).encode() if given is not None else None
        sent = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, body, {**sent, **(headers or {})})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        try:
            return response.status, json.loads(content), response
        except ValueError:
            return response.status, content, response

    def upload(self, path: str, files: dict[str, bytes], field: str = "files", **fields: str) -> tuple[int, Any]:
        """A multipart upload."""
        mark = "----shuyuan"
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        for name, content in files.items():
            head = f'--{mark}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
            parts.append(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n")
        raw = b"".join(parts) + f"--{mark}--\r\n".encode()
        status, body, _ = self.send(
            "POST", path, raw=raw, headers={"Content-Type": f"multipart/form-data; boundary={mark}"}
        )
        return status, body

    def job(self, job: str, workspace: str = "school", seconds: float = 120) -> dict[str, Any]:
        """A job, once it has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            _, found, _ = self.send("GET", f"/api/workspaces/{workspace}/jobs/{job}")
            if found["status"] in ("done", "failed", "cancelled", "paused"):
                return dict(found)
            time.sleep(0.1)
        raise AssertionError(f"the job has not ended: {found}")


def tiny_school(at: Path, name: str = "school", embedder: str = Choices().embedder) -> Workspace:
    """A workspace on a tiny model, with a document, questions and examples, and the assistant `prompt`."""
    folder = at / "model"
    if not folder.exists():
        tiny_folder(folder)
    (at / "手册").mkdir(exist_ok=True)
    text = "# 书院\n\n山长每年正月初八上任。\n\nThe library opens at nine.\n"
    (at / "手册" / "书院.md").write_text(text, encoding="utf-8")
    rows: list[dict[str, Any]] = [
        {"question": "山长什么时候上任？", "answer": "正月初八", "use": "exam", "source": "手册/书院.md"},
        {"question": "Who built the bridge?", "answer": None, "use": "exam"},
    ]
    rows += [
        {"question": f"Where is book {n} 书?", "answer": f"On shelf {n * 7 % 50}。", "use": "learn"} for n in range(48)
    ]
    (at / "quiz.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    workspace = Workspace.create(at / "house" / name, Choices(model=str(folder), embedder=embedder))
    add(workspace, [at / "手册"], questions=[at / "quiz.jsonl"])
    teach(workspace, "prompt")
    workspace.material.close()
    return Workspace.open(workspace.folder)


@contextmanager
def serving(
    root: Path,
    bounds: Bounds | None = None,
    hosts: tuple[str, ...] = (),
    page: Path | None = None,
    *,
    jobs_run: bool = True,
    webhooks: tuple[str, ...] = (),
) -> Iterator[Served]:
    """A server over a folder, as `shuyuan serve` starts it; without `jobs_run`, jobs are accepted and wait."""
    house = House(root, bounds, hosts=hosts, webhooks=webhooks)
    if not jobs_run:
        house.queue.start = lambda: None  # type: ignore[method-assign]
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(256)
    server = Server(configured(build_app(house, page or root / "no page")))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield Served(house, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
