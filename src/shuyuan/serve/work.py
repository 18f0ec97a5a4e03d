"""The process of one job: `python -m shuyuan.serve.work STATE WORKSPACE JOB TOKEN`, started by the queue."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_jsonl, write_whole
from shuyuan.base.guards import Guards
from shuyuan.base.progress import say
from shuyuan.base.shelf import choose
from shuyuan.base.workspace import Workspace, finished
from shuyuan.serve.queue import BEAT_SECONDS, LEASE_SECONDS, Job
from shuyuan.serve.state import State
from shuyuan.serve.tail import Tail

READING_BYTES = 6_000_000_000  # of memory that may be mapped while documents are read
GRACE_SECONDS = 20.0  # between asking the work to stop and ending the process


def main() -> int:
    """Do the job, and write down how it ended; 0 unless it failed."""
    folder, workspace, job, token = sys.argv[1:5]
    return Worker(State(Path(folder)), Path(workspace), job, token).run()


class Worker:
    """Holds the lease on a job while it is done. Who lost it writes nothing more: the token is not theirs."""

    def __init__(self, state: State, workspace: Path, job: str, token: str) -> None:
        self.state, self.workspace, self.id, self.token = state, workspace, job, token
        self._over = threading.Event()
        self._asked: float = 0.0
        self._tail, self._telling = Tail(None), False
        self._one_beat = threading.Lock()
        told = state.row("select max(json_extract(data, '$.step')) as step from events where job = ?", (job,))
        self._step = int((told or {}).get("step") or 0)

    def run(self) -> int:
        """Everything; see `main`."""
        if not self.beat():
            return 3
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        threading.Thread(target=self._beats, daemon=True).start()
        row = self.state.row("select * from jobs where id = ?", (self.id,))
        assert row is not None
        job = Job.of(row)
        try:
            result = WORK[job.kind](Workspace.open(self.workspace), job, self)
        except KeyboardInterrupt:
            return self._stopped()
        except BaseException as error:  # a panic of a library in Rust is no Exception
            return self._failed(error)
        self._end("done", result=plain(result))
        return 0

    def beat(self) -> bool:
        """Renew the lease and see what is wanted; False when the job is not ours any more."""
        with self._one_beat:
            progress = self._progress()
        with self.state.change() as db:
            held = db.execute(
                "update jobs set lease = ?, pid = ?, attempts = case when ? > progress then 0 else attempts end, "
                "progress = max(progress, ?) where id = ? and token = ? and status = 'running'",
                (time.monotonic() + LEASE_SECONDS, os.getpid(), progress, progress, self.id, self.token),
            ).rowcount
        return bool(held)

    def _beats(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            try:
                if not self.beat():
                    os._exit(3)  # another worker has the job: nothing that we do may count
                row = self.state.row("select wanted from jobs where id = ?", (self.id,))
            except Fixable:
                continue  # a full disk, perhaps for a moment; the lease lasts longer
            if row and row["wanted"] and not self._asked:
                self._asked = time.monotonic()
                os.kill(os.getpid(), signal.SIGINT)
            if self._asked and time.monotonic() > self._asked + GRACE_SECONDS:
                os._exit(4)

    def follow(self, log: Path, telling: bool = False) -> None:
        """The job's own log of steps, from which its progress is read; `telling`: each step becomes an event."""
        self._tail, self._telling = Tail(log), telling

    def tell(self, message: str, level: str = "info", data: Mapping[str, Any] | None = None) -> None:
        """Add an event to the job's list."""
        self._keep_events([(message, level, data)])

    def _keep_events(self, events: Sequence[tuple[str, str, Mapping[str, Any] | None]]) -> None:
        rows = [(self.id, round(time.time()), level, said, json.dumps(d) if d else None) for said, level, d in events]
        with self.state.change() as db:
            query = "insert into events (job, created, level, message, data) values (?, ?, ?, ?, ?)"
            db.executemany(query, rows)

    def _progress(self) -> int:
        """The newest step; new ones are told."""
        new = [row for row in self._tail.rows() if row["step"] > self._step]
        if new and self._telling:
            self._keep_events([(_step_said(row), "info", _metrics(row)) for row in new if "loss" in row])
        self._step = max([self._step, *(row["step"] for row in new)])
        return self._step

    def _stopped(self) -> int:
        row = self.state.row("select wanted from jobs where id = ?", (self.id,)) or {}
        becomes = {"pause": "paused", "cancel": "cancelled"}.get(row.get("wanted", ""), "queued")
        say(f"stopped; {becomes}")
        self._end(becomes)
        return 130

    def _failed(self, error: BaseException) -> int:
        if isinstance(error, Fixable):
            say(str(error))
            told = {"message": error.what, "hint": error.hint, "place": error.place, "code": "refused"}
        else:
            traceback.print_exception(error)
            told = {"message": f"this should not have happened: {type(error).__name__}: {error}", "code": "internal"}
        folder = f"{self.workspace}/"  # where it lies on this machine is nobody's business
        self._end("failed", error={key: text.replace(folder, "") for key, text in told.items()})
        return 1

    def _end(self, status: str, result: Any = None, error: Any = None) -> None:
        self._over.set()
        self.beat()  # the last steps count, too
        at = time.time() if status in ("done", "failed", "cancelled") else None
        kept = (json.dumps(one, ensure_ascii=False) if one is not None else None for one in (result, error))
        with self.state.change() as db:
            db.execute(
                "update jobs set status = ?, result = ?, error = ?, finished = ?, wanted = '', token = '', pid = 0 "
                "where id = ? and token = ? and status = 'running'",
                (status, *kept, at, self.id, self.token),
            )


