"""Who may do what: users with keys, roles in workspaces, and the one dependency that every endpoint asks."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from fastapi import Request, Security
from fastapi.security import HTTPBearer
from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.marks import View
from shuyuan.base.workspace import Workspace, checked_name
from shuyuan.serve.limits import Body
from shuyuan.serve.refusals import Refused
from shuyuan.serve.state import STATE, State

if TYPE_CHECKING:
    from shuyuan.serve.house import House

Scope = Literal["read", "ask", "write", "admin"]
Role = Literal["reader", "writer", "owner"]
SCOPES: tuple[str, ...] = get_args(Scope)
MAY: Mapping[str, frozenset[str]] = {
    "reader": frozenset({"read", "ask"}),
    "writer": frozenset({"read", "ask", "write"}),
    "owner": frozenset(SCOPES),
}
COOKIE = "shuyuan"
LOCAL = "local"  # who is asking where no key was ever made: the person at this machine
BEARER = HTTPBearer(auto_error=False, description="A key: `shuyuan key new NAME`. Needless where no key was ever made.")


class WithinBody(Body):
    """Which documents are to be used: those that have all `tags`, lie in a `folder`, and are of a `kind` (`pdf`)."""

    tags: list[Annotated[str, Field(max_length=100)]] = Field(default=[], max_length=50)
    folder: str = Field(default="", max_length=4000)
    kind: str = Field(default="", max_length=20)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks, with the workspace it is about ("" where it is about none) and what they may do there."""

    house: House
    user: str
    key: str
    scopes: frozenset[str]
    admin: bool
    workspace: str = ""

    def may(self, scope: str, workspace: str) -> bool:
        """Whether they may do this in that workspace."""
        return scope in self.scopes and scope in self.house.access.granted(self, workspace)

    def view(self, workspace: str = "", within: WithinBody | None = None) -> View:
        """What they may see in a workspace (none: the one it is about), and what of it is wanted."""
        groups = self.house.access.groups(self, workspace or self.workspace)
        return View(groups, tuple(sorted(within.tags)), within.folder, within.kind) if within else View(groups)

    def hidden(self, here: Workspace) -> list[str]:
        """The documents of a workspace that they may not see."""
        view = self.view(here.folder.name)
        return [] if view.groups is None else [one for one in here.material.hidden() if not here.marks.shows(view, one)]

    def seen(self) -> list[str]:
        """The workspaces that they may see."""
        return [name for name in self.house.workspaces() if self.may("read", name)]


class Access:
    """Users, their keys (kept as hashes) and their roles."""

    def __init__(self, state: State) -> None:
        self._state = state

    def needed(self) -> bool:
        """Whether a key is asked for: from the first key on."""
        return self._state.row("select 1 from keys limit 1") is not None

    def add_key(self, user: str, scopes: Iterable[str] = SCOPES, admin: bool = False) -> tuple[str, str]:
        """A new key of a user, who is made when new: its id, and the secret, which is not kept anywhere."""
        wanted = [scope for scope in SCOPES if scope in set(scopes)]
        if not wanted:
            raise Fixable("a key needs a scope", f"there are: {', '.join(SCOPES)}")
        secret = f"sy-{secrets.token_urlsafe(32)}"
        key, now = f"key_{secrets.token_hex(6)}", round(time.time())
        with self._state.change() as db:
            db.execute("insert or ignore into users values (?, ?, ?)", (user, int(admin), now))
            if admin:
                db.execute("update users set admin = 1 where name = ?", (user,))
            db.execute("insert into keys values (?, ?, ?, ?, ?)", (key, user, hashed(secret), json.dumps(wanted), now))
        return key, secret

    def remove_key(self, key: str) -> None:
        """Make a key worthless; `Fixable` when there is none of this id."""
        with self._state.change() as db:
            if not db.execute("delete from keys where id = ?", (key,)).rowcount:
                raise Fixable(f"there is no key '{key}'", "list them: shuyuan key list")

    def listed(self) -> list[dict[str, Any]]:
        """All keys, without anything that could be used as one."""
        rows = self._state.rows(
            "select keys.id, user, scopes, keys.created, admin from keys join users on users.name = user "
            "order by keys.created, keys.id"
        )
        return [{**row, "scopes": json.loads(row["scopes"]), "admin": bool(row["admin"])} for row in rows]

    def set_role(self, workspace: str, user: str, role: str | None) -> None:
        """Give a user a role in a workspace, or take it away (None)."""
        with self._state.change() as db:
            if not db.execute("select 1 from users where name = ?", (user,)).fetchone():
                raise Fixable(f"there is no user '{user}'", "make a key for them first: shuyuan key new NAME")
            db.execute("delete from members where workspace = ? and user = ?", (workspace, user))
            if not role:
                db.execute("delete from in_groups where workspace = ? and user = ?", (workspace, user))
            if role:
                db.execute("insert into members values (?, ?, ?)", (workspace, user, role))

    def members(self, workspace: str) -> dict[str, str]:
        """The roles in a workspace, by user."""
        rows = self._state.rows("select user, role from members where workspace = ? order by user", (workspace,))
        return {row["user"]: row["role"] for row in rows}

    def set_group(self, workspace: str, group: str, users: Iterable[str]) -> None:
        """Say who is in a group of a workspace: these users, and nobody else."""
        with self._state.change() as db:
            db.execute("delete from in_groups where workspace = ? and of_group = ?", (workspace, group))
            for user in sorted(set(users)):
                _join(db, workspace, group, user)

    def join(self, workspace: str, group: str, user: str) -> None:
        """Put a user into a group of a workspace."""
        with self._state.change() as db:
            _join(db, workspace, group, user)

    def grouped(self, workspace: str) -> dict[str, list[str]]:
        """The groups of a workspace, with who is in them."""
        rows = self._state.rows(
            "select of_group, user from in_groups where workspace = ? order by of_group, user", (workspace,)
        )
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(row["of_group"], []).append(row["user"])
        return found

    def groups(self, visitor: Visitor, workspace: str) -> frozenset[str] | None:
        """The groups that a visitor is in; None for who may see everything: administrators and the owners."""
        if "admin" in self.granted(visitor, workspace):
            return None
        query = "select of_group from in_groups where workspace = ? and user = ?"
        return frozenset(row["of_group"] for row in self._state.rows(query, (workspace, visitor.user)))

    def granted(self, visitor: Visitor, workspace: str) -> frozenset[str]:
        """What a visitor's role in a workspace allows. Asked anew each time: a role taken away is gone at once."""
        if visitor.admin:
            return MAY["owner"]
        found = self._state.row("select role from members where workspace = ? and user = ?", (workspace, visitor.user))
        return MAY[found["role"]] if found else frozenset()

    def who(self, house: House, secret: str) -> Visitor | None:
        """The visitor with this key, or None."""
        if not self.needed():
            return Visitor(house, LOCAL, "", frozenset(SCOPES), admin=True)
        given = hashed(secret)
        row = self._state.row(
            "select keys.id, keys.hash, user, scopes, admin from keys join users on users.name = user where hash = ?",
            (given,),
        )
        if row is None or not hmac.compare_digest(row["hash"], given):
            return None
        return Visitor(house, row["user"], row["id"], frozenset(json.loads(row["scopes"])), bool(row["admin"]))


