"""The page's own API over a real connection: what the page shows is what the workspace holds."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import openai
import pytest
from serving import Served, serving, tiny_school

from shuyuan.base.records import Answer
from shuyuan.base.shelf import choices
from shuyuan.base.workspace import Workspace
from shuyuan.examine.exam import exam
from shuyuan.examine.papers import USUAL
from shuyuan.load.model import open_tokenizer
from shuyuan.load.pulling import models, pull
from shuyuan.serve import serving as serving_
from shuyuan.serve.limits import Bounds
from shuyuan.teach.teaching import teach

SCHOOL = "/api/workspaces/school"
HAN = re.compile("[\u4e00-\u9fff]")
NUMBER = re.compile(r"[\d.]+")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a library and an exam."""
    at = tmp_path_factory.mktemp("page")
    school = tiny_school(at)
    teach(school, "retrieve", {"threshold": -1.0})
    exam(school, ["bare", "prompt"], "first", general=2)
    school.material.close()
    return at / "house"


@pytest.fixture(scope="module")
def served(root: Path) -> Iterator[Served]:
    page = root.parent / "dist"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html><title>书院</title>", encoding="utf-8")
    (page / "assets" / "app.js").write_text("1", encoding="utf-8")
    with serving(root, page=page) as running:
        yield running


def test_workspaces_and_what_is_in_them(served: Served) -> None:
    _, (brief,), _ = served.send("GET", "/api/workspaces")
    assert brief["name"] == "school"
    assert brief["assistants"] == ["bare", "prompt", "retrieve"]
    assert brief["exams"] == ["first"]
    _, whole, _ = served.send("GET", SCHOOL)
    assert whole["counts"] == {"files": 1, "documents": 1, "passages": 1, "examples": 48, "questions": 2}
    assert whole["default_assistant"] == "retrieve"
    assert [one["route"] for one in whole["taught"]] == ["", "prompt", "retrieve"]
    assert not any(one["stale"] for one in whole["taught"])
    status, made, _ = served.send("POST", "/api/workspaces", {"name": "新书院", "model": "smollm2-135m"})
    assert (status, made["model"]) == (201, "smollm2-135m")
    for wrong in ({"name": "x", "model": "/etc"}, {"name": "x", "embedder": "no"}, {"name": "a/b"}, {"name": ""}):
        assert served.send("POST", "/api/workspaces", wrong)[0] in (400, 404, 422)


def test_every_route_comes_with_the_schema_of_its_settings(served: Served) -> None:
    _, body, _ = served.send("GET", "/api/routes")
    assert [route["name"] for route in body["routes"]] == list(choices("teach"))
    lora = next(route for route in body["routes"] if route["name"] == "lora")
    rank = lora["schema"]["properties"]["rank"]
    assert (rank["default"], rank["minimum"], rank["maximum"]) == (16, 1, 512)
    assert rank["description"]
    assert lora["moves_weights"]
    assert set(body["guards"]["properties"]) == {"hold_out", "patience", "forget_limit"}


def test_papers_are_offered_and_those_named_are_sat(served: Served) -> None:
    _, body, _ = served.send("GET", "/api/papers")
    assert {paper["name"] for paper in body["papers"]} == choices("examine").keys()
    assert tuple(paper["name"] for paper in body["papers"] if paper["usual"]) == USUAL
    assert body["schema"]["properties"]["k"]["default"] == 5
    order = {"assistants": ["bare"], "name": "papers", "papers": ["own", "held-out"], "general": 1}
    status, wrong, _ = served.send("POST", f"{SCHOOL}/jobs/exam", {**order, "papers": ["robustnes"]})
    assert (status, wrong["error"]["message"]) == (404, "there is no 'robustnes' to examine with")
    assert "robustness" in wrong["error"]["hint"]
    _, job, _ = served.send("POST", f"{SCHOOL}/jobs/exam", order)
    assert served.job(job["id"])["status"] == "done"
    _, scores, _ = served.send("GET", f"{SCHOOL}/exams/papers")
    marked = {name.partition("/")[0] for name in scores["assistants"]["bare"]["marks"]}
    assert marked == {"knowledge", "own", "held-out"}