def _teach(workspace: Workspace, job: Job, worker: Worker) -> Any:
    from shuyuan.prepare.mixture import Mix
    from shuyuan.teach.teaching import teach

    given = dict(job.given)
    mix = (
        Mix(**{**given["mix"], **{k: tuple(given["mix"].get(k, ())) for k in ("origins", "shares")}})
        if given.get("mix")
        else None
    )
    worker.follow(workspace.run(given["name"]).folder / "log.jsonl")
    taught = teach(
        workspace,
        given["route"],
        given.get("settings") or {},
        on=given.get("on", "bare"),
        name=given["name"],
        seed=given.get("seed", 0),
        again=given.get("again", False),
        guards=Guards(**(given.get("guards") or {})),
        tune_seconds=given.get("tune_seconds", 0.0),
        mix=mix,
    )
    return {"assistant": taught.name, "done": finished(workspace.run(taught.name))}


def _add(workspace: Workspace, job: Job, worker: Worker) -> Any:
    from shuyuan.prepare.adding import add

    given = job.given
    resource.setrlimit(resource.RLIMIT_AS, (READING_BYTES, READING_BYTES))  # a hostile file becomes a fault
    return add(workspace, given.get("paths", ()), given.get("questions", ()), data=given.get("data", ()))


def _exam(workspace: Workspace, job: Job, worker: Worker) -> Any:
    from shuyuan.examine.exam import exam

    sat = exam(workspace, **job.given)
    return {"exam": sat.name, "winner": sat.verdict.winner}


def _pull(workspace: Workspace, job: Job, worker: Worker) -> Any:
    from shuyuan.load.pulling import pull

    return {"folder": str(pull(job.given["model"]))}


def _tuning(workspace: Workspace, job: Job, worker: Worker) -> Any:
    """A fine-tuning job: as `_teach`, from its own files, with a table of its steps and the model's public name."""
    from shuyuan.teach.own_data import Data, data_lessons
    from shuyuan.teach.teaching import teach

    given, data = job.given, Data(**job.given["data"])
    run = workspace.run(given["name"])
    lessons = data_lessons(workspace, data)  # a wrong row ends the job before anything is loaded
    single = (example for example in (*lessons.examples, *lessons.held_out) if not example.rejected)
    if getattr(choose("teach", given["route"]), "learns_pairs", False) and (lone := next(single, None)):
        hint = 'write {"input": {"messages": [ … ]}, "preferred_output": [ … ], "non_preferred_output": [ … ]}'
        raise Fixable("this row has one answer, and two are compared", hint, lone.place)
    worker.tell("Files validated, fine-tuning job started")
    worker.follow(run.folder / "log.jsonl", telling=True)
    taught = teach(
        workspace, given["route"], given["settings"], on=given["on"], name=given["name"], seed=given["seed"], data=data
    )
    worker.beat()
    rows = [row for row in read_jsonl(run.folder / "log.jsonl") if "loss" in row]
    file = _table(worker.state, workspace, job, rows)
    with worker.state.change() as db:
        values = (given["model"], job.workspace, taught.name, round(time.time()))
        db.execute("insert or replace into models values (?, ?, ?, ?)", values)
    worker.tell(f"New fine-tuned model created: {given['model']}")
    worker.tell("The job has successfully completed")
    done: Any = finished(run) or {}
    best = (done.get("curve") or {}).get("best_step") or len(rows)
    kept = next((row for row in rows if row["step"] == best), rows[-1])
    return {"assistant": taught.name, "done": done, "files": [file], "metrics": _metrics(kept)}


def _table(state: State, workspace: Workspace, job: Job, rows: Sequence[Mapping[str, Any]]) -> str:
    """The job's steps as a CSV file that its result names; the same one when it is made again."""
    from shuyuan.serve.files import note_file, path_of

    file = f"file-{job.id.removeprefix('ftjob-')}"
    path = path_of(workspace.folder, file, "step_metrics.csv")
    lines = [f"{row['step']},{row['loss']},{row.get('held_out_loss', '')},{row['learning_rate']}" for row in rows]
    write_whole(path, "\n".join(["step,train_loss,valid_loss,learning_rate", *lines]) + "\n")
    if state.row("select 1 from files where id = ?", (file,)) is None:
        note_file(state, job.workspace, path, "step_metrics.csv", "fine-tune-results")
    return file


def _step_said(row: Mapping[str, Any]) -> str:
    valid = f", validation loss={row['held_out_loss']:.2f}" if "held_out_loss" in row else ""
    return f"Step {row['step']}/{row['steps']}: training loss={row['loss']:.2f}{valid}"


def _metrics(row: Mapping[str, Any]) -> dict[str, Any]:
    names = {"held_out_loss": "valid_loss", "accuracy": "train_accuracy", "held_out_accuracy": "valid_accuracy"}
    more = {shown: row[name] for name, shown in names.items() if name in row}
    return {"step": row["step"], "train_loss": row["loss"], "total_steps": row["steps"], **more}


WORK: Mapping[str, Callable[[Workspace, Job, Worker], Any]] = {
    "teach": _teach,
    "add": _add,
    "exam": _exam,
    "pull": _pull,
    "tuning": _tuning,
}


def plain(value: Any) -> Any:
    """A result as JSON has it: records become objects, what JSON does not know becomes text."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    if isinstance(value, float) and math.isnan(value):  # NaN is no JSON
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
