"""Sees everyone in: no body is read for who has no key, and what they changed, or were refused, is written down."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shuyuan.base.errors import Fixable
from shuyuan.serve.access import secret_of
from shuyuan.serve.house import House
from shuyuan.serve.refusals import body, response

PUBLIC = ("/health", "/api/session", "/openapi.json", "/api/version")  # asked without a key; the page's files, too
_CLOSED = ("/api/", "/v1/")


class Attendant:
    """An ASGI middleware. Rights are `access.Door`'s, and only its; here a stranger is sent away before an upload."""

    def __init__(self, app: ASGIApp, house: House) -> None:
        self.app, self.house = app, house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in or send away, and write down."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        noted = False

        async def written_down(message: Message) -> None:
            """Before the answer begins, so that no change is acknowledged and not on record."""
            nonlocal noted
            if message["type"] == "http.response.start" and not noted:
                noted = True
                await self._note(request, message["status"])
            await send(message)

        closed = scope["path"].startswith(_CLOSED) and scope["path"] not in PUBLIC
        try:
            stranger = closed and self.house.access.who(self.house, secret_of(request)) is None
        except Fixable as error:  # the records: out here no handler of the endpoints' sees it
            broken = response(request, 500, body(500, error.what, hint=error.hint))
            await broken(scope, receive, send)
            return
        if stranger:
            said = body(401, "a valid key is needed", code="invalid_api_key", hint="'Authorization: Bearer …'")
            refused = response(request, 401, said, {"WWW-Authenticate": "Bearer"})
            await refused(scope, receive, written_down)
            return
        await self.app(scope, receive, written_down)

    async def _note(self, request: Request, status: int) -> None:
        state = request.scope.get("state", {})
        changes = state.get("scope") in ("write", "admin") and request.method not in ("GET", "HEAD")
        if changes or status in (401, 403):
            route: Any = request.scope.get("route")
            path = getattr(route, "path", "")
            await asyncio.to_thread(self.house.note, state.get("visitor"), request.method, path, status)
