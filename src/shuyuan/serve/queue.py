"""Jobs on the disk: one queue, fair between workspaces, worked off by child processes that outlive the server."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shuyuan.base.files import inside
from shuyuan.serve.limits import Bounds
from shuyuan.serve.refusals import Refused
from shuyuan.serve.state import State

Kind = Literal["teach", "add", "exam", "tuning", "pull"]
Status = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
LEASE_SECONDS = 30.0  # a worker that was not heard of for so long is stopped and its job begun again
BEAT_SECONDS = 1.0
LOOK_SECONDS = 0.3
MOST_ATTEMPTS = 5  # deaths in a row without a step of progress


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the database holds it."""

    id: str
    workspace: str
    kind: Kind
    title: str
    given: Mapping[str, Any]
    user: str
    status: Status
    created: float
    started: float | None
    finished: float | None
    attempts: int
    token: str
    lease: float
    pid: int
    wanted: str
    progress: int
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None

    @property
    def held(self) -> bool:
        """Whether its worker was heard of lately, by the clock that nobody sets: all processes share it until a reboot,
        and what was written before that lies in the past, or further ahead than any lease."""
        return 0 <= self.lease - time.monotonic() <= LEASE_SECONDS

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Job:
        """From a row of the table."""
        read = {name: json.loads(row[name]) if row[name] else None for name in ("given", "result", "error")}
        return cls(**{**row, **read})