def test_documents_are_uploaded_read_shown_and_removed(served: Served) -> None:
    text = "# 藏书楼\n\n藏书楼有九万卷书。\n\n😀 The tower has nine floors.\n"
    status, job = served.upload(f"{SCHOOL}/documents", {"楼 a.md": text.encode(), "坏.pdf": b"%PDF-1.7 no"})
    assert status == 202
    assert served.job(job["id"])["result"]["read"] == 1
    _, listed, _ = served.send("GET", f"{SCHOOL}/documents?find=uploads")
    by_name = {row["source"]: row for row in listed["data"]}
    assert by_name["uploads/楼 a.md"]["title"] == "藏书楼"
    assert by_name["uploads/楼 a.md"]["passages"] == 1
    assert "坏.pdf" in by_name["uploads/坏.pdf"]["fault"]
    at = text.index("藏书楼有")
    query = f"source=uploads/%E6%A5%BC%20a.md&start={at}&end={at + 9}"
    _, whole, _ = served.send("GET", SCHOOL)
    assert {one["name"]: bool(one["stale"]) for one in whole["taught"]}["retrieve"], "documents have come since"
    _, piece, _ = served.send("GET", f"{SCHOOL}/document?{query}")
    assert piece["text"] == "藏书楼有九万卷书。"
    assert (piece["start"], piece["end"], piece["characters"]) == (at, at + 9, len(text))
    first = served.send("GET", f"{SCHOOL}/documents?limit=1")[1]
    second = served.send("GET", f"{SCHOOL}/documents?limit=9&after={quote(first['data'][0]['source'])}")[1]
    assert first["has_more"]
    named = "&".join(f"source={quote(one)}" for one in ("uploads/楼 a.md", "手册/书院.md", "手册/没有.md"))
    found = served.send("GET", f"{SCHOOL}/documents?{named}")[1]["data"]
    assert [one["source"] for one in found] == ["uploads/楼 a.md", "手册/书院.md"], "of those that are named"
    assert not second["has_more"]
    assert served.send("DELETE", f"{SCHOOL}/documents?source=uploads/%E6%A5%BC%20a.md")[0] == 204
    assert served.send("GET", f"{SCHOOL}/document?{query}")[0] == 404
    assert not (served.house.folder("school") / "uploads" / "楼 a.md").exists()


def test_questions_and_examples_are_listed_in_pages(served: Served) -> None:
    _, questions, _ = served.send("GET", f"{SCHOOL}/questions?limit=1")
    assert questions["total"] == 2
    assert questions["data"][0]["text"] == "山长什么时候上任？"
    _, examples, _ = served.send("GET", f"{SCHOOL}/examples?skip=40&limit=100")
    assert (len(examples["data"]), examples["total"]) == (8, 48)
    origin = examples["data"][0]["place"].rpartition(":")[0]
    assert served.send("GET", f"{SCHOOL}/examples?origin={origin}")[1]["total"] == 48


def events_of(served: Served, path: str, given: Any) -> list[tuple[str, Any]]:
    _, raw, response = served.send("POST", path, given)
    assert response.getheader("Content-Type", "").startswith("text/event-stream"), raw
    blocks = [block for block in raw.decode().split("\n\n") if block and not block.startswith(":")]
    return [(b.split("\n")[0].removeprefix("event: "), json.loads(b.split("data: ")[1])) for b in blocks]


def test_an_answer_streamed_is_the_whole_one(served: Served) -> None:
    asked = {"question": "你好 😀", "assistant": "prompt", "max_tokens": 20}
    _, whole, _ = served.send("POST", f"{SCHOOL}/ask", asked)
    events = events_of(served, f"{SCHOOL}/ask", {**asked, "stream": True})
    assert [name for name, _ in events][-1] == "answer"
    assert "".join(data["text"] for name, data in events if name == "piece") == whole["text"]
    streamed = events[-1][1]
    assert {**streamed, "seconds": 0} == {**whole, "seconds": 0}
    status, refused, _ = served.send("POST", f"{SCHOOL}/ask", {**asked, "mode": "query"})
    assert (status, refused["error"]["param"]) == (400, "mode")


