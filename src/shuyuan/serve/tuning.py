"""Fine-tuning jobs as OpenAI's: create, follow by events, cancel, pause, resume; the result answers as `ft:…`."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from shuyuan.base.settings import Settings
from shuyuan.base.shelf import choose
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.files import FOLDER, path_of
from shuyuan.serve.jobs import run_log
from shuyuan.serve.limits import Body
from shuyuan.serve.queue import Job
from shuyuan.serve.refusals import Refused
from shuyuan.serve.tail import Tail

router = APIRouter(prefix="/v1/fine_tuning", tags=["openai"])
Reader = Annotated[Visitor, Depends(Door("read"))]
Writer = Annotated[Visitor, Depends(Door("write"))]
After = Annotated[str, Query(max_length=100)]
Limit = Annotated[int, Query(ge=1, le=100)]
ROUTES = {"supervised": "lora", "dpo": "dpo"}
_SHOWN: Mapping[str, str] = {"done": "succeeded"}


class Tuning(Settings):
    """Endpoints `/v1/fine_tuning`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class Hyperparameters(Body):
    """`auto`: the route's own. `learning_rate_multiplier` is a factor of the route's own learning rate."""

    model_config = ConfigDict(extra="forbid")
    n_epochs: Literal["auto"] | Annotated[int, Field(ge=1, le=1000)] = "auto"
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = "auto"
    learning_rate_multiplier: Literal["auto"] | Annotated[float, Field(gt=0, le=1000)] = "auto"


class PreferenceHyperparameters(Hyperparameters):
    """`beta`: how strongly the model is held to where it began."""

    beta: Literal["auto"] | Annotated[float, Field(gt=0, le=10)] = "auto"


class Supervised(Body):
    """Learn the assistant's turns."""

    hyperparameters: Hyperparameters = Hyperparameters()


class Dpo(Body):
    """Learn which of two answers is better."""

    hyperparameters: PreferenceHyperparameters = PreferenceHyperparameters()


class Method(Body):
    """How it is taught."""

    model_config = ConfigDict(extra="allow")
    type: Literal["supervised", "dpo", "reinforcement"] = "supervised"
    supervised: Supervised | None = None
    dpo: Dpo | None = None

    @property
    def hyperparameters(self) -> Hyperparameters | None:
        """Those of its type, where they are given."""
        given = self.dpo if self.type == "dpo" else self.supervised
        return given.hyperparameters if given else None


class TuningRequest(Body):
    """What is to be taught. `metadata.route` may name another route than lora, for the method supervised."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(min_length=1, max_length=300)
    training_file: str = Field(min_length=1, max_length=100)
    validation_file: str | None = Field(default=None, max_length=100)
    suffix: str | None = Field(default=None, min_length=1, max_length=64)
    seed: int | None = Field(default=None, ge=0, le=2**31)
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = Field(
        default=None, max_length=16
    )
    integrations: list[dict[str, Any]] | None = Field(default=None, max_length=0, description="none are supported")


class TuningError(BaseModel):
    """Why it failed."""

    code: str
    message: str
    param: str | None = None


class TuningJob(BaseModel):
    """A fine-tuning job."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None
    estimated_finish: int | None
    error: TuningError | None
    fine_tuned_model: str | None
    hyperparameters: Hyperparameters
    method: dict[str, Any]
    model: str
    organization_id: str
    result_files: list[str]
    seed: int
    status: Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
    trained_tokens: int | None
    training_file: str
    validation_file: str | None
    integrations: list[dict[str, Any]] = []
    metadata: dict[str, str] | None


class TuningJobs(BaseModel):
    """A page of jobs, newest first."""

    object: Literal["list"] = "list"
    data: list[TuningJob]
    has_more: bool


class TuningEvent(BaseModel):
    """Something that happened to a job; `data` of a `metrics` event holds the step and its losses."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


class TuningEvents(BaseModel):
    """A page of events, newest first."""

    object: Literal["list"] = "list"
    data: list[TuningEvent]
    has_more: bool


class TuningCheckpoint(BaseModel):
    """The weights that a job ended with: those of its best step."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    metrics: dict[str, float]
    step_number: int


class TuningCheckpoints(BaseModel):
    """A page of checkpoints."""

    object: Literal["list"] = "list"
    data: list[TuningCheckpoint]
    has_more: bool
    first_id: str | None
    last_id: str | None


