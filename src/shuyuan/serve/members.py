"""Users of the page: signing in with a key, keys and their scopes, members of a workspace and their roles."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from shuyuan.base.settings import Settings
from shuyuan.serve.access import COOKIE, SCOPES, Door, Role, Scope, Visitor
from shuyuan.serve.house import House
from shuyuan.serve.limits import Body
from shuyuan.serve.refusals import Refused

router = APIRouter(prefix="/api", tags=["members"])
Anyone = Annotated[Visitor, Depends(Door("read", workspace=False))]
Admin = Annotated[Visitor, Depends(Door("admin", workspace=False))]
Owner = Annotated[Visitor, Depends(Door("admin"))]
UserName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w.@+-]+$")]


class Members(Settings):
    """Endpoints `/api/session`, `/api/keys`, `/api/audit` and `/members` of a workspace."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class SignIn(Body):
    """A key, once: the browser then holds it in a cookie that no script can read."""

    key: str = Field(min_length=1, max_length=200)


class KeyBody(BaseModel):
    """A key without its secret."""

    id: str
    user: str
    scopes: list[Scope]
    created: int
    admin: bool


class NewKey(Body):
    """A key that is wanted."""

    user: UserName
    scopes: list[Scope] = Field(default=list(SCOPES), min_length=1, max_length=len(SCOPES))  # type: ignore[arg-type]
    admin: bool = Field(default=False, description="may do everything everywhere")


class MadeKey(BaseModel):
    """A new key. The secret is shown this once and kept nowhere."""

    id: str
    secret: str


class RoleBody(Body):
    """A role in a workspace: reader (see, ask), writer (add, teach, examine), owner (members)."""

    role: Role


class GroupBody(Body):
    """Who is in a group of a workspace."""

    users: list[UserName] = Field(max_length=10_000)


class Line(BaseModel):
    """A line of the audit log: never what a request was about."""

    number: int
    at: float
    user: str
    key: str
    workspace: str
    method: str
    route: str
    status: int


@router.post("/session", status_code=204)
def sign_in(request: Request, response: Response, given: SignIn) -> None:
    """Sign the browser in."""
    house: House = request.app.state.house
    house.meter.count("sign-in")
    if house.access.who(house, given.key) is None:
        raise Refused(401, "this key is not valid", "look it up, or ask an administrator", code="invalid_api_key")
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, given.key, httponly=True, samesite="strict", secure=secure, max_age=30 * 86_400)


@router.delete("/session", status_code=204)
def sign_out(response: Response) -> None:
    """Sign the browser out."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


@router.get("/keys")
def keys(visitor: Admin) -> list[KeyBody]:
    """All keys."""
    return [KeyBody.model_validate(row) for row in visitor.house.access.listed()]


@router.post("/keys", status_code=201)
def new_key(visitor: Admin, wanted: NewKey) -> MadeKey:
    """Make a key for a user. The server's first key must be an administrator's: it closes the open door."""
    access = visitor.house.access
    if not access.needed() and not wanted.admin:
        raise Refused(409, "the first key must be an administrator's: from then on nobody gets in without a key")
    key, secret = access.add_key(wanted.user, wanted.scopes, wanted.admin)
    return MadeKey(id=key, secret=secret)


@router.delete("/keys/{key}", status_code=204)
def remove_key(visitor: Admin, key: str) -> None:
    """Make a key worthless at once."""
    visitor.house.access.remove_key(key)


@router.get("/audit")
def audit(visitor: Admin, before: Annotated[int, Query(ge=0, le=1 << 60)] = 1 << 60) -> list[Line]:
    """The last 200 lines of the audit log before a number, newest first."""
    query = "select * from audit where number < ? order by number desc limit 200"
    return [Line(**row) for row in visitor.house.state.rows(query, (before,))]


@router.get("/workspaces/{workspace}/groups")
def groups(visitor: Owner, workspace: str) -> dict[str, list[str]]:
    """The groups of a workspace, with who is in them. Documents of a group are seen by these and by the owners."""
    return visitor.house.access.grouped(visitor.workspace)


@router.put("/workspaces/{workspace}/groups/{group}", status_code=204)
def set_group(visitor: Owner, workspace: str, group: str, wanted: GroupBody) -> None:
    """Say who is in a group: these members, and nobody else."""
    visitor.house.access.set_group(visitor.workspace, group, wanted.users)


@router.get("/workspaces/{workspace}/members")
def members(visitor: Owner, workspace: str) -> dict[str, Role]:
    """The members of a workspace and their roles."""
    return visitor.house.access.members(visitor.workspace)  # type: ignore[return-value]


@router.put("/workspaces/{workspace}/members/{user}", status_code=204)
def set_role(visitor: Owner, workspace: str, user: str, wanted: RoleBody) -> None:
    """Give a user a role."""
    visitor.house.access.set_role(visitor.workspace, user, wanted.role)


@router.delete("/workspaces/{workspace}/members/{user}", status_code=204)
def remove_member(visitor: Owner, workspace: str, user: str) -> None:
    """Take a user's role away."""
    visitor.house.access.set_role(visitor.workspace, user, None)
