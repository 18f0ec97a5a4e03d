"""Errors for people: what happened, then what to do."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Fixable(Exception):  # noqa: N818  (it names what the reader can do about it)
    """Something the person at the keyboard can put right.

    Shown without a traceback as `what`, then `hint: …`. `place` is `file`, `file:line` or an address.
    """

    def __init__(self, what: str, hint: str = "", place: str | Path = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.place = str(place)

    def __str__(self) -> str:
        said = f"{self.place}: {self.what}" if self.place else self.what
        return f"{said}\nhint: {self.hint}" if self.hint else said


def near_miss(given: str, known: Iterable[str]) -> str:
    """A hint naming the known word nearest to `given`, or all of them when none is near."""
    known = list(known)
    near = difflib.get_close_matches(given.lower(), known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(known) or 'none'}"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into a `Fixable` that says where and what to do."""
    try:
        yield
    except Exception as error:
        number = _error_number(error)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Fixable(
                f"the disk is full: nothing more can be written under {path.parent}",
                "free some space and run the same command again: what was finished is kept",
            ) from error
        if number in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG):
            raise Fixable(
                f"{path} cannot be written: {os.strerror(number)}", "choose another folder, or change its permissions"
            ) from error
        raise


def _error_number(error: Exception) -> int:
    """The system's error number; libraries written in Rust (safetensors, LanceDB) put it into their message."""
    if isinstance(error, OSError):
        return error.errno or 0
    named = re.search(r"\(os error (\d+)\)", str(error))
    return int(named[1]) if named else 0