@router.post("/jobs")
def create_job(visitor: Writer, wanted: TuningRequest) -> TuningJob:
    """Teach a model the examples or preferences of a file. A hosted model's name stands for what its alias says."""
    method = wanted.method or Method()
    if method.type == "reinforcement":
        said = f"the method '{method.type}' is not supported by this server"
        raise Refused(400, said, "use supervised or dpo", code="unsupported_method", param="method")
    hyper = method.hyperparameters or wanted.hyperparameters
    route = (wanted.metadata or {}).get("route", ROUTES[method.type])
    kind = choose("teach", route)
    learns = {"epochs", "batch", "learning_rate"} <= kind.model_fields.keys() and "block" not in kind.model_fields
    if not learns or getattr(kind, "learns_pairs", False) != (method.type == "dpo"):
        said = f"'{route}' does not learn what the method '{method.type}' teaches"
        raise Refused(400, said, param="metadata", code="invalid_value")
    workspace, on = visitor.house.resolve(visitor, wanted.model)
    if workspace != visitor.workspace:
        raise Refused(400, f"the model is of another workspace ('{workspace}')", param="model", code="invalid_value")
    data = {"training": _data_file(visitor, wanted.training_file, "training_file"), "validation": ""}
    if wanted.validation_file:
        data["validation"] = _data_file(visitor, wanted.validation_file, "validation_file")
    mark = secrets.token_hex(4)
    base = wanted.model.split(":")[1] if wanted.model.startswith("ft:") else wanted.model
    given = {
        "route": route,
        "settings": _settings(kind, hyper or Hyperparameters()),
        "on": on,
        "name": f"ft-{re.sub(r'[^A-Za-z0-9.-]+', '-', wanted.suffix or base).strip('.-')[:64] or 'model'}-{mark}",
        "seed": secrets.randbelow(2**31) if wanted.seed is None else wanted.seed,
        "data": data,
        "model": f"ft:{base}:{workspace}:{wanted.suffix or ''}:{mark}",
        "asked": wanted.model_dump(mode="json"),
    }
    queue = visitor.house.queue
    job = queue.add(workspace, "tuning", f"tune {given['name']}", given, visitor.user, prefix="ftjob")
    queue.tell(job.id, f"Created fine-tuning job: {job.id}")
    queue.tell(job.id, f"Validating training file: {wanted.training_file}")
    return _job(visitor, job)


@router.get("/jobs")
def list_jobs(visitor: Reader, request: Request, after: After = "", limit: Limit = 20) -> TuningJobs:
    """The workspace's jobs, newest first; `metadata[key]=value` keeps those that were made with it."""
    asked = {name[9:-1]: value for name, value in request.query_params.items() if name.startswith("metadata[")}
    found = [
        job
        for job in visitor.house.queue.jobs(visitor.workspace, ("tuning",), most=10_000)
        if asked.items() <= (job.given["asked"]["metadata"] or {}).items()
    ]
    page, more = _page([job.id for job in found], after, limit)
    return TuningJobs(data=[_job(visitor, found[at]) for at in page], has_more=more)


@router.get("/jobs/{job}")
def retrieve_job(visitor: Reader, job: str) -> TuningJob:
    """One job."""
    return _job(visitor, _found(visitor, job))


@router.post("/jobs/{job}/cancel")
def cancel_job(visitor: Writer, job: str) -> TuningJob:
    """Stop it for good."""
    return _job(visitor, visitor.house.queue.wish(_found(visitor, job), "cancel"))


@router.post("/jobs/{job}/pause")
def pause_job(visitor: Writer, job: str) -> TuningJob:
    """Stop it until it is resumed."""
    return _job(visitor, visitor.house.queue.wish(_found(visitor, job), "pause"))


@router.post("/jobs/{job}/resume")
def resume_job(visitor: Writer, job: str) -> TuningJob:
    """Let a paused job go on; it ends with the very weights it would have had without the pause."""
    return _job(visitor, visitor.house.queue.resume(_found(visitor, job)))


@router.get("/jobs/{job}/events")
def job_events(visitor: Reader, job: str, after: After = "", limit: Limit = 20) -> TuningEvents:
    """What happened to a job, newest first."""
    found = _found(visitor, job)
    number = after.removeprefix("ftevent-")
    before = min(int(number), 1 << 60) if number.isascii() and number.isdigit() else 1 << 60
    rows = visitor.house.state.rows(
        "select * from events where job = ? and number < ? order by number desc limit ?", (found.id, before, limit + 1)
    )
    return TuningEvents(data=[_event(row) for row in rows[:limit]], has_more=len(rows) > limit)


@router.get("/jobs/{job}/checkpoints")
def job_checkpoints(visitor: Reader, job: str, after: After = "", limit: Limit = 10) -> TuningCheckpoints:
    """The weights that a finished job can be asked with."""
    found = _found(visitor, job)
    made = [] if found.status != "done" or after else [_checkpoint(found)]
    ids = [one.id for one in made]
    return TuningCheckpoints(
        data=made, has_more=False, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None
    )


