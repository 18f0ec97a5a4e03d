"""Jobs of the page: teach, examine, fetch a model; list them, follow them live, pause, resume, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, field_validator

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.files import read_jsonl
from shuyuan.base.guards import Guards
from shuyuan.base.settings import Settings
from shuyuan.base.shelf import choose
from shuyuan.base.workspace import Workspace, checked_name
from shuyuan.examine.papers import USUAL
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.limits import Body
from shuyuan.serve.queue import ENDED, Job, Kind
from shuyuan.serve.refusals import Refused
from shuyuan.serve.sse import Event, stream
from shuyuan.serve.tail import Tail
from shuyuan.teach.command import BARE

router = APIRouter(prefix="/api/workspaces/{workspace}", tags=["jobs"])
Reader = Annotated[Visitor, Depends(Door("read"))]
Writer = Annotated[Visitor, Depends(Door("write"))]
SECONDS_BETWEEN_LOOKS = 0.5
LOG_PIECE = 64_000  # bytes of a log in one event


class Jobs(Settings):
    """Endpoints under `/api/workspaces/{workspace}/jobs`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class Problem(BaseModel):
    """Why a job failed, and what to do about it."""

    message: str
    hint: str = ""
    place: str = ""
    code: str = ""


class JobBody(BaseModel):
    """A job. Times are seconds since 1970."""

    id: str
    workspace: str
    kind: Kind
    title: str
    status: Literal["queued", "running", "paused", "done", "failed", "cancelled"]
    wanted: str = Field(description="pause or cancel, while a running job has not yet stopped")
    user: str
    created: float
    started: float | None
    finished: float | None
    step: int = Field(description="the last step of a teaching; 0 before the first")
    steps: int | None = Field(description="how many there will be, as soon as that is known")
    given: dict[str, Any] = Field(description="what was asked for")
    result: dict[str, Any] | None = Field(description="what a finished job brought: `assistant`, `exam`, counts")
    error: Problem | None


class JobList(BaseModel):
    """A page of a list; `after` of the next is the last one's id."""

    data: list[JobBody]
    has_more: bool


class MixBody(Body):
    """Which files of examples are learned, and how many of each."""

    origins: list[str] = Field(min_length=1, max_length=1000)
    strategy: Literal["concat", "interleave_under", "interleave_over", "interleave_once"] = "interleave_under"
    shares: list[Annotated[float, Field(gt=0, le=1e6)]] = Field(default=[], max_length=1000)


class TeachOrder(Body):
    """What to teach; `settings` are those of the route (`/api/routes` has their schema)."""

    route: str = Field(min_length=1, max_length=100)
    settings: dict[str, Any] = Field(default={}, description="left out: the route's defaults")
    on: str = Field(default=BARE, max_length=100, description="the assistant to start from")
    name: str = Field(default="", max_length=100, description="of the new assistant; empty: named after its routes")
    seed: int = Field(default=0, ge=0, le=2**31)
    again: bool = Field(default=False, description="replace an assistant of this name that was made from other things")
    guards: Guards = Guards()
    mix: MixBody | None = None
    tune_seconds: float = Field(default=0, ge=0, le=86_400, description="first try learning rates for so long")

    @field_validator("guards", mode="before")
    @classmethod
    def _numbers(cls, given: Any) -> Any:
        if isinstance(given, dict) and any(isinstance(value, (bool, str)) for value in given.values()):
            raise ValueError("guards are numbers")
        return Guards(**given) if isinstance(given, dict) else given


class ExamOrder(Body):
    """Who sits which exam."""

    assistants: list[Annotated[str, Field(max_length=100)]] = Field(default=[], max_length=100, description="none: all")
    name: str = Field(default="exam", min_length=1, max_length=100)
    papers: list[Annotated[str, Field(max_length=100)]] = Field(
        default=list(USUAL), max_length=100, description="which (`/api/papers` lists them); knowledge is always sat"
    )
    questions: int = Field(default=0, ge=0, le=1_000_000, description="most questions on the material; 0: all")
    general: int = Field(default=0, ge=0, le=1_000_000, description="most general questions; 0: all")
    k: int = Field(default=5, ge=1, le=100, description="retrieval recall is measured at this many passages")
    seed: int = Field(default=0, ge=0, le=2**31, description="the same seed picks the same questions")


class PullOrder(Body):
    """Which model of the catalogue is to be fetched."""

    model: str = Field(min_length=1, max_length=200)