class Queue:
    """The jobs of one server. `tend` runs in a thread; everything else may be called from any."""

    def __init__(self, state: State, folder: Callable[[str], Path], bounds: Bounds) -> None:
        self.state, self._folder, self._bounds = state, folder, bounds
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    # what people ask for

    def add(  # noqa: PLR0917  (the columns of a job)
        self, workspace: str, kind: Kind, title: str, given: Mapping[str, Any], user: str, prefix: str = "job"
    ) -> Job:
        """Put a job at the end of its workspace's queue; `Refused` 429 when too many wait."""
        job = f"{prefix}-{secrets.token_hex(12)}"
        with self.state.change() as db:
            (waiting,) = db.execute("select count(*) from jobs where status in ('queued', 'paused')").fetchone()
            if waiting >= self._bounds.jobs_waiting:
                raise Refused(429, "too many jobs wait already", "cancel some", code="queue_full", wait=60)
            db.execute(
                "insert into jobs (id, workspace, kind, title, given, user, status, created) "
                "values (?, ?, ?, ?, ?, ?, 'queued', ?)",
                (job, workspace, kind, title, json.dumps(given, ensure_ascii=False), user, time.time()),
            )
        return self.get(job, workspace)

    def get(self, job: str, workspace: str) -> Job:
        """A job of a workspace; `Refused` 404 when it is not there, or another's."""
        row = self.state.row("select * from jobs where id = ? and workspace = ?", (job, workspace))
        if row is None:
            raise Refused(404, f"there is no job '{job[:100]}'", code="job_not_found")
        return Job.of(row)

    def jobs(self, workspace: str, kinds: tuple[str, ...] = (), most: int = 1000, after: str = "") -> list[Job]:
        """The jobs of a workspace, newest first; those behind the job `after` (`Refused` 404: there is none)."""
        query, given = "select * from jobs where workspace = ?", [workspace]
        if kinds:
            query += f" and kind in ({', '.join('?' * len(kinds))})"
            given += kinds
        if after:
            query += " and (-created, id) > (select -created, id from jobs where id = ?)"
            given.append(self.get(after, workspace).id)
        return [Job.of(row) for row in self.state.rows(f"{query} order by -created, id limit ?", (*given, most))]

    def wish(self, job: Job, wanted: Literal["pause", "cancel"]) -> Job:
        """Pause or cancel: at once when it does not run, else as soon as its worker hears of it."""
        becomes = {"pause": "paused", "cancel": "cancelled"}[wanted]
        with self.state.change() as db:
            status = db.execute("select status from jobs where id = ?", (job.id,)).fetchone()["status"]
            if status in ENDED or (wanted == "pause" and status == "paused"):
                raise Refused(409, f"the job is {status} already", code="invalid_job_status")
            if status == "running":
                db.execute("update jobs set wanted = ? where id = ?", (wanted, job.id))
            else:
                finished = time.time() if wanted == "cancel" else None
                db.execute("update jobs set status = ?, finished = ? where id = ?", (becomes, finished, job.id))
        return self.get(job.id, job.workspace)

    def resume(self, job: Job) -> Job:
        """Let a paused, failed or cancelled job go on from what it had finished."""
        with self.state.change() as db:
            changed = db.execute(
                "update jobs set status = 'queued', wanted = '', attempts = 0, error = null, finished = null "
                "where id = ? and status in ('paused', 'failed', 'cancelled')",
                (job.id,),
            ).rowcount
        if not changed:
            raise Refused(409, f"the job is {job.status}: there is nothing to resume", code="invalid_job_status")
        return self.get(job.id, job.workspace)

    def tell(self, job: str, message: str) -> None:
        """Add an event to a job's list."""
        with self.state.change() as db:
            query = "insert into events (job, created, level, message) values (?, ?, 'info', ?)"
            db.execute(query, (job, round(time.time()), message))

    def log(self, job: str) -> Path:
        """The file that holds what a job said."""
        return inside(self.state.folder / "jobs", f"{job}.log")

    # the work itself

    def start(self) -> None:
        """Begin to tend the queue in a thread of its own."""
        self._thread = threading.Thread(target=self._tend, name="jobs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Tend it no longer. Running jobs run on; the next server finds them."""
        self._end.set()
        if self._thread:
            self._thread.join()

    def _tend(self) -> None:
        while not self._end.is_set():
            try:
                self.look()
            except Exception as error:  # a full disk must not end the queue for good
                print(f"jobs: {error}", file=sys.stderr, flush=True)
            self._end.wait(LOOK_SECONDS)

    def look(self) -> None:
        """Once: bury dead workers, stop hung ones, start what may start."""
        self._children = {pid: child for pid, child in self._children.items() if child.poll() is None}
        for row in self.state.rows("select * from jobs where status = 'running'"):
            job = Job.of(row)
            alive = self._alive(job)
            if alive and not job.held:
                os.kill(job.pid, signal.SIGKILL)
                if child := self._children.pop(job.pid, None):
                    child.wait()
                alive = False
            if not alive and (job.pid or not job.held):
                self._died(job)
        while self._start_next():
            pass

    def _alive(self, job: Job) -> bool:
        """Whether this very worker runs: its command line holds the job's token, which no other process knows."""
        if job.pid in self._children:
            return self._children[job.pid].poll() is None
        if not Path("/proc").exists():  # no way to ask: the lease decides
            return job.held
        try:
            return job.token.encode() in Path(f"/proc/{job.pid}/cmdline").read_bytes() if job.pid else False
        except OSError:
            return False

    def _died(self, job: Job) -> None:
        """A worker ended without a word: begin again, unless that was tried often enough or is not wanted."""
        becomes, error = "queued", None
        if job.wanted:
            becomes = {"pause": "paused", "cancel": "cancelled"}[job.wanted]
        elif job.attempts >= MOST_ATTEMPTS:
            becomes = "failed"
            said = f"its process was killed {job.attempts} times in a row, perhaps for want of memory"
            error = json.dumps({"message": said, "hint": "look at the job's log, then resume it", "code": "killed"})
        finished = time.time() if becomes in ENDED else None
        with self.state.change() as db:
            db.execute(
                "update jobs set status = ?, error = ?, finished = ?, wanted = '', pid = 0, token = '' "
                "where id = ? and token = ? and status = 'running'",
                (becomes, error, finished, job.id, job.token),
            )

    def _start_next(self) -> bool:
        """Start the oldest job of the workspace that was served longest ago; False when none may start now."""
        token = secrets.token_hex(16)
        with self.state.change() as db:
            (running,) = db.execute("select count(*) from jobs where status = 'running'").fetchone()
            if running >= self._bounds.jobs_at_once:
                return False
            row = db.execute(
                "select id from jobs as one where status = 'queued' order by "
                "(select coalesce(max(started), 0) from jobs where workspace = one.workspace), created, id limit 1"
            ).fetchone()
            if row is None:
                return False
            now = time.time()
            db.execute(
                "update jobs set status = 'running', token = ?, lease = ?, pid = 0, attempts = attempts + 1, "
                "started = ? where id = ?",
                (token, time.monotonic() + LEASE_SECONDS, now, row["id"]),
            )
        self._spawn(row["id"], token)
        return True

    def _spawn(self, job: str, token: str) -> None:
        log = self.log(job)
        log.parent.mkdir(parents=True, exist_ok=True)
        workspace = self.state.row("select workspace from jobs where id = ?", (job,)) or {}
        command = [sys.executable, "-m", "shuyuan.serve.work", str(self.state.folder)]
        command += [str(self._folder(workspace["workspace"])), job, token]
        with log.open("ab") as out:
            # A session of its own: neither Ctrl-C nor the end of the server reaches it.
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "SHUYUAN_LANG": "en"},  # each page says the log in its own language
            )  # fmt: skip
        self._children[child.pid] = child
        with self.state.change() as db:
            db.execute(
                "update jobs set pid = ? where id = ? and token = ? and status = 'running'", (child.pid, job, token)
            )
