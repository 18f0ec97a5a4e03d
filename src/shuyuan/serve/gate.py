"""What every request passes before anything reads it: names, origins, sizes, types; and every answer's headers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shuyuan.serve.limits import Bounds
from shuyuan.serve.refusals import body, in_form_of

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The report of an exam is one page with its own style and drawings; it runs nothing and fetches nothing.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:@/\\\[\]]+)(?::\d+)?")
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
_OF_REPORTS = {"X-Frame-Options": "SAMEORIGIN"}


class Gate:
    """An ASGI middleware. `hosts` are the names that the server answers to, without a port."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], bounds: Bounds) -> None:
        self.app, self.bounds = app, bounds
        self.hosts = frozenset({*LOCAL_NAMES, *(host.lower() for host in hosts)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with the body counted and the headers added."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        answer = _with_headers(send)
        if refused:
            status, said = refused
            content = json.dumps(in_form_of(scope["path"], status, body(status, said))).encode()
            length = (b"content-length", str(len(content)).encode())
            start = {"type": "http.response.start", "status": status}
            await answer({**start, "headers": [(b"content-type", b"application/json"), length]})
            await answer({"type": "http.response.body", "body": content})
            return
        await self.app(scope, _counted(receive, self._most(headers)), answer)

    def _refused(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        if len(headers.getlist("host")) != 1 or not self._known(headers["host"]):
            return 421, "this server does not go by that name; start it with --allow-host NAME to let it"
        if wrong := self._foreign(scope, headers):
            return 403, wrong
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return 400, "Content-Length must be a number"
        if int(length) > self._most(headers):
            return 413, f"the body has {int(length):,} bytes; at most {self._most(headers):,} are taken"
        has_body = int(length) > 0 or "transfer-encoding" in headers
        kind = _type_of(headers)
        if has_body and kind not in ("application/json", "multipart/form-data"):
            return 415, "the body must be application/json (or multipart/form-data where a file is uploaded)"
        return None

    def _known(self, host: str) -> bool:
        named = _HOST.fullmatch(host.lower())
        return named is not None and named[1].strip("[]") in self.hosts

    def _foreign(self, scope: Scope, headers: Headers) -> str:
        """Why a request comes from another site's page, or nothing. On every method, DELETE as well as GET."""
        site = headers.get("sec-fetch-site")
        if site not in (None, "same-origin", "none"):
            visits = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
            if not (visits and not scope["path"].startswith(("/api/", "/v1/"))):  # a link to the page may be followed
                return "requests from other sites' pages are not answered"
        for origin in headers.getlist("origin"):
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or parts.netloc.lower() != headers["host"].lower():
                return "requests from other origins are not answered"
        return ""

    def _most(self, headers: Headers) -> int:
        return self.bounds.upload_bytes if _type_of(headers) == "multipart/form-data" else self.bounds.body_bytes


def _type_of(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _counted(receive: Receive, most: int) -> Receive:
    """Reading stops where the body is over its bound, whatever its Content-Length said."""
    came = 0

    async def counted() -> Message:
        nonlocal came
        message = await receive()
        came += len(message.get("body") or b"")
        if came > most:
            raise HTTPException(413, f"the body has more than {most:,} bytes")
        return message

    return counted


def _with_headers(send: Send) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            of_report = "sandbox" in headers.get("content-security-policy", "")
            for name, value in {**_HEADERS, **(_OF_REPORTS if of_report else {})}.items():
                if name.lower() not in headers or name == "X-Frame-Options":
                    headers[name] = value
        await send(message)

    return answer


class Meter:
    """Counts requests by key in a bucket that refills steadily."""

    def __init__(self, a_minute: int) -> None:
        self._a_second, self._most = a_minute / 60, float(max(1, a_minute))
        self._left: dict[str, tuple[float, float]] = {}

    def count(self, key: str) -> None:
        """Take one request of this key; `Refused` 429 when there are too many."""
        from shuyuan.serve.refusals import Refused

        now: Any = time.monotonic()
        left, since = self._left.get(key, (self._most, now))
        left = min(self._most, left + (now - since) * self._a_second)
        if left < 1:
            self._left[key] = (left, now)
            raise Refused(429, "too many requests", code="rate_limit_exceeded", wait=(1 - left) / self._a_second)
        self._left[key] = (left - 1, now)