def open_access(folder: Path) -> Access:
    """The keys of the server of a folder, whether or not it runs."""
    return Access(State(folder.resolve() / STATE))


def role_of(given: str) -> tuple[str, str]:
    """`school=reader` as a workspace and a role."""
    workspace, _, role = given.partition("=")
    if role not in MAY or not workspace:
        raise Fixable(f"'{given}' is no role in a workspace", f"write WORKSPACE=ROLE, a role of: {', '.join(MAY)}")
    return workspace, role


def _join(db: sqlite3.Connection, workspace: str, group: str, user: str) -> None:
    checked_name(group)
    if not db.execute("select 1 from members where workspace = ? and user = ?", (workspace, user)).fetchone():
        raise Fixable(f"'{user}' has no role in '{workspace}'", "give them one first: shuyuan key new NAME --member …")
    db.execute("insert or ignore into in_groups values (?, ?, ?)", (workspace, group, user))


def hashed(secret: str) -> str:
    """How a key is kept. It is 256 random bits, so that one round of SHA-256 is enough."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


class Door:
    """The one dependency of every endpoint: lets a visitor with the scope in, and finds the workspace it is about.

    That is the address's `{workspace}`, else the header `OpenAI-Project`, else the server's first one that they may
    use. A workspace that they may not see does not exist for them.
    """

    def __init__(self, scope: Scope, workspace: bool = True) -> None:
        self.scope, self.workspace = scope, workspace

    def __call__(self, request: Request, _: Annotated[object, Security(BEARER)] = None) -> Visitor:
        house: House = request.app.state.house
        visitor = house.access.who(house, secret_of(request))
        if visitor is None:
            raise Refused(401, "a valid key is needed", "send it as 'Authorization: Bearer …'", code="invalid_api_key")
        request.state.visitor, request.state.scope = visitor, self.scope
        house.meter.count(visitor.key or visitor.user)
        if self.scope not in visitor.scopes:
            raise Refused(403, f"this key may not {self.scope}", "use another key", code="insufficient_permissions")
        if not self.workspace:
            if self.scope == "admin" and not visitor.admin:
                raise Refused(403, "only an administrator may do this", code="insufficient_permissions")
            return visitor
        name = request.path_params.get("workspace") or request.headers.get("openai-project") or ""
        seen = visitor.seen()
        if not name and not seen:
            raise Refused(404, "there is no workspace here yet", "make one", code="workspace_not_found")
        name = name or seen[0]
        if name not in seen:
            raise Refused(404, f"there is no workspace '{name}'", code="workspace_not_found")
        if not visitor.may(self.scope, name):
            raise Refused(403, f"you may not {self.scope} in '{name}'", code="insufficient_permissions")
        request.state.visitor = here = Visitor(house, visitor.user, visitor.key, visitor.scopes, visitor.admin, name)
        return here


def secret_of(request: Request) -> str:
    """The key that came with a request: in the header `Authorization`, in `x-api-key`, or in the page's cookie."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and given:
        return given.strip()
    return request.headers.get("x-api-key") or request.cookies.get(COOKIE, "")
