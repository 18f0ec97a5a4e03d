"""What can be taught and examined with, the settings as JSON schemas, and a look before teaching."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from shuyuan.base.guards import Guards
from shuyuan.base.settings import Settings
from shuyuan.base.shelf import choices, choose
from shuyuan.examine.papers import USUAL
from shuyuan.prepare.mixture import Mix
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.jobs import ExamOrder, TeachOrder, teach_order
from shuyuan.serve.refusals import Refused
from shuyuan.teach.teaching import dry_run

router = APIRouter(prefix="/api", tags=["routes"])
Anyone = Annotated[Visitor, Depends(Door("read", workspace=False))]
Writer = Annotated[Visitor, Depends(Door("write"))]
_looking = threading.Lock()


class Routes(Settings):
    """Endpoints `/api/routes`, `/api/papers`, and `/preflight` of a workspace."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class RouteBody(BaseModel):
    """A way to teach."""

    name: str
    about: str
    explained: str = Field(description="its class's own words")
    moves_weights: bool = Field(description="it has guards, can be looked over first, and has a curve")
    learns_examples: bool = Field(description="it learns examples, which can be mixed")
    schema_: dict[str, Any] = Field(serialization_alias="schema", description="JSON schema of its settings")


class RouteList(BaseModel):
    """All routes, and the settings that every route which moves weights shares."""

    routes: list[RouteBody]
    guards: dict[str, Any] = Field(description="JSON schema of `guards`")


class PaperBody(BaseModel):
    """A paper that can be sat."""

    name: str
    about: str
    usual: bool = Field(description="it is sat when none is named")


class PaperList(BaseModel):
    """All papers, and what else can be said of a sitting."""

    papers: list[PaperBody]
    schema_: dict[str, Any] = Field(serialization_alias="schema", description="JSON schema of an exam's order")


class Look(BaseModel):
    """What would be taught: `sample` marks what is learned by ⟦ ⟧; `text` says it all as the command does."""

    title: str
    sequences: int
    held_out: int
    steps: int
    tokens: int = Field(description="an epoch")
    lengths: list[tuple[int, int]] = Field(description="(most tokens, how many sequences are no longer)")
    sample: str
    repeated: int
    contradictory: int
    unended: int
    difference: float
    longest_batch: int
    seconds: float = Field(description="an estimate")
    peak_bytes: int = Field(description="an estimate")
    free_bytes: int | None
    questions: int
    text: str


@router.get("/routes")
def routes(visitor: Anyone) -> RouteList:
    """The routes on the shelf."""
    found = []
    for name, about in choices("teach").items():
        kind = choose("teach", name)
        found.append(
            RouteBody(
                name=name,
                about=about,
                explained=(kind.__doc__ or "").strip(),
                moves_weights="learning_rate" in kind.model_fields,
                learns_examples=getattr(kind, "learns_examples", True),
                schema_=kind.model_json_schema(),
            )
        )
    return RouteList(routes=found, guards=Guards.model_json_schema())


@router.get("/papers")
def papers(visitor: Anyone) -> PaperList:
    """The papers on the shelf, the usual ones first."""
    shelf = choices("examine")
    found = [PaperBody(name=name, about=shelf[name], usual=name in USUAL) for name in dict.fromkeys([*USUAL, *shelf])]
    return PaperList(papers=found, schema_=ExamOrder.model_json_schema())


@router.post("/workspaces/{workspace}/preflight", tags=["jobs"])
def preflight(visitor: Writer, workspace: str, order: TeachOrder) -> Look:
    """Look over what a teaching would do, with its cost in time and memory; nothing is taught. One at a time."""
    given = teach_order(visitor, order)
    mix = order.mix and Mix(tuple(order.mix.origins), order.mix.strategy, tuple(order.mix.shares))
    if not _looking.acquire(blocking=False):
        raise Refused(429, "another look is under way", code="rate_limit_exceeded", wait=5)
    try:
        with visitor.house.opened(visitor.workspace) as here:
            found = dry_run(
                here,
                order.route,
                order.settings,
                on=order.on,
                name=given["name"],
                seed=order.seed,
                guards=order.guards,
                mix=mix or None,
            )
    finally:
        _looking.release()
    return Look(**asdict(found), text=str(found))
