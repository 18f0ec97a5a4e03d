"""The server itself, for the page: who is asking, what it is bound to, the model catalogue, what works here."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from shuyuan import __version__
from shuyuan.base.settings import Settings
from shuyuan.base.shelf import choices
from shuyuan.load.catalogue import Language
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.limits import Bounds

router = APIRouter(tags=["server"])
Anyone = Annotated[Visitor, Depends(Door("read", workspace=False))]
Spoken = Annotated[Language, Query(description="of the texts")]
Admin = Annotated[Visitor, Depends(Door("admin", workspace=False))]


class Machine(Settings):
    """Endpoints `/health`, `/api/server`, `/api/models` and `/api/doctor`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class Health(BaseModel):
    """The server answers."""

    status: Literal["ok"] = "ok"
    version: str


class Server(BaseModel):
    """Who is asking, and what this server is."""

    version: str
    user: str
    admin: bool
    scopes: list[str]
    key_needed: bool
    one_workspace: bool = Field(description="the server was started in a workspace: no other can be made")
    bounds: Bounds
    answers_going: int
    answers_waiting: int
    groups: dict[str, str] = Field(description="the endpoint groups, each in one line")


class ModelBody(BaseModel):
    """A model of the catalogue."""

    name: str
    kind: str
    about: str
    languages: list[str]
    licence: str
    quantised: str
    present: bool
    bytes: int = Field(description="on this disk when present, else to be fetched")


class CheckBody(BaseModel):
    """One thing that was looked at: `note` works but is worth knowing, `bad` is needed and does not work."""

    what: str
    state: Literal["good", "note", "bad"]
    found: str
    hint: str


@router.get("/health")
def health() -> Health:
    """Whether the server answers. The one address that asks for no key."""
    return Health(version=__version__)


@router.get("/api/server")
def server(visitor: Anyone) -> Server:
    """Who you are here, and this server's bounds."""
    house = visitor.house
    return Server(
        version=__version__,
        user=visitor.user,
        admin=visitor.admin,
        scopes=sorted(visitor.scopes),
        key_needed=house.access.needed(),
        one_workspace=house.alone,
        bounds=house.bounds,
        answers_going=house.speaker.going,
        answers_waiting=house.speaker.waiting,
        groups=choices("serve"),
    )


@router.get("/api/models")
def models(visitor: Anyone, language: Spoken = "en") -> list[ModelBody]:
    """The models that can be used by name."""
    from shuyuan.load.pulling import models as known

    return [
        ModelBody(
            name=one.entry.name,
            kind=one.entry.kind,
            about=one.entry.about[language],
            languages=list(one.entry.languages),
            licence=one.entry.licence,
            quantised=one.entry.quantised,
            present=one.present,
            bytes=one.size_bytes if one.present else one.entry.wanted.bytes,
        )
        for one in known()
    ]


@router.get("/api/doctor")
def doctor(visitor: Admin, language: Spoken = "en") -> list[CheckBody]:
    """What works on this machine, and what to do about what does not; as `shuyuan doctor --quick`."""
    from shuyuan.load.checks import examine_machine

    checks = examine_machine(visitor.house.root, quick=True, language=language)
    return [CheckBody(what=one.what, state=one.state, found=one.found, hint=one.hint) for one in checks]
