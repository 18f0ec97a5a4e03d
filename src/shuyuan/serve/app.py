"""The web application: every endpoint group on this shelf behind one gate, and the page where it was built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.routing import APIRoute

from shuyuan import __version__
from shuyuan.base.files import inside
from shuyuan.base.shelf import HOUSE, choices, choose
from shuyuan.serve.attendant import Attendant
from shuyuan.serve.gate import Gate
from shuyuan.serve.house import House
from shuyuan.serve.refusals import ErrorBody, Refused, described, handle_errors

PAGE = HOUSE / "web" / "dist"
THREADS = 64  # for endpoints that wait for the disk


def build_app(house: House, page: Path = PAGE) -> FastAPI:
    """The application over a house. Its queue is tended and its webhooks are sent while it runs."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        house.queue.start()
        house.webhooks.start()
        yield
        house.webhooks.stop()
        await asyncio.to_thread(house.queue.stop)
        house.pictures.close()

    app = FastAPI(
        title="Shuyuan",
        version=__version__,
        summary="Teach a model your own material by every route, examine the results, and ask them.",
        lifespan=lifespan,
        docs_url=None,  # these pages load their viewer from a foreign server
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation,
        responses=described(ErrorBody),
    )
    app.state.house, app.state.closing = house, asyncio.Event()
    handle_errors(app)
    for name in choices("serve"):
        app.include_router(choose("serve", name)().routes())
    app.add_middleware(Attendant, house=house)
    app.add_middleware(Gate, hosts=house.hosts, bounds=house.bounds)
    if page.is_dir():
        _show_page(app, page)
    return app


def _operation(route: APIRoute) -> str:
    return f"{route.tags[0] if route.tags else 'page'}_{route.name}"


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
