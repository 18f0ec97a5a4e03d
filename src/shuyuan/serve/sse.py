"""Answers piece by piece, with an error as the last one; and server-sent events, kept alive while nothing happens."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse

from shuyuan.base.errors import Fixable
from shuyuan.serve.refusals import Refused, body, in_form_of, of_fixable, stopping

KEEP_ALIVE_SECONDS = 15.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `id` is what the browser sends back as Last-Event-ID; data is JSON, or a text as it is."""

    data: Any
    name: str = ""
    id: str = ""

    def __str__(self) -> str:
        data = self.data if isinstance(self.data, str) else json.dumps(self.data, ensure_ascii=False)
        head = (f"event: {self.name}\n" if self.name else "") + (f"id: {self.id}\n" if self.id else "")
        return f"{head}data: {data}\n\n"


def stream(request: Request, events: AsyncGenerator[Event, None]) -> StreamingResponse:
    """Answer with events as they come. An error in the middle becomes a last event `error` in the API's form."""

    def broken(content: Any) -> str:
        return str(Event(content, "" if request.url.path.startswith("/v1/chat") else "error"))

    lines = written(request, events, str, broken, alive=": still here\n\n")
    return StreamingResponse(lines, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def begun(pieces: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same pieces, the first of which is there: what is refused at once is refused with a status of its own."""
    first = await anext(pieces)

    async def all_of_them() -> AsyncGenerator[T, None]:
        try:
            yield first
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    return all_of_them()


async def written(
    request: Request,
    pieces: AsyncGenerator[T, None],
    write: Callable[[T], str],
    broken: Callable[[Any], str],
    alive: str = "",
) -> AsyncIterator[str]:
    """Each piece as text when it comes; what breaks them off, the server's end too, is a last text, by `broken`.

    `broken` is given the error in the API's form. `alive`: what is said while nothing comes.
    """
    coming: asyncio.Task[T] | None = None
    closing = asyncio.ensure_future(request.app.state.closing.wait())
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(pieces))
            done, _ = await asyncio.wait({coming, closing}, timeout=KEEP_ALIVE_SECONDS, return_when="FIRST_COMPLETED")
            if closing in done:
                raise stopping()
            if not done:
                if alive:
                    yield alive
                continue
            ended, coming = coming, None
            try:
                piece = ended.result()
            except StopAsyncIteration:
                return
            yield write(piece)
    except Exception as error:
        yield broken(in_form_of(request.url.path, 500, _told(error)))
    finally:
        closing.cancel()
        if coming:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await pieces.aclose()


def _told(error: Exception) -> Any:
    if isinstance(error, Refused):
        return body(error.status, error.what, code=error.code, hint=error.hint)
    if isinstance(error, Fixable):
        return of_fixable(error)[1]
    logging.getLogger("shuyuan.serve").exception("an answer broke off", exc_info=error)
    return body(500, "this should not have happened; the server's log says more")
