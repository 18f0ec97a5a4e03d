"""Work shared among processes, its results in the order it was given: the same under any number of workers."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from shuyuan.base.errors import Fixable

T = TypeVar("T")
R = TypeVar("R")
_AHEAD = 3  # pieces a worker may have waiting, so that a large file is never in memory as a whole


def in_order(work: Callable[[Any, T], R], shared: Any, pieces: Iterable[T], workers: int) -> Iterator[R]:
    """`work(shared, piece)` of each piece, in order. One worker: in this process; `shared` is sent to each only once.

    The processes are new ones (spawned): a fork of a process that has computed with torch may hang for ever.
    """
    if workers <= 1:
        for piece in pieces:
            yield work(shared, piece)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(work, shared)) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for piece in pieces:
                waiting.append(pool.submit(_do, piece))
                if len(waiting) >= workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise Fixable(
                "a worker process ended before its work was done",
                "memory may be short; or, in a script of your own, put what it does under "
                "'if __name__ == \"__main__\":'",
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def worker_count(items: int, items_worth_one: int) -> int:
    """As many processes as there are processors, but none for less than `items_worth_one` items."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(here, items // items_worth_one))


_job: tuple[Callable[[Any, Any], Any], Any]


def _begin(work: Callable[[Any, Any], Any], shared: Any) -> None:
    global _job  # noqa: PLW0603  (what a worker process is for, set once at its start)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    _job = work, shared


def _do(piece: Any) -> Any:
    work, shared = _job
    return work(shared, piece)