def _found(visitor: Visitor, job: str) -> Job:
    found = visitor.house.queue.get(job, visitor.workspace)
    if found.kind != "tuning":
        raise Refused(404, f"there is no fine-tuning job '{job[:100]}'", code="job_not_found")
    return found


def _data_file(visitor: Visitor, file: str, param: str) -> str:
    """The path of a data file in its workspace."""
    row = visitor.house.state.row("select * from files where id = ? and workspace = ?", (file, visitor.workspace))
    if row is None or row["purpose"] != "fine-tune":
        what = "has another purpose than fine-tune" if row else "does not exist"
        raise Refused(400, f"the file '{file}' {what}", code="invalid_file", param=param)
    return f"{FOLDER}/{path_of(visitor.house.folder(visitor.workspace), row['id'], row['name']).name}"


def _settings(kind: type[Settings], hyper: Hyperparameters) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if hyper.n_epochs != "auto":
        settings["epochs"] = hyper.n_epochs
    if hyper.batch_size != "auto":
        settings["batch"] = hyper.batch_size
    if hyper.learning_rate_multiplier != "auto":
        settings["learning_rate"] = kind.model_fields["learning_rate"].default * hyper.learning_rate_multiplier
    if isinstance(hyper, PreferenceHyperparameters) and hyper.beta != "auto":
        settings["beta"] = hyper.beta
    kind.of(settings)
    return settings


def _job(visitor: Visitor, job: Job) -> TuningJob:
    asked, result = job.given["asked"], job.result or {}
    status: Any = _SHOWN.get(job.status, job.status)
    if job.status == "queued" and job.started is None:
        status = "validating_files"  # their rows are read when the job begins
    method = Method(**(asked["method"] or {}))
    given = method.hyperparameters or Hyperparameters(**(asked["hyperparameters"] or {}))
    shared = given.model_dump(include=set(Hyperparameters.model_fields))
    return TuningJob(
        id=job.id,
        created_at=round(job.created),
        finished_at=round(job.finished) if job.finished else None,
        estimated_finish=_estimate(visitor, job),
        error=_error(job.error) if job.error else None,
        fine_tuned_model=job.given["model"] if job.status == "done" else None,
        hyperparameters=Hyperparameters(**shared),
        method={"type": method.type, method.type: {"hyperparameters": given.model_dump()}},
        model=asked["model"],
        organization_id=job.workspace,
        result_files=list(result.get("files", ())),
        seed=job.given["seed"],
        status=status,
        trained_tokens=result["done"]["trained_tokens"] if "done" in result else None,
        training_file=asked["training_file"],
        validation_file=asked["validation_file"],
        metadata=asked["metadata"],
    )


def _error(told: Mapping[str, Any]) -> TuningError:
    """Why a job failed, with the line of its file where it is one."""
    line = str(told.get("place", "")).rpartition(":")[2]
    where = f"line {line}: " if line.isdigit() else ""
    return TuningError(code=told.get("code", "failed"), message=where + told["message"])


def _estimate(visitor: Visitor, job: Job) -> int | None:
    """When a running job will be done at the pace it had so far."""
    if job.status != "running" or job.progress < 2:
        return None
    rows = Tail(run_log(visitor, job)).rows()
    if not rows or rows[-1]["step"] < 2:
        return None
    last = rows[-1]
    left: float = last["seconds"] / last["step"] * (last["steps"] - last["step"])
    return round(time.time() + left)


def _event(row: Mapping[str, Any]) -> TuningEvent:
    return TuningEvent(
        id=f"ftevent-{row['number']}",
        created_at=row["created"],
        level=row["level"],
        message=row["message"],
        type="metrics" if row["data"] else "message",
        data=json.loads(row["data"]) if row["data"] else {},
    )


def _checkpoint(job: Job) -> TuningCheckpoint:
    result = job.result or {}
    return TuningCheckpoint(
        id=f"ftckpt-{job.id.removeprefix('ftjob-')}",
        created_at=round(job.finished or 0),
        fine_tuned_model_checkpoint=job.given["model"],
        fine_tuning_job_id=job.id,
        metrics=result["metrics"],
        step_number=int(result["metrics"]["step"]),
    )


def _page(ids: list[str], after: str, limit: int) -> tuple[range, bool]:
    start = ids.index(after) + 1 if after in ids else 0
    return range(start, min(start + limit, len(ids))), start + limit < len(ids)
