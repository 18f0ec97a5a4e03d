"""Files that survive: written aside and renamed, locked while in use, checked by hash."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from shuyuan.base.errors import Fixable, disk_errors
from shuyuan.base.progress import say


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never half."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(content.encode() if isinstance(content, str) else content)
                out.flush()
                os.fsync(out.fileno())
            Path(aside).chmod(0o644)
            Path(aside).replace(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder that appears complete or not at all: fill what is yielded; it is renamed to `path` at the end."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield aside
            for entry in (aside, *aside.rglob("*")):
                sync_folder(entry)
            aside.chmod(0o755)
            if path.exists():  # renamed away first: a kill in the middle of removing must not leave half of it
                old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
                path.replace(old)
                aside.replace(path)
                shutil.rmtree(old)
            else:
                aside.replace(path)
            sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def sync_folder(path: Path) -> None:
    """Make the renames inside a folder (or the content of a file) outlast a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """The hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(*parts: object) -> str:
    """Sixteen hex digits that change when any part does; parts are plain values or JSON-like."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def inside(root: Path, name: str) -> Path:
    """`root/name`, refused when it would lie outside `root` (`..`, absolute, a link that leads out)."""
    odd = "\x00" in name or "\\" in name  # resolving a zero byte raises; a backslash is a separator elsewhere
    path = root if odd else (root / name).resolve()
    if odd or not path.is_relative_to(root.resolve()):
        raise Fixable(f"'{name}' is not a name inside {root}", "use a plain name without '..' or slashes at the front")
    return path


def read_json(path: Path) -> Any:
    """Read a JSON file; a broken one is a `Fixable` naming file and line."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", 1)
        raise Fixable(f"not valid JSON: {error}", "restore the file or make it again", f"{path}:{line}") from None


def write_json(path: Path, value: object) -> None:
    """Write JSON a person can read."""
    write_whole(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def append_jsonl(path: Path, rows: Iterable[object]) -> None:
    """Add lines to a log; each is flushed to the system so that another process can follow it."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as out:
            _drop_half_line(out)
            for row in rows:
                out.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def _drop_half_line(log: BinaryIO) -> None:
    """Cut off a last line that a crash left without its end, or the next line would be glued to it."""
    end = size = log.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 65536)
        log.seek(start)
        if (at := log.read(end - start).rfind(b"\n")) >= 0:
            end = start + at + 1
            break
        end = start
    if end < size:
        log.truncate(end)


def read_jsonl(path: Path) -> list[Any]:
    """All whole lines of a log; a last line cut by a crash is left out."""
    try:
        lines = path.read_bytes().split(b"\n")  # bytes: the cut may lie inside a character
    except FileNotFoundError:  # asked of the reading itself: a run that begins anew may clear it away at any moment
        return []
    return [json.loads(line) for line in lines[:-1] if line.strip()]


@contextmanager
def locked(path: Path, doing: str, wait: bool = False) -> Iterator[None]:
    """Hold a lock file while `doing` something. Freed by any exit.

    Another holder is waited for (`wait`), or is a `Fixable` that names it.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "another command"
            if not wait:
                raise Fixable(
                    f"{path.parent} is in use by {holder}", "wait until it is finished, or stop it first"
                ) from None
            say(f"waiting for {holder}")
            fcntl.flock(stream, fcntl.LOCK_EX)
        stream.truncate(0)
        stream.write(f"'{doing}' (process {os.getpid()})")
        stream.flush()
        yield
        stream.truncate(0)
