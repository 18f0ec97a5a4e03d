"""Jobs outlive everything: killed workers, killed servers, stopped processes; and each ends as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from conftest import SHUYUAN
from safetensors.torch import load_file
from serving import Served, serving, tiny_school

from shuyuan.base.errors import Fixable
from shuyuan.base.files import sha256_of
from shuyuan.base.workspace import Workspace
from shuyuan.serve import queue as queues
from shuyuan.serve.limits import Bounds
from shuyuan.serve.queue import Queue
from shuyuan.serve.refusals import Refused
from shuyuan.serve.state import VERSION, State
from shuyuan.teach.teaching import teach

LONG = {"rank": 4, "epochs": 20, "longest": 128}  # 120 steps, a checkpoint at every 50


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("jobs")
    tiny_school(at)
    tiny_school(at, "other")
    return at / "house"


@pytest.fixture(scope="module")
def served(root: Path) -> Iterator[Served]:
    with serving(root) as running:
        yield running


@pytest.fixture(scope="module")
def weights(root: Path) -> str:
    """The hash of the weights that an uninterrupted run ends with."""
    school = Workspace.open(root / "school")
    teach(school, "lora", LONG, name="straight")
    school.material.close()
    return sha256_of(root / "school" / "runs" / "straight" / "weights" / "adapter_model.safetensors")


def order(name: str, **settings: Any) -> dict[str, Any]:
    return {"route": "lora", "name": name, "settings": {**LONG, **settings}}


def hash_of(root: Path, name: str) -> str:
    return sha256_of(root / "school" / "runs" / name / "weights" / "adapter_model.safetensors")


def worker_of(served: Served, job: str, step: int = 1) -> int:
    """The process of a running job, once it has come to a step."""
    for _ in range(1200):
        row = served.house.state.row("select pid, status, progress from jobs where id = ?", (job,))
        assert row is not None
        assert row["status"] in ("queued", "running"), row
        if row["status"] == "running" and row["pid"] and row["progress"] >= step:
            return int(row["pid"])
        time.sleep(0.05)
    raise AssertionError("the job does not run")


def test_a_killed_worker_is_followed_by_another_and_the_weights_are_the_same(
    served: Served, root: Path, weights: str
) -> None:
    _, job, _ = served.send("POST", "/api/workspaces/school/jobs/teach", order("killed"))
    draw = random.Random(1)
    for step in (1, 55):
        pid = worker_of(served, job["id"], step)
        time.sleep(draw.random() / 4)
        os.kill(pid, signal.SIGKILL)
        while served.house.state.row("select 1 from jobs where id = ? and pid = ?", (job["id"], pid)):
            time.sleep(0.05)
    done = served.job(job["id"])
    assert done["status"] == "done", served.house.queue.log(job["id"]).read_text()
    assert hash_of(root, "killed") == weights
    assert load_file(root / "school" / "runs" / "killed" / "weights" / "adapter_model.safetensors")


def test_a_paused_job_goes_on_to_the_same_weights(served: Served, root: Path, weights: str) -> None:
    _, job, _ = served.send("POST", "/api/workspaces/school/jobs/teach", order("paused"))
    worker_of(served, job["id"], 20)
    path = f"/api/workspaces/school/jobs/{job['id']}"
    assert served.send("POST", f"{path}/pause")[1]["wanted"] == "pause"
    assert served.job(job["id"])["status"] == "paused"
    assert not (root / "school" / "runs" / "paused" / "done.json").exists()
    assert served.send("POST", f"{path}/pause")[0] == 409
    assert served.send("POST", f"{path}/resume")[1]["status"] == "queued"
    assert served.job(job["id"])["status"] == "done"
    assert hash_of(root, "paused") == weights
    assert served.send("POST", f"{path}/resume")[0] == 409


def test_a_stopped_worker_loses_its_job_and_writes_nothing_more(served: Served, root: Path, weights: str) -> None:
    _, job, _ = served.send("POST", "/api/workspaces/school/jobs/teach", order("stopped"))
    pid = worker_of(served, job["id"], 5)
    os.kill(pid, signal.SIGSTOP)
    with served.house.state.change() as db:  # as if it had been silent for half a minute
        db.execute("update jobs set lease = 0 where id = ?", (job["id"],))
    done = served.job(job["id"])
    assert done["status"] == "done"
    assert hash_of(root, "stopped") == weights
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def test_a_worker_with_an_old_token_changes_nothing(served: Served) -> None:
    _, job, _ = served.send("POST", "/api/workspaces/school/jobs/teach", {"route": "prompt", "name": "once"})
    assert served.job(job["id"])["status"] == "done"
    folder = served.house.state.folder
    words = [sys.executable, "-m", "shuyuan.serve.work", str(folder), str(served.house.folder("school"))]
    assert subprocess.run([*words, job["id"], "x"], check=False).returncode == 3
    assert served.job(job["id"])["finished"] == served.job(job["id"])["finished"]


def test_what_dies_again_and_again_fails_at_last(root: Path, tmp_path: Path) -> None:
    state = State(tmp_path / ".serve")
    queue = Queue(state, lambda _: root / "no workspace", Bounds())
    job = queue.add("school", "exam", "exam", {}, "me")
    for attempt in range(1, queues.MOST_ATTEMPTS + 1):
        with state.change() as db:
            values = ("t", attempt, 2**22 + 1, time.monotonic() + 9, job.id)
            db.execute("update jobs set status='running', token=?, attempts=?, pid=?, lease=? where id=?", values)
        running = queue.get(job.id, "school")
        assert not queue._alive(running)
        queue._died(running)
        now = queue.get(job.id, "school")
        assert now.status == ("failed" if attempt == queues.MOST_ATTEMPTS else "queued")
    assert now.error is not None
    assert "killed 5 times" in now.error["message"]


def test_the_queue_is_fair_between_workspaces_and_bounded(tmp_path: Path) -> None:
    state = State(tmp_path / ".serve")
    started = []
    queue = Queue(state, lambda _: tmp_path, Bounds(jobs_waiting=6))
    queue._spawn = lambda job, token: started.append(job)  # type: ignore[method-assign]
    many = [queue.add("busy", "exam", f"{n}", {}, "a") for n in range(4)]
    few = [queue.add("calm", "exam", f"{n}", {}, "b") for n in range(2)]
    with pytest.raises(Refused) as refused:
        queue.add("busy", "exam", "one too many", {}, "a")
    assert (refused.value.status, refused.value.wait) == (429, 60)
    while queue._start_next():
        with state.change() as db:
            db.execute("update jobs set status = 'done' where status = 'running'")
    expected = [many[0], few[0], many[1], few[1], many[2], many[3]]
    assert started == [job.id for job in expected]


def test_a_job_is_followed_live_and_from_where_one_left_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHUYUAN_LANG", "zh")  # of the server's terminal; a job's log stays English
    _, job, _ = served.send("POST", "/api/workspaces/school/jobs/teach", order("followed", epochs=2))
    whole = follow(served, job["id"])
    points = [event for event in whole if event["event"] == "point"]
    assert [event["data"]["step"] for event in points] == list(range(13))
    assert whole[-1]["event"] == "job"
    assert whole[-1]["data"]["status"] == "done"
    assert whole[-1]["data"]["result"]["assistant"] == "followed"
    log = "".join(event["data"]["text"] for event in whole if event["event"] == "log")
    assert "taught in" in log
    middle = points[6]["id"]
    rest = follow(served, job["id"], middle)
    assert [event["data"]["step"] for event in rest if event["event"] == "point"] == list(range(7, 13))
    _, curve, _ = served.send("GET", f"/api/workspaces/school/jobs/{job['id']}/curve")
    assert [row["step"] for row in curve] == list(range(13))


def follow(served: Served, job: str, last: str = "") -> list[dict[str, Any]]:
    """Every event of a job's stream, to its end."""
    connection = HTTPConnection("127.0.0.1", served.port, timeout=120)
    connection.request(
        "GET", f"/api/workspaces/school/jobs/{job}/events", headers={"Last-Event-ID": last} if last else {}
    )
    response: HTTPResponse = connection.getresponse()
    assert response.getheader("Content-Type", "").startswith("text/event-stream")
    found = []
    for block in response.read().decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append({**fields, "data": json.loads(fields["data"])})
    return found


