"""Files read in processes of their own, which may hang, crash or swell without harm to anything else."""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import human_bytes
from shuyuan.base.records import Document
from shuyuan.read.limits import CPU_SECONDS, MEMORY_BYTES
from shuyuan.read.reading import Part

SILENT_SECONDS = 300.0  # of wall time in which a reader may say nothing
MOST_ANSWER = 1 << 29
_AHEAD = 8  # files a reader may be ahead of whoever stores them
_FILES_EACH = 2_000  # then a reader is replaced, so that no leak lasts
T = TypeVar("T")


class Reader:
    """One process that reads files, started when it is needed and again after a file was too much for it."""

    def __init__(self, silent_seconds: float = SILENT_SECONDS) -> None:
        self._silent_seconds = silent_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0

    def read(self, path: Path, source: str) -> list[Part]:
        """The parts of one file: its document and those of the files inside, or what is wrong with it."""
        parts: list[Part] = []
        try:
            process = self._started()
            assert process.stdin
            process.stdin.write(json.dumps({"path": str(path), "source": source}).encode() + b"\n")
            process.stdin.flush()
            while not (answer := self._answer(process)).get("end"):
                if not answer.get("alive"):
                    document = answer.pop("document")
                    parts.append(Part(**{**answer, "document": Document.of(document) if document else None}))
            self._read += 1
            if self._read >= _FILES_EACH or any(part.short for part in parts):
                self.close()
        except _Ended as ended:
            parts.append(Part(source, fault=f"{path}: {ended}\nhint: leave it out with --exclude, or repair it"))
            self.close()
        except BrokenPipeError:
            self.close()
            parts.append(Part(source, fault=f"{path}: the process that reads files could not be started"))
        return parts

    def picture(self, path: Path, page: int) -> bytes:
        """A page of a PDF or of a file of pictures as PNG; `Fixable` when it cannot be drawn."""
        try:
            process = self._started()
            assert process.stdin
            process.stdin.write(json.dumps({"path": str(path), "page": page}).encode() + b"\n")
            process.stdin.flush()
            while (answer := self._answer(process)).get("alive"):
                pass
        except (_Ended, BrokenPipeError) as ended:
            self.close()
            raise Fixable(f"page {page}: {ended}", "open its text instead") from None
        if answer["fault"]:
            raise Fixable(answer["fault"], answer["hint"])
        return base64.b64decode(answer["picture"])

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process:
            self._process.kill()
            for stream in (self._process.stdin, self._process.stdout):
                if stream:
                    with suppress(BrokenPipeError):
                        stream.close()
            self._process.wait()
        self._process, self._read = None, 0

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
            self._process = subprocess.Popen(
                [sys.executable, "-B", "-P", "-m", "shuyuan.read.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **one_thread},
                start_new_session=True,  # Ctrl-C is for us: a reader ends with its input
            )
        return self._process

    def _answer(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        (size,) = struct.unpack(">I", self._bytes(process, 4))
        if size > MOST_ANSWER:
            raise _Ended(f"refused: it gives {human_bytes(size)} of text, at most {human_bytes(MOST_ANSWER)} are read")
        answer: dict[str, Any] = json.loads(self._bytes(process, size))
        return answer

    def _bytes(self, process: subprocess.Popen[bytes], count: int) -> bytes:
        assert process.stdout
        pieces, deadline = bytearray(), time.monotonic() + self._silent_seconds
        while len(pieces) < count:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise _Ended(f"refused: reading it takes more than {self._silent_seconds:.0f} seconds")
            piece = os.read(process.stdout.fileno(), min(count - len(pieces), 1 << 20))
            if not piece:
                raise _Ended(_why(process.wait()))
            pieces += piece
        return bytes(pieces)


class Readers:
    """Several readers side by side; results come in the order of the files."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._idle: SimpleQueue[Reader] = SimpleQueue()
        self._all = [Reader() for _ in range(workers)]
        for reader in self._all:
            self._idle.put(reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reader in self._all:
            reader.close()

    def read(self, files: Iterable[tuple[T, Path, str]]) -> Iterator[tuple[T, list[Part]]]:
        """(tag, path, source) of each file → (tag, its parts), in order."""
        with ThreadPoolExecutor(self._workers) as threads:
            waiting: deque[tuple[T, Future[list[Part]]]] = deque()
            try:
                for tag, path, source in files:
                    waiting.append((tag, threads.submit(self._one, path, source)))
                    while waiting and (len(waiting) > self._workers * _AHEAD or waiting[0][1].done()):
                        first, future = waiting.popleft()
                        yield first, future.result()
                while waiting:
                    first, future = waiting.popleft()
                    yield first, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()
                if waiting:
                    for reader in self._all:
                        reader.close()

    def _one(self, path: Path, source: str) -> list[Part]:
        reader = self._idle.get()
        try:
            return reader.read(path, source)
        finally:
            self._idle.put(reader)


class _Ended(Exception):  # noqa: N818  (it names what happened to the process)
    pass


def _why(status: int) -> str:
    if -status == signal.SIGXCPU:
        return f"refused: reading it takes more than {CPU_SECONDS} seconds of processor time"
    if -status in (signal.SIGKILL, signal.SIGABRT):
        return f"refused: reading it takes more than {human_bytes(MEMORY_BYTES)} of memory, or the system stopped it"
    return f"its parser crashed ({signal.Signals(-status).name if status < 0 else f'exit {status}'})"
