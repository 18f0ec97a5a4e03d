"""Answers as they are written: so many at once, the rest in a short queue, and none for a reader who has left."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from shuyuan.base.records import Answer, Assistant, Conversation, Decoding
from shuyuan.serve.limits import Bounds
from shuyuan.serve.refusals import Refused, stopping

T = TypeVar("T")
SECONDS_BETWEEN_LOOKS = 0.25  # at whether the reader is still there


@dataclass(frozen=True)
class Talk:
    """What is to be answered: in which workspace, by whom and how. `kept`: it may be kept as a question asked there."""

    workspace: str
    opened: Callable[[], Assistant]
    conversation: Conversation
    decoding: Decoding
    kept: bool = True


Heard = Callable[[Talk, Assistant, Answer], None]


class Speaker:
    """Runs assistants in threads of its own and hands their pieces to the event loop.

    `heard` is told of every whole answer, in the thread that wrote it, before the one who asked is. A slow reader holds
    up nothing: pieces wait in memory, bounded by the answer's own length. Closing the generator of `pieces` ends the
    assistant's work at its next piece.
    """

    def __init__(self, bounds: Bounds, heard: Heard) -> None:
        self._bounds, self._heard = bounds, heard
        self._threads = ThreadPoolExecutor(bounds.answers_at_once, thread_name_prefix="answer")
        self._free = asyncio.Semaphore(bounds.answers_at_once)
        self.waiting = self.going = 0

    async def pieces(self, talk: Talk) -> AsyncGenerator[str | Answer, None]:
        """The pieces of one answer, then the `Answer` itself. `Refused` 429 when too many wait already.

        An answer that takes longer than its bound ends as one that was cut at its length.
        """
        if self._free.locked() and self.waiting >= self._bounds.answers_waiting:
            raise Refused(
                429,
                "too many answers are being written",
                "come back a little later",
                code="rate_limit_exceeded",
                wait=2,
            )
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        gone = threading.Event()
        came: asyncio.Queue[str | Answer | Exception] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def work() -> None:
            try:
                assistant = talk.opened()
                for piece in _speak(assistant, talk, gone, self._bounds.answer_seconds):
                    if isinstance(piece, Answer) and talk.kept:
                        self._heard(talk, assistant, piece)
                    loop.call_soon_threadsafe(came.put_nowait, piece)
            except Exception as error:
                loop.call_soon_threadsafe(came.put_nowait, error)
            except BaseException as error:  # a panic of a library in Rust: without a word here, its reader would wait
                said = RuntimeError(f"{type(error).__name__}: {error}")
                loop.call_soon_threadsafe(came.put_nowait, said)
            finally:
                loop.call_soon_threadsafe(self._left)

        self.going += 1
        self._threads.submit(work)
        try:
            while True:
                piece = await came.get()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                if isinstance(piece, Answer):
                    return
        finally:
            gone.set()

    def _left(self) -> None:
        self.going -= 1
        self._free.release()

    async def answer(self, talk: Talk) -> Answer:
        """The whole answer."""
        async for piece in self.pieces(talk):
            if isinstance(piece, Answer):
                return piece
        raise AssertionError("an answer ends with its record")


def _speak(assistant: Assistant, talk: Talk, gone: threading.Event, seconds: float) -> Iterator[str | Answer]:
    """Pieces and answer, from a thread; ended when the reader is `gone` or the time is over."""
    until, said = time.monotonic() + seconds, ""
    stream = assistant.stream(talk.conversation, talk.decoding)
    try:
        while not gone.is_set():
            try:
                piece = next(stream)
            except StopIteration as end:
                yield end.value
                return
            said += piece
            yield piece
            if time.monotonic() > until:
                yield Answer(said, cut=True)
                return
    finally:
        stream.close()


async def while_there(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the one who asked has left."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=SECONDS_BETWEEN_LOOKS)
            if not task.done() and request.app.state.closing.is_set():
                raise stopping()
            if not task.done() and await request.is_disconnected():
                break
        if task.done():
            return task.result()
    finally:
        task.cancel()
    raise Refused(499, "the one who asked has left")