@router.post("/jobs/teach", status_code=202)
def teach(visitor: Writer, workspace: str, order: TeachOrder) -> JobBody:
    """Teach an assistant by a route. What can be refused at once is: an unknown route, a setting out of bounds."""
    given = teach_order(visitor, order)
    return job_body(visitor.house.queue.add(visitor.workspace, "teach", f"teach {given['name']}", given, visitor.user))


@router.post("/jobs/exam", status_code=202)
def examine(visitor: Writer, workspace: str, order: ExamOrder) -> JobBody:
    """Let assistants sit an exam."""
    checked_name(order.name)
    known = visitor.house.names(visitor.workspace)
    for name in order.assistants:
        if name not in known:
            raise Fixable(f"there is no assistant '{name}'", near_miss(name, known))
    for paper in order.papers:
        choose("examine", paper)
    given = order.model_dump()
    return job_body(visitor.house.queue.add(visitor.workspace, "exam", f"exam {order.name}", given, visitor.user))


@router.post("/jobs/pull", status_code=202)
def pull(visitor: Writer, workspace: str, order: PullOrder) -> JobBody:
    """Fetch a model of the catalogue, so that it can be used without a network."""
    from shuyuan.load.catalogue import entries

    if order.model not in entries():
        raise Fixable(f"there is no model '{order.model}'", near_miss(order.model, entries()))
    given = {"model": order.model}
    return job_body(visitor.house.queue.add(visitor.workspace, "pull", f"pull {order.model}", given, visitor.user))