def test_search_tells_its_scores_and_the_passages_are_there(served: Served) -> None:
    _, found, _ = served.send("POST", f"{SCHOOL}/search", {"text": "什么时候上任", "k": 3})
    hit = found["hits"][0]
    assert hit["source"] == "手册/书院.md"
    assert hit["score"] > 0
    assert hit["cosine"] is not None
    _, text, _ = served.send("GET", f"{SCHOOL}/document?source=%E6%89%8B%E5%86%8C/%E4%B9%A6%E9%99%A2.md")
    assert text["text"][hit["start"] : hit["end"]] == hit["text"]
    _, (passage,), _ = served.send("GET", f"{SCHOOL}/passages?id={hit['passage_id']}&id=none")
    assert passage["text"] == hit["text"]
    assert served.send("POST", f"{SCHOOL}/search", {"text": "x", "assistant": "bare"})[0] == 400
    _, answer, _ = served.send("POST", f"{SCHOOL}/ask", {"question": "When does the library open?", "max_tokens": 9})
    assert answer["assistant"] == "retrieve"
    assert answer["retrieved"]


def test_tokens_join_to_the_text(served: Served) -> None:
    text = "书院 shuyuan 😀"
    _, body, _ = served.send("POST", f"{SCHOOL}/tokens", {"text": text})
    assert body["count"] == len(body["tokens"]) == len(text.encode()), "this model reads bytes"
    assert {(one["start"], one["end"]) for one in body["tokens"]} == {(n, n + 1) for n in range(len(text))}
    here = [one.entry.name for one in models() if one.present and one.entry.kind == "language"]
    assert [one["model"] for one in body["others"]] == here
    for one in body["others"]:
        ids = open_tokenizer(pull(one["model"]))(text, add_special_tokens=False)["input_ids"]
        assert one["count"] == len(ids) > 0


def test_a_look_before_teaching_writes_nothing(served: Served, root: Path) -> None:
    before = sorted(path.name for path in (root / "school" / "runs").iterdir())
    status, look, _ = served.send("POST", f"{SCHOOL}/preflight", {"route": "lora", "settings": {"epochs": 2}})
    assert status == 200, look
    assert (look["sequences"], look["held_out"], look["steps"]) == (44, 4, 12)
    assert "⟦" in look["sample"]
    assert sorted(path.name for path in (root / "school" / "runs").iterdir()) == before
    assert served.send("POST", f"{SCHOOL}/preflight", {"route": "prompt"})[0] == 400


def test_exams_are_read_and_the_report_runs_in_a_sandbox(served: Served) -> None:
    _, exams, _ = served.send("GET", f"{SCHOOL}/exams")
    assert {brief["name"]: brief["questions"] for brief in exams}["first"] == 2
    _, scores, _ = served.send("GET", f"{SCHOOL}/exams/first")
    assert set(scores["assistants"]) == {"bare", "prompt"}
    _, rows, _ = served.send("GET", f"{SCHOOL}/exams/first/answers?assistant=bare")
    assert len(rows) == 4
    assert "knowledge/accuracy" in rows[0]["marks"]
    _, page, response = served.send("GET", f"{SCHOOL}/exams/first/report.html")
    assert b"<html" in page
    assert "sandbox" in (response.getheader("Content-Security-Policy") or "")
    assert response.getheader("X-Frame-Options") == "SAMEORIGIN"
    assert served.send("GET", f"{SCHOOL}/exams/none")[0] == 404
    _, job, _ = served.send("POST", f"{SCHOOL}/jobs/exam", {"assistants": ["bare"], "name": "again", "general": 1})
    done = served.job(job["id"])
    assert (done["status"], done["result"]["exam"]) == ("done", "again"), done


