"""The web application: every endpoint group on this shelf behind one gate, and the page where it was built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from fastapi.routing import APIRoute
from starlette.middleware.base import RequestResponseEndpoint

from shuyuan import __version__
from shuyuan.base.files import inside
from shuyuan.base.shelf import HOUSE, choices, choose
from shuyuan.serve.gate import Gate
from shuyuan.serve.house import House
from shuyuan.serve.refusals import RESPONSES, Refused, handle_errors

PAGE = HOUSE / "web" / "dist"
THREADS = 64  # for endpoints that wait for the disk


def build_app(house: House, page: Path = PAGE) -> FastAPI:
    """The application over a house. Its queue is tended while it runs."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        house.queue.start()
        yield
        await asyncio.to_thread(house.queue.stop)

    app = FastAPI(
        title="Shuyuan",
        version=__version__,
        summary="Teach a model your own material by every route, examine the results, and ask them.",
        lifespan=lifespan,
        docs_url=None,  # these pages load their viewer from a foreign server
        redoc_url=None,
        generate_unique_id_function=_operation,
        responses=RESPONSES,
    )
    app.state.house = house
    handle_errors(app)
    for name in choices("serve"):
        app.include_router(choose("serve", name)().routes())
    app.middleware("http")(_audit)
    app.add_middleware(Gate, hosts=house.hosts, bounds=house.bounds)
    if page.is_dir():
        _show_page(app, page)
    return app


def _operation(route: APIRoute) -> str:
    return f"{route.tags[0] if route.tags else 'page'}_{route.name}"


async def _audit(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Every change, and every refusal for want of rights, is written down: who, which endpoint, with what result."""
    answer = await call_next(request)
    if request.method not in ("GET", "HEAD") or answer.status_code in (401, 403):
        route: Any = request.scope.get("route")
        visitor = getattr(request.state, "visitor", None)
        path = getattr(route, "path", "")
        house: House = request.app.state.house
        await asyncio.to_thread(house.note, visitor, request.method, path, answer.status_code)
    return answer


def _show_page(app: FastAPI, page: Path) -> None:
    """The page's own files, and its first one for every address that is a place within it."""

    @app.get("/{path:path}", include_in_schema=False)
    def show(path: str) -> FileResponse:
        if path.startswith(("api/", "v1/")):
            raise Refused(404, "there is no such address", code="not_found")
        file = inside(page, path)
        if not file.is_file():
            if "." in path.rpartition("/")[2]:
                raise Refused(404, "there is no such file", code="not_found")
            file = page / "index.html"
        fresh = "no-cache" if file.name == "index.html" else "public, max-age=31536000, immutable"
        return FileResponse(file, headers={"Cache-Control": fresh})
