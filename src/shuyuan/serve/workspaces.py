"""Workspaces of the page: list, make, look inside."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from shuyuan.base.settings import Settings
from shuyuan.base.workspace import Choices, Workspace, finished
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.exams import seen_exams
from shuyuan.serve.limits import Body
from shuyuan.serve.work import plain
from shuyuan.teach.command import BARE
from shuyuan.teach.teaching import default_assistant

router = APIRouter(prefix="/api", tags=["workspaces"])
Anyone = Annotated[Visitor, Depends(Door("read", workspace=False))]
Reader = Annotated[Visitor, Depends(Door("read"))]
Admin = Annotated[Visitor, Depends(Door("admin", workspace=False))]
_DEFAULT = Choices()


class Workspaces(Settings):
    """Endpoints under `/api/workspaces`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class Brief(BaseModel):
    """A workspace in a list."""

    name: str
    model: str
    embedder: str
    counts: dict[str, int] = Field(description="files, documents, passages, examples, questions")
    assistants: list[str] = Field(description="the base model first, then what was taught, oldest first")
    exams: list[str]


class Taught(BaseModel):
    """An assistant of a workspace, and what it cost to make."""

    name: str
    route: str = Field(description="how it was taught; empty: it is the base model")
    on: str
    stale: str = Field(description="why it no longer matches its workspace; empty: it does")
    done: dict[str, Any] = Field(description="what its run wrote down at its end: settings, costs, verdict")


class Whole(Brief):
    """A workspace with all that is in it."""

    faults: dict[str, str] = Field(description="file → why it could not be read")
    languages: dict[str, int]
    origins: dict[str, int] = Field(description="how many examples came from each file: what can be mixed")
    default_assistant: str
    taught: list[Taught]


class NewWorkspace(Body):
    """What a new workspace is built on."""

    name: str = Field(min_length=1, max_length=100)
    model: str = Field(default=_DEFAULT.model, max_length=200, description="a name from `/api/models`")
    embedder: str = Field(default=_DEFAULT.embedder, max_length=200)


@router.get("/workspaces")
def workspaces(visitor: Anyone) -> list[Brief]:
    """The workspaces that you may see."""
    return [_brief(visitor, name) for name in visitor.seen()]


@router.post("/workspaces", status_code=201)
def new_workspace(visitor: Admin, wanted: NewWorkspace) -> Brief:
    """Make a workspace. Only models of the catalogue may be named: no path of this machine."""
    from shuyuan.base.errors import Fixable, near_miss
    from shuyuan.load.catalogue import entries

    for name, kind in ((wanted.model, "language"), (wanted.embedder, "embedder")):
        known = [entry.name for entry in entries().values() if entry.kind == kind]
        if name not in known:
            raise Fixable(f"there is no {kind} model '{name}'", near_miss(name, known))
    Workspace.create(visitor.house.folder(wanted.name), Choices(model=wanted.model, embedder=wanted.embedder))
    return _brief(visitor, wanted.name)


@router.get("/workspaces/{workspace}")
def whole_workspace(visitor: Reader, workspace: str) -> Whole:
    """One workspace: what was added, what was taught and what that cost, which exams were sat."""
    with visitor.house.opened(visitor.workspace) as here:
        view = visitor.view()
        files = [file for file in here.material.files().values() if file.fault]
        faults = {file.source: file.fault for file in files if here.marks.shows(view, file.source)}
        taught = [Taught(name=BARE, route="", on="", stale="", done={})]
        for name in here.runs():
            done = finished(here.run(name)) or {}
            route, on = str(done.get("route", "")), str(done.get("on", ""))
            taught.append(
                Taught(name=name, route=route, on=on, stale=visitor.house.stale(here, name), done=plain(done))
            )
        return Whole(
            **_brief(visitor, visitor.workspace).model_dump(),
            faults=faults,
            languages=here.material.languages(),
            origins=here.material.origins(),
            default_assistant=default_assistant(here),
            taught=taught,
        )


def _brief(visitor: Visitor, name: str) -> Brief:
    with visitor.house.opened(name) as here:
        return Brief(
            name=name,
            model=here.choices.model,
            embedder=here.choices.embedder,
            counts=here.material.counts(),
            assistants=[BARE, *here.runs()],
            exams=seen_exams(visitor, name),
        )