def test_the_page_is_served_with_its_addresses_within(served: Served) -> None:
    for path in ("/", "/ask", "/workspaces/school/jobs"):
        status, body, response = served.send("GET", path)
        assert (status, "书院" in body.decode()) == (200, True)
        assert response.getheader("Content-Type", "").startswith("text/html")
    assert served.send("GET", "/assets/app.js")[2].getheader("Cache-Control", "").endswith("immutable")
    for path in (
        "/assets/none.js",
        "/../model/config.json",
        "/%2e%2e/house/school/shuyuan.toml",
        "/api/none",
        "/v1/none",
    ):
        assert served.send("GET", path)[0] in (400, 404), path


def test_the_machine_and_the_catalogue(served: Served) -> None:
    _, server, _ = served.send("GET", "/api/server")
    assert (server["user"], server["admin"], server["key_needed"]) == ("local", True, False)
    assert set(server["groups"]) == set(choices("serve"))
    assert "qwen2.5-0.5b" in {model["name"] for model in served.send("GET", "/api/models")[1]}
    assert {check["state"] for check in served.send("GET", "/api/doctor")[1]} <= {"good", "note", "bad"}


def test_the_machine_and_the_catalogue_are_told_in_both_languages(served: Served) -> None:
    for path, texts in (("/api/models", ("about",)), ("/api/doctor", ("what", "found", "hint"))):
        english, chinese, unasked = (served.send("GET", path + of)[1] for of in ("?language=en", "?language=zh", ""))
        written = [[NUMBER.sub("", entry[text]) for text in texts] for entry in english]  # free memory comes and goes
        assert written == [[NUMBER.sub("", entry[text]) for text in texts] for entry in unasked]
        for one, other in zip(english, chinese, strict=True):
            assert {**one, **dict.fromkeys(texts)} == {**other, **dict.fromkeys(texts)}, "only the texts differ"
            assert not HAN.search(one[texts[0]])
            assert HAN.search(other[texts[0]]) or other["what"] == "Python"
            assert bool(one.get("hint")) == bool(HAN.search(other.get("hint", "")))
        assert served.send("GET", f"{path}?language=fr")[0] == 422


def test_without_its_packages_the_server_says_how_to_get_them() -> None:
    script = "import sys; sys.modules['uvicorn'] = None; from shuyuan.cli.main import main; sys.exit(main(['serve']))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert 'install it: pip install "shuyuan[serve]"' in ended.stderr


class Slow:
    """An assistant that says a word every 20 ms, and counts how many it said and how many speak at once."""

    name = "slow"
    said = going = most = 0
    lock = threading.Lock()

    def stream(self, *_: object) -> Any:
        with self.lock:
            self.going += 1
            self.most = max(self.most, self.going)
        try:
            for _ in range(200):
                self.said += 1
                yield "字"
                time.sleep(0.02)
            return Answer("字" * 200, answer_tokens=200)
        finally:
            with self.lock:
                self.going -= 1


def test_who_leaves_frees_the_place_and_who_comes_too_late_is_told_so(root: Path) -> None:
    with serving(root, Bounds(answers_at_once=2, answers_waiting=1)) as served:
        slow = Slow()
        served.house.assistant = lambda *_: slow  # type: ignore[method-assign, assignment, return-value]
        asked = json.dumps({"model": "bare", "messages": [{"role": "user", "content": "a"}], "stream": True})
        readers = []
        for _ in range(3):
            reader = HTTPConnection("127.0.0.1", served.port, timeout=30)
            reader.request("POST", "/v1/chat/completions", asked, {"Content-Type": "application/json"})
            readers.append(reader)
            time.sleep(0.3)
        status, refused, response = served.send("POST", "/v1/chat/completions", json.loads(asked))
        assert (status, refused["error"]["type"]) == (429, "rate_limit_error")
        assert response.getheader("Retry-After")
        assert (slow.going, slow.most) == (2, 2)
        readers.pop().close()  # the one that waits
        for _ in range(100):
            if served.house.speaker.waiting == 0:
                break
            time.sleep(0.05)
        assert (served.house.speaker.waiting, slow.going) == (0, 2), "who waits and leaves gives up the place at once"
        for reader in readers:
            reader.close()
        for _ in range(100):
            if slow.going == 0 and served.house.speaker.going == 0 and served.house.speaker.waiting == 0:
                break
            time.sleep(0.05)
        assert (slow.going, served.house.speaker.going, served.house.speaker.waiting) == (0, 0, 0)
        assert slow.said < 500, "nobody was left to hear the rest"


