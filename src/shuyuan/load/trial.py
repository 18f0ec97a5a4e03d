"""A stranger's tokenizer and chat template, tried once in a confined process before they are used in this one.

Both are programs: a template may loop for ever, and the patterns of a tokenizer may try without end. The verdict is
known again by the content of the files, so that a folder is tried anew only when it has changed.
"""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint, read_json, sha256_of, write_whole
from shuyuan.base.progress import human_bytes
from shuyuan.base.workspace import home
from shuyuan.load.confined import run_confined
from shuyuan.load.tried import MEMORY_BYTES, STEPS, file_of

TRIAL = 2  # raised when other things are tried
WAIT_SECONDS = 120.0  # of wall time for all of it; a fault ends by its processor time long before
_HASHED_BYTES = 64 << 20  # a larger file is known by its size and time
_NOT_READ = {"config.json", "generation_config.json", "shuyuan.json"}  # of the first only the kinds count

_verdicts: dict[str, str] = {}  # what is wrong, in this process; that nothing is, is kept on the disk, too


def try_tokenizer(folder: Path) -> None:
    """Raise `Fixable`, naming the file, when the tokenizer or the chat template in a model folder does harm.

    That is: takes more than seconds or half a gigabyte for ordinary words, crashes, or reaches for what it may not.
    """
    mark = _mark(folder)
    kept = home() / "tried" / mark
    if mark not in _verdicts:
        _verdicts[mark] = "" if kept.exists() else _tried(folder)
    if _verdicts[mark]:
        raise Fixable(_verdicts[mark], "choose another model, or put the file right", folder)
    if not kept.exists():
        with suppress(Fixable):  # a home that cannot be written to: it is tried again the next time
            write_whole(kept, "")


def _tried(folder: Path) -> str:
    """What is wrong, by the name of the file; "" when nothing is."""
    said, status = run_confined("shuyuan.load.tried", [str(folder.resolve())], WAIT_SECONDS)
    if said and said[-1].startswith("{"):
        return str(json.loads(said[-1])["fault"])
    return _why(folder, said[-1] if said else "", status)


def _why(folder: Path, step: str, status: int) -> str:
    if step not in STEPS:
        return f"the process that tries a tokenizer could not be started (exit {status})"
    name = file_of(folder, step)
    if -status == signal.SIGXCPU:
        return f"{name} takes more than {STEPS[step]} seconds of processor time for a few ordinary words"
    if -status in (signal.SIGKILL, signal.SIGABRT):
        return f"{name} takes more than {human_bytes(MEMORY_BYTES)} of memory or {WAIT_SECONDS:.0f} seconds"
    return f"{name} makes the process that tries it crash ({status})"


def _mark(folder: Path) -> str:
    """Changes when anything does that a tokenizer may read, or that reads it."""
    config = read_json(folder / "config.json") if (folder / "config.json").exists() else {}
    kind = [config.get(name) for name in ("model_type", "tokenizer_class")] if isinstance(config, dict) else None
    files = [
        (str(file.relative_to(folder)), sha256_of(file) if size <= _HASHED_BYTES else (size, file.stat().st_mtime_ns))
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix != ".safetensors" and file.name not in _NOT_READ
        for size in [file.stat().st_size]
    ]
    return fingerprint(TRIAL, version("transformers"), version("tokenizers"), kind, files)