@router.get("/jobs")
def jobs(
    visitor: Reader,
    workspace: str,
    after: Annotated[str, Query(max_length=100, description="the last job of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    kind: Annotated[list[Kind], Query(max_length=5, description="only these; none: all")] = [],  # noqa: B006
) -> JobList:
    """The workspace's jobs, newest first."""
    queue, shown = visitor.house.queue, list[Job]()
    while len(shown) <= limit:
        page = queue.jobs(visitor.workspace, tuple(kind), limit + 1, after)
        shown += [job for job in page if _shown(visitor, job)]
        if len(page) <= limit:
            break
        after = page[-1].id
    return JobList(data=[job_body(job) for job in shown[:limit]], has_more=len(shown) > limit)


@router.get("/jobs/{job}")
def one_job(visitor: Reader, workspace: str, job: str) -> JobBody:
    """One job."""
    found = _job(visitor, job)
    return job_body(found, steps_of(visitor, found))


@router.post("/jobs/{job}/cancel")
def cancel(visitor: Writer, workspace: str, job: str) -> JobBody:
    """Stop a job for good. What it has finished is kept, and `resume` would go on from there."""
    queue = visitor.house.queue
    return job_body(queue.wish(_job(visitor, job), "cancel"))


@router.post("/jobs/{job}/pause")
def pause(visitor: Writer, workspace: str, job: str) -> JobBody:
    """Stop a job until it is resumed."""
    queue = visitor.house.queue
    return job_body(queue.wish(_job(visitor, job), "pause"))


@router.post("/jobs/{job}/resume")
def resume(visitor: Writer, workspace: str, job: str) -> JobBody:
    """Let a paused, failed or cancelled job go on from what it had finished."""
    queue = visitor.house.queue
    return job_body(queue.resume(_job(visitor, job)))


@router.get(
    "/jobs/{job}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {}}}}},
)
def events(
    request: Request,
    visitor: Reader,
    workspace: str,
    job: str,
    last_event_id: Annotated[str, Header(max_length=100)] = "",
) -> StreamingResponse:
    """Follow a job: `job` (its state, when it changes), `log` (text), `point` (a step of the curve), `rewind` (a step).

    After `rewind` the points with a greater step are void: the job was begun again from a checkpoint. Each event's id,
    sent back as Last-Event-ID, goes on after it. The stream ends when the job has.
    """
    found = _job(visitor, job)
    return stream(request, _follow(visitor, found, last_event_id))


@router.get("/jobs/{job}/curve")
def curve(visitor: Reader, workspace: str, job: str) -> list[dict[str, Any]]:
    """The steps of a teaching so far, at most 2,000 of them, evenly spaced: loss, learning rate, what was looked at."""
    rows = _points(visitor, _job(visitor, job))
    looks = [row for row in rows if "look_seconds" in row]
    step = max(1, len(rows) // 2000)
    kept = {row["step"]: dict(row) for row in (*rows[::step], *looks)}
    return [kept[at] for at in sorted(kept)]


def _job(visitor: Visitor, job: str) -> Job:
    found = visitor.house.queue.get(job, visitor.workspace)
    if not _shown(visitor, found):
        raise Refused(404, f"there is no job '{job[:100]}'", code="job_not_found")
    return found


def _shown(visitor: Visitor, job: Job) -> bool:
    """What somebody else adds is not told where documents may be of a group: title, log and faults name them."""
    if job.kind != "add" or job.user == visitor.user:
        return True
    with visitor.house.opened(visitor.workspace) as here:
        return not here.marks.restrict(visitor.view())


def teach_order(visitor: Visitor, order: TeachOrder) -> dict[str, Any]:
    """An order as the worker takes it, with the name derived; `Fixable` for what cannot be taught."""
    choose("teach", order.route).of(order.settings)
    known = visitor.house.names(visitor.workspace)
    if order.on not in known:
        raise Fixable(f"there is no assistant '{order.on}'", near_miss(order.on, known))
    name = checked_name(order.name or (order.route if order.on == BARE else f"{order.on}+{order.route}"))
    if name == BARE:
        raise Fixable(f"'{BARE}' is the base model's name", "choose another")
    return {**order.model_dump(), "name": name}


def job_body(job: Job, steps: int | None = None) -> JobBody:
    """A job as the page sees it; paths of this machine are left out."""
    shown = {key: value for key, value in job.given.items() if key not in ("paths", "questions", "data", "files")}
    if job.kind == "exam":
        shown = dict(job.given)
    return JobBody(
        id=job.id,
        workspace=job.workspace,
        kind=job.kind,
        title=job.title,
        status=job.status,
        wanted=job.wanted,
        user=job.user,
        created=job.created,
        started=job.started,
        finished=job.finished,
        step=job.progress,
        steps=steps,
        given=shown,
        result=dict(job.result) if job.result is not None else None,
        error=Problem(**job.error) if job.error else None,
    )


def steps_of(visitor: Visitor, job: Job) -> int | None:
    """How many steps a teaching will take, when its log says so."""
    rows = _points(visitor, job)
    return int(rows[-1]["steps"]) if rows and "steps" in rows[-1] else None


def _points(visitor: Visitor, job: Job) -> list[Mapping[str, Any]]:
    log = run_log(visitor, job)
    return read_jsonl(log) if log else []


def run_log(visitor: Visitor, job: Job) -> Path | None:
    """Where the steps of a teaching are written."""
    if job.kind not in ("teach", "tuning"):
        return None
    return Workspace.open(visitor.house.folder(job.workspace)).run(str(job.given["name"])).folder / "log.jsonl"


async def _follow(visitor: Visitor, job: Job, last: str) -> AsyncGenerator[Event, None]:
    queue, folder = visitor.house.queue, f"{visitor.house.folder(job.workspace)}/"
    at, step = _place(last)
    tail, steps = Tail(run_log(visitor, job)), None
    shown: tuple[Any, ...] = ()
    while True:
        job = await asyncio.to_thread(queue.get, job.id, job.workspace)
        over = job.status in (*ENDED, "paused")  # asked before the logs are read, so that nothing is left behind
        points = await asyncio.to_thread(tail.rows)
        steps = int(points[-1]["steps"]) if points else steps
        if points and points[-1]["step"] < step:
            step = int(points[-1]["step"])
            yield Event({"step": step}, "rewind", f"{at}:{step}")
        for point in points:
            if point["step"] > step or (step < 0 <= point["step"]):
                step = int(point["step"])
                yield Event(point, "point", f"{at}:{step}")
        while piece := await asyncio.to_thread(_piece, queue.log(job.id), at):
            at += len(piece)
            text = piece.decode(errors="replace").replace(folder, "")  # where it lies on this machine is left out
            yield Event({"text": text}, "log", f"{at}:{step}")
        now = (job.status, job.wanted, job.attempts, job.progress // 10)
        if now != shown or over:
            shown = now
            yield Event(job_body(job, steps).model_dump(), "job", f"{at}:{step}")
        if over:
            return
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


def _place(last: str) -> tuple[int, int]:
    at, _, step = last.partition(":")
    whole = at.isascii() and at.isdigit() and step.lstrip("-").isascii() and step.lstrip("-").isdigit()
    return (min(int(at), 1 << 60), min(int(step), 1 << 60)) if whole else (0, -1)


def _piece(log: Path, at: int) -> bytes:
    """What stands in a log from a place on, to the end of a character."""
    if not log.exists():
        return b""
    with log.open("rb") as file:
        file.seek(at)
        piece = file.read(LOG_PIECE)
    while piece and len(piece) > LOG_PIECE - 4 and piece[-1] & 0x80:  # may be half a character: left for the next one
        piece = piece[:-1]
    return piece