class Wordy(Slow):
    """An assistant that says far more than a connection holds while nobody reads."""

    def stream(self, *_: object) -> Any:
        for _ in range(100):
            yield "字" * 20_000
        return Answer("字" * 2_000_000, answer_tokens=100)


def test_a_slow_reader_holds_up_nobody_and_gets_it_all(root: Path) -> None:
    with serving(root, Bounds(answers_at_once=1, answers_waiting=1)) as served:
        wordy = Wordy()
        served.house.assistant = lambda *_: wordy  # type: ignore[method-assign, assignment, return-value]
        asked = {"model": "bare", "messages": [{"role": "user", "content": "a"}], "stream": True}
        body = json.dumps(asked).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", served.port))
            slow.settimeout(60)
            slow.sendall(head.encode() + b"Content-Type: application/json\r\nConnection: close\r\n\r\n" + body)
            for _ in range(600):
                if served.house.speaker.going == 0:
                    break
                time.sleep(0.05)
            assert served.house.speaker.going == 0, "the place is free though nothing was read"
            _, other, _ = served.send("POST", "/v1/chat/completions", {**asked, "stream": False})
            assert other["choices"][0]["message"]["content"].count("字") == 2_000_000
            got = b"".join(iter(lambda: slow.recv(1 << 16), b""))
        assert got.count(b"\\u5b57") + got.decode().count("字") == 2_000_000


class Fast(Slow):
    """An assistant that says as much as it may, at once."""

    def stream(self, *_: object) -> Any:
        with self.lock:
            self.going += 1
        for _ in range(4096):
            self.said += 1
            yield "书🎉 word "
        with self.lock:
            self.going -= 1
        return Answer("书🎉 word " * 4096, answer_tokens=4096)


def test_who_reads_nothing_holds_up_nobody_and_costs_what_an_answer_is_long(root: Path) -> None:
    """More readers than places: each asks, and never reads a byte."""
    with serving(root, Bounds(answers_at_once=2, answers_waiting=20)) as served:
        fast = Fast()
        served.house.assistant = lambda *_: fast  # type: ignore[method-assign, assignment, return-value]
        asked = {"model": "bare", "messages": [{"role": "user", "content": "a"}], "stream": True}
        content = json.dumps(asked).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        silent = []
        tracemalloc.start()
        try:
            for _ in range(12):
                reader = socket.socket()
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                reader.connect(("127.0.0.1", served.port))
                reader.sendall(head.encode() + content)
                silent.append(reader)
            for _ in range(600):
                if fast.said == 12 * 4096 and served.house.speaker.going == 0:
                    break
                time.sleep(0.05)
            assert (fast.said, served.house.speaker.going, served.house.speaker.waiting) == (12 * 4096, 0, 0)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 12 * 3_000_000, "at most the pieces of each answer and its chunks wait"
        _, told, _ = served.send("POST", "/v1/chat/completions", asked)
        assert told.count(b"data: ") == 4096 + 3, "whoever reads is answered whole meanwhile"
        assert told.endswith(b"data: [DONE]\n\n")
        for reader in silent:
            reader.close()