@pytest.mark.parametrize("jump", [10**6, -(10**6)])
def test_a_clock_that_jumps_takes_no_job_from_its_worker(
    served: Served, root: Path, weights: str, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    name, real = f"jumped{jump}".replace("-", "_"), time.time
    _, job, _ = served.send("POST", "/api/workspaces/school/jobs/teach", order(name))
    pid = worker_of(served, job["id"])
    monkeypatch.setattr(time, "time", lambda: real() + jump)  # this process's view of the wall clock
    for _ in range(3):
        served.house.queue.look()
    assert worker_of(served, job["id"], 20) == pid
    monkeypatch.undo()
    assert served.job(job["id"])["status"] == "done"
    assert served.house.state.row("select attempts from jobs where id = ?", (job["id"],)) in (
        {"attempts": 0},  # a step of progress counts them anew
        {"attempts": 1},
    )
    assert hash_of(root, name) == weights


def test_what_was_held_before_a_reboot_is_held_no_more(tmp_path: Path) -> None:
    queue = Queue(State(tmp_path), lambda _: tmp_path, Bounds())
    job = queue.add("school", "exam", "exam", {}, "me")
    now = time.monotonic()
    held = {lease: replace(job, lease=lease).held for lease in (now + 5, now - 1, now + 10**6, time.time())}
    assert list(held.values()) == [True, False, False, False]


def test_jobs_are_listed_page_by_page(tmp_path: Path) -> None:
    """Each once and newest first, also where several were made in one moment and where more come meanwhile."""
    Workspace.create(tmp_path / "school")
    Workspace.create(tmp_path / "other")
    at = "/api/workspaces/school/jobs"
    with serving(tmp_path, jobs_run=False) as served:
        queue, state = served.house.queue, served.house.state
        made = [queue.add("school", ("exam", "teach")[n % 2], f"名 {n} 🎓", {"name": "a"}, "local") for n in range(25)]
        foreign = queue.add("other", "exam", "exam", {}, "local")
        with state.change() as db:
            db.executemany("update jobs set created = ? where id = ?", [(n // 4, job.id) for n, job in enumerate(made)])
        _, whole, _ = served.send("GET", f"{at}?limit=1000")
        ids = [job["id"] for job in whole["data"]]
        assert (set(ids), len(ids), whole["has_more"]) == ({job.id for job in made}, 25, False)
        assert [job["created"] for job in whole["data"]] == sorted((n // 4 for n in range(25)), reverse=True)
        pages, after, more = list[str](), "", True
        while more:
            _, page, _ = served.send("GET", f"{at}?limit=7&after={after}")
            pages += [job["id"] for job in page["data"]]
            after, more = pages[-1], page["has_more"]
            queue.add("school", "exam", "newer", {}, "local")
        assert pages == ids
        _, teaching, _ = served.send("GET", f"{at}?kind=teach&limit=12")
        assert ({job["kind"] for job in teaching["data"]}, len(teaching["data"])) == ({"teach"}, 12)
        assert not teaching["has_more"]
        assert served.send("GET", f"{at}?limit=12&kind=teach&kind=exam")[1]["has_more"]
        assert served.send("GET", f"{at}?after={ids[-1]}")[1] == {"data": [], "has_more": False}
        for unknown in ("job-none", foreign.id):
            status, wrong, _ = served.send("GET", f"{at}?after={unknown}")
            assert (status, wrong["error"]["code"]) == (404, "job_not_found")
        for wrong in ("kind=dance", "limit=0", "limit=1001"):
            assert served.send("GET", f"{at}?{wrong}")[0] == 422


def test_records_that_cannot_be_used_are_never_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "serve.sqlite"
    file.write_bytes(b"not a database at all" * 100)
    with pytest.raises(Fixable, match=r"cannot be used.*not a database") as broken:
        State(tmp_path)
    assert (broken.value.place, broken.value.hint) == (str(file), "restore this file from a backup")
    assert file.read_bytes() == b"not a database at all" * 100
    file.unlink()
    newer = State(tmp_path)
    with newer.change() as db:
        db.execute(f"pragma user_version = {VERSION + 1}")
    with pytest.raises(Fixable, match="written by a newer Shuyuan"):
        State(tmp_path)
    assert newer.row("pragma user_version") == {"user_version": VERSION + 1}


def test_a_server_whose_records_break_says_so_and_goes_on(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "school")
    with serving(tmp_path, jobs_run=False) as served:
        state = served.house.state
        with state.change() as db:
            db.executemany("insert into users values (?, 0, 1)", ((f"user {n} 名",) for n in range(2000)))
            db.execute("insert into keys values ('k', 'user 1 名', 'h', '', 1)")
        state.row("pragma wal_checkpoint(truncate)")
        size = state.path.stat().st_size
        with state.path.open("r+b") as file:  # all pages but the first: the header stays
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        for _ in range(2):
            status, body, _ = served.send("GET", "/api/workspaces/school/jobs")
            assert status == 500
            assert "records cannot be used" in body["error"]["message"], body
        assert served.send("GET", "/health")[0] == 200
        assert state.path.stat().st_size == size


def start(root: Path) -> tuple[subprocess.Popen[str], int]:
    """A server as its own process, and its port."""
    process = subprocess.Popen(
        [*SHUYUAN, "serve", "-w", str(root), "--port", "0"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "http://127.0.0.1:" in line:
            return process, int(line.split("http://127.0.0.1:")[1].split("/")[0])
    raise AssertionError("the server did not start")


def test_killed_servers_lose_no_job_and_no_job_notices(tmp_path: Path) -> None:
    """Jobs are ordered and the server is killed, again and again; the next one adopts what runs; nothing is lost."""
    tiny_school(tmp_path)
    root = tmp_path / "house"
    acknowledged: list[str] = []
    for round_ in range(2):
        process, port = start(root)
        try:
            served = Served.__new__(Served)
            served.port = port
            for name in (f"a{round_}", f"b{round_}"):
                status, job, _ = served.send("POST", "/api/workspaces/school/jobs/teach", order(name, epochs=4))
                assert status == 202
                acknowledged.append(job["id"])
            time.sleep(1.5 + round_)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    process, port = start(root)
    try:
        served = Served.__new__(Served)
        served.port = port
        ends = {job: served.job(job) for job in acknowledged}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    assert [end["status"] for end in ends.values()] == ["done"] * 4, ends
    made = {
        sha256_of(root / "school" / "runs" / name / "weights" / "adapter_model.safetensors")
        for name in ("a0", "b0", "a1", "b1")
    }
    assert len(made) == 1, "all were taught the same, whatever was killed meanwhile"
