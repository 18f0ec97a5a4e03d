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
from collections.abc import Iterable, Iterator, Mapping
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


class Ended(Exception):  # noqa: N818  (it names what happened to the process)
    """A process died with `status`, as `Popen` has it; or it is to end: `silent` for long, or `size_bytes` at once."""

    def __init__(self, status: int = 0, *, silent: bool = False, size_bytes: int = 0) -> None:
        super().__init__()
        self.status, self.silent, self.size_bytes = status, silent, size_bytes


class Child:
    """A process of `module` that takes lines of JSON and answers with JSON, its length in four bytes before it.

    It is started when it is needed, and again after one that has ended.
    """

    def __init__(self, module: str, silent_seconds: float = SILENT_SECONDS) -> None:
        self._module, self._silent_seconds = module, silent_seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def tell(self, asked: Mapping[str, Any]) -> None:
        """Start it where it does not run, and send it a line; `BrokenPipeError` when it has ended."""
        if not self.running:
            self.close()
            one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
            self._process = subprocess.Popen(
                [sys.executable, "-B", "-P", "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **one_thread},
                start_new_session=True,  # Ctrl-C is for us: it ends with its input
            )
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Its next answer. Raises `Ended`; who hears that closes it."""
        (size,) = struct.unpack(">I", self._bytes(4))
        if size > MOST_ANSWER:
            raise Ended(size_bytes=size)
        answer: dict[str, Any] = json.loads(self._bytes(size))
        return answer

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process:
            self._process.kill()
            for stream in (self._process.stdin, self._process.stdout):
                if stream:
                    with suppress(BrokenPipeError):
                        stream.close()
            self._process.wait()
        self._process = None

    def _bytes(self, count: int) -> bytes:
        assert self._process
        assert self._process.stdout
        pieces, deadline = bytearray(), time.monotonic() + self._silent_seconds
        while len(pieces) < count:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise Ended(silent=True)
            piece = os.read(self._process.stdout.fileno(), min(count - len(pieces), 1 << 20))
            if not piece:
                raise Ended(self._process.wait())
            pieces += piece
        return bytes(pieces)


class Reader(Child):
    """One process that reads files, started when it is needed and again after a file was too much for it."""

    def __init__(self, silent_seconds: float = SILENT_SECONDS) -> None:
        super().__init__("shuyuan.read.child", silent_seconds)
        self._read = 0

    def read(self, path: Path, source: str) -> list[Part]:
        """The parts of one file: its document and those of the files inside, or what is wrong with it."""
        parts: list[Part] = []
        try:
            self.tell({"path": str(path), "source": source})
            while not (answer := self.answer()).get("end"):
                if not answer.get("alive"):
                    document = answer.pop("document")
                    parts.append(Part(**{**answer, "document": Document.of(document) if document else None}))
            self._read += 1
            if self._read >= _FILES_EACH or any(part.short for part in parts):
                self.close()
        except Ended as ended:
            fault = f"{path}: {self._why(ended)}\nhint: leave it out with --exclude, or repair it"
            parts.append(Part(source, fault=fault))
            self.close()
        except BrokenPipeError:
            self.close()
            parts.append(Part(source, fault=f"{path}: the process that reads files could not be started"))
        return parts

    def picture(self, path: Path, page: int) -> bytes:
        """A page of a PDF or of a file of pictures as PNG; `Fixable` when it cannot be drawn."""
        try:
            self.tell({"path": str(path), "page": page})
            while (answer := self.answer()).get("alive"):
                pass
        except (Ended, BrokenPipeError) as ended:
            self.close()
            why = self._why(ended) if isinstance(ended, Ended) else str(ended)
            raise Fixable(f"page {page}: {why}", "open its text instead") from None
        if answer["fault"]:
            raise Fixable(answer["fault"], answer["hint"])
        return base64.b64decode(answer["picture"])

    def close(self) -> None:
        """End the process, whatever it is doing."""
        super().close()
        self._read = 0

    def _why(self, ended: Ended) -> str:
        if ended.silent:
            return f"refused: reading it takes more than {self._silent_seconds:.0f} seconds"
        if size := ended.size_bytes:
            return f"refused: it gives {human_bytes(size)} of text, at most {human_bytes(MOST_ANSWER)} are read"
        if -ended.status == signal.SIGXCPU:
            return f"refused: reading it takes more than {CPU_SECONDS} seconds of processor time"
        if -ended.status in (signal.SIGKILL, signal.SIGABRT):
            most = human_bytes(MEMORY_BYTES)
            return f"refused: reading it takes more than {most} of memory, or the system stopped it"
        name = signal.Signals(-ended.status).name if ended.status < 0 else f"exit {ended.status}"
        return f"its parser crashed ({name})"


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