def test_a_server_that_stops_says_so_to_the_readers_of_answers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_, "ENDING_SECONDS", serving_.SHUTDOWN_SECONDS)  # without waiting for them to end
    turns = [{"role": "user", "content": "a"}]
    failed: list[Exception] = []

    def ask_whole(client: openai.OpenAI) -> None:
        try:
            client.chat.completions.create(model="bare", messages=turns)  # type: ignore[arg-type]
        except openai.APIError as error:
            failed.append(error)

    with serving(root) as served:
        slow = Slow()
        served.house.assistant = lambda *_: slow  # type: ignore[method-assign, assignment, return-value]
        client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
        whole = threading.Thread(target=ask_whole, args=(client,))
        whole.start()
        stream = iter(client.chat.completions.create(model="bare", messages=turns, stream=True))  # type: ignore[call-overload]
        heard = [next(stream), next(stream)]
    with pytest.raises(openai.APIError, match="being stopped"):
        heard.extend(stream)
    whole.join()
    assert 2 <= len(heard) < 200
    assert isinstance(failed[0], openai.InternalServerError)
    assert failed[0].status_code == 503
    assert failed[0].response.headers["Retry-After"]
    with serving(root) as served:
        slow = Slow()
        served.house.assistant = lambda *_: slow  # type: ignore[method-assign, assignment, return-value]
        status, answer, _ = served.send("POST", "/v1/chat/completions", {"model": "bare", "messages": turns})
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "字" * 200), "asked again, it is answered"


def test_a_server_killed_in_mid_answer_breaks_off_for_its_readers(tmp_path: Path) -> None:
    """Nothing can be said any more; but no reader takes the half for the whole."""
    Workspace.create(tmp_path / "school")
    script = """
import sys, time; from pathlib import Path; from serving import serving; from test_serve_page import Slow
with serving(Path(sys.argv[1]), jobs_run=False) as served:
    served.house.assistant = lambda *_: Slow()
    print(served.port, flush=True)
    time.sleep(600)
"""
    words = [sys.executable, "-c", script, str(tmp_path)]
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths})
    try:
        assert process.stdout
        at = f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        client = openai.OpenAI(base_url=at, api_key="none", max_retries=0)
        turns: Any = [{"role": "user", "content": "说 🎉"}]
        stream = iter(client.chat.completions.create(model="bare", messages=turns, stream=True))
        heard = [next(stream), next(stream)]
    finally:
        process.kill()
        process.communicate()
    with pytest.raises((openai.APIError, httpx.RemoteProtocolError, httpx.ReadError)):
        heard.extend(stream)
    assert len(heard) < 200


def test_an_answer_that_takes_too_long_is_cut(root: Path) -> None:
    with serving(root, Bounds(answer_seconds=0.2)) as served:
        slow = Slow()
        served.house.assistant = lambda *_: slow  # type: ignore[method-assign, assignment, return-value]
        asked = {"model": "bare", "messages": [{"role": "user", "content": "a"}]}
        _, body, _ = served.send("POST", "/v1/chat/completions", asked)
    assert body["choices"][0]["finish_reason"] == "length"
    assert 0 < len(body["choices"][0]["message"]["content"]) < 100


def test_ollamas_and_anthropics_forms(served: Served) -> None:
    turns = [{"role": "user", "content": "你好"}]
    _, whole, _ = served.send("POST", "/v1/messages", {"model": "bare", "max_tokens": 8, "messages": turns})
    assert whole["type"] == "message"
    events = events_of(
        served, "/v1/messages", {"model": "claude-x", "max_tokens": 8, "messages": turns, "stream": True}
    )
    assert [name for name, _ in events][:2] == ["message_start", "content_block_start"]
    assert events[-1][0] == "message_stop"
    said = "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta")
    assert said == whole["content"][0]["text"]
    _, wrong, _ = served.send("POST", "/v1/messages", {"model": "none", "max_tokens": 8, "messages": turns})
    assert (wrong["type"], wrong["error"]["type"]) == ("error", "not_found_error")
    asked = {"model": "bare:latest", "messages": turns, "options": {"num_predict": 8}}
    _, plain, _ = served.send("POST", "/api/chat", {**asked, "stream": False})
    assert plain["message"]["content"] == said
    raw = served.send("POST", "/api/chat", asked)[1]
    lines = [raw] if isinstance(raw, dict) else [json.loads(line) for line in raw.decode().splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == said
    assert lines[-1]["done"]
    _, generated, _ = served.send(
        "POST", "/api/generate", {"model": "bare", "prompt": "你好", "stream": False, "options": {"num_predict": 8}}
    )
    assert generated["response"] == said
    assert [model["name"] for model in served.send("GET", "/api/tags")[1]["models"]][:1] == ["bare"]
