"""What `shuyuan doctor` looks at, with the same functions that the other commands use."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shuyuan import __version__
from shuyuan.base.errors import Fixable, disk_errors
from shuyuan.base.progress import human_bytes, say
from shuyuan.base.workspace import SETTINGS_FILE, Choices, Workspace, home

ENOUGH_MEMORY = 8_000_000_000  # to tune all the default model's weights
ENOUGH_DISK = 5_000_000_000  # the default models, fetched and converted, and a few runs
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "SHUYUAN_HOME", "SHUYUAN_WORKSPACE", "OMP_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: `good`, `note` (works, but worth knowing) or `bad` (needed, and does not work)."""

    what: str
    state: Literal["good", "note", "bad"]
    found: str
    hint: str = ""


def examine_machine(folder: Path, quick: bool = False) -> list[Check]:
    """Every check, for the workspace in `folder` if there is one. `quick` does not read the models' files."""
    checks = [*_software(), *_hardware(), *_folders(folder)]
    choices = Choices()
    if (folder / SETTINGS_FILE).exists():
        workspace, check = _workspace(folder)
        checks.append(check)
        choices = workspace.choices if workspace else choices
    checks += _models(choices, quick)
    given = [f"{name}={os.environ[name]}" for name in _OFFLINE if name in os.environ]
    return [*checks, Check("environment", "good", ", ".join(given) or "nothing set")]


def _software() -> Iterator[Check]:
    new_enough = sys.version_info >= (3, 11)
    yield Check(
        "Python",
        "good" if new_enough else "bad",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "" if new_enough else "install Python 3.11 or newer",
    )
    yield Check("Shuyuan", "good", f"{__version__}, SQLite {sqlite3.sqlite_version}")
    missing, found = [], []
    for wanted in importlib.metadata.requires("shuyuan") or []:
        if "extra ==" in wanted:
            continue
        name = re.split(r"[ <>=!~;\[]", wanted)[0]
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Check("packages", "bad", f"missing: {', '.join(missing)}", "install them: make demo, or pip install -e .")
    yield Check("packages", "good", ", ".join(found[:2]) + f" and {len(found) - 2} more")


def _hardware() -> Iterator[Check]:
    import torch

    from shuyuan.load.model import native_bf16

    native = native_bf16()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check(
        "processor",
        "good" if native else "note",
        f"{cores} cores, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, "
        f"bfloat16 {'native' if native else 'not native: float32 is used'}",
        ""
        if native
        else "teaching takes several times longer and twice the memory; choose a smaller --model if needed",
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    yield Check("GPU", "good" if gpu else "note", gpu or "none: the processor is used")
    free = _available_memory()
    if free is not None:
        low = free < ENOUGH_MEMORY
        hint = (
            "close other programs, or work with `--model smollm2-135m` and the routes retrieve and lora" if low else ""
        )
        yield Check("memory", "note" if low else "good", f"{human_bytes(free)} available", hint)


def _available_memory() -> int | None:
    """Bytes that can still be used, from the system and from a container's limit; None where neither is told."""
    found = []
    if (told := Path("/proc/meminfo")).exists():
        line = next((row for row in told.read_text().splitlines() if row.startswith("MemAvailable")), "")
        found += [int(line.split()[1]) * 1024] if line else []
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and limit.read_text().strip().isdigit():
        found.append(int(limit.read_text()) - int(used.read_text()))
    return min(found, default=None)


def _folders(folder: Path) -> Iterator[Check]:
    for what, path in (("models' folder", home().resolve()), ("this folder", folder.resolve())):
        there = next(place for place in (path, *path.parents) if place.exists())
        try:
            with disk_errors(path), tempfile.TemporaryFile(dir=there) as trial:
                trial.write(b"x")
        except (Fixable, OSError) as error:
            yield Check(what, "bad", str(error).partition("\n")[0], "choose another: SHUYUAN_HOME or --workspace")
            continue
        free = shutil.disk_usage(there).free
        enough = free >= ENOUGH_DISK
        hint = "" if enough else f"the default models and a few runs take about {human_bytes(ENOUGH_DISK)}"
        yield Check(what, "good" if enough else "note", f"{path}, {human_bytes(free)} free", hint)


def _workspace(folder: Path) -> tuple[Workspace | None, Check]:
    try:
        workspace = Workspace.open(folder)
        counts = ", ".join(f"{count:,} {what}" for what, count in workspace.material.counts().items())
        return workspace, Check("workspace", "good", f"{counts}, {len(workspace.runs())} runs")
    except Fixable as error:
        return None, Check("workspace", "bad", f"{error.place} {error.what}".strip(), error.hint)


def _models(choices: Choices, quick: bool) -> Iterator[Check]:
    from shuyuan.load.pulling import models, verify
    from shuyuan.load.remote import is_remote

    needed = {choices.model, choices.embedder}
    for name in sorted(needed - {one.entry.name for one in models()}):
        if is_remote(name):
            yield Check(
                f"model {name.partition('#')[2] or name}", "note", "at another server, which is asked when needed"
            )
            continue
        there = Path(name).expanduser().exists()
        hint = "" if there else "put it back, or make a workspace on another model"
        yield Check(f"model {name}", "good" if there else "bad", "yours" if there else "not found", hint)
    for one in models():
        name = one.entry.name
        if not one.present:
            if name in needed:
                yield Check(
                    f"model {name}", "note", "not here yet", f"it is fetched on first use, or now: shuyuan pull {name}"
                )
            continue
        if not quick:
            say(f"checking {name}, {human_bytes(one.size_bytes)}")
        faults = [] if quick else verify(home() / "models" / name)
        found = "; ".join(faults) or f"here, {human_bytes(one.size_bytes)}{'' if quick else ', verified'}"
        hint = f"remove {home() / 'models' / name} and run: shuyuan pull {name}" if faults else ""
        yield Check(f"model {name}", "bad" if faults else "good", found, hint)
