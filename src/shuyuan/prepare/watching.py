"""Watch folders: whatever is added, changed, moved or deleted in them is added again, and nothing else is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import say
from shuyuan.base.workspace import Workspace
from shuyuan.prepare.adding import Added, add
from shuyuan.read.reading import walk

Seen = dict[Path, tuple[int, int, int]]


def watch(
    workspace: Workspace,
    paths: Sequence[Path],
    *,
    every_seconds: float = 2.0,
    exclude: Sequence[str] = (),
    pictures: bool = False,
    rest: Callable[[float], None] = time.sleep,
) -> Iterator[Added]:
    """Add the paths now and after every change; yields what each round did, until it is closed.

    A folder is looked over `every_seconds`; a change counts once two looks in a row see the same, so that a file is not
    read while it is being written. What cannot be added is said, and tried again after the next change.
    """
    done: Seen | None = None
    before = _looked_over(paths, exclude, pictures)
    while True:
        now = _looked_over(paths, exclude, pictures)
        if now != done and now == before:
            try:
                yield add(workspace, paths, exclude=exclude, pictures=pictures)
            except Fixable as error:
                say(str(error))
            done = now
        before = now
        rest(every_seconds)


def _looked_over(paths: Sequence[Path], exclude: Sequence[str], pictures: bool) -> Seen:
    """Size, time and number of every file; a folder that is away for a moment has none."""
    seen: Seen = {}
    for path in paths:
        try:
            files = walk(path, exclude, pictures).files
        except Fixable:
            continue
        for file in files:
            try:
                stat = file.stat()
            except OSError:
                continue  # gone since the folder was listed
            seen[file] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return seen
