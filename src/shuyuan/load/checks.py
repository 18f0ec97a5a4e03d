"""What `shuyuan doctor` looks at, with the same functions that the other commands use; said in English or Chinese."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from shuyuan import __version__
from shuyuan.base.errors import Fixable, disk_errors
from shuyuan.base.progress import human_bytes, say
from shuyuan.base.workspace import SETTINGS_FILE, Choices, Workspace, home
from shuyuan.load.catalogue import Language

ENOUGH_MEMORY = 8_000_000_000  # to tune all the default model's weights
ENOUGH_DISK = 5_000_000_000  # the default models, fetched and converted, and a few runs
_COUNTED = {  # what `Material.counts` counts
    "files": "个文件",
    "documents": "个文档",
    "passages": "个段落",
    "examples": "条样例",
    "questions": "道题目",
}
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "SHUYUAN_HOME", "SHUYUAN_WORKSPACE", "OMP_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: `good`, `note` (works, but worth knowing) or `bad` (needed, and does not work)."""

    what: str
    state: Literal["good", "note", "bad"]
    found: str
    hint: str = ""


Tell: TypeAlias = Callable[[str, str], str]  # a text in English and in Chinese → the one that is wanted


def examine_machine(folder: Path, quick: bool = False, language: Language = "en") -> list[Check]:
    """Every check, for the workspace in `folder` if there is one. `quick` does not read the models' files.

    What another part of the program or the system says of a fault is quoted as it is, in English.
    """

    def tell(english: str, chinese: str) -> str:
        return chinese if language == "zh" else english

    checks = [*_software(tell), *_hardware(tell), *_folders(folder, tell)]
    choices = Choices()
    if (folder / SETTINGS_FILE).exists():
        workspace, check = _workspace(folder, tell)
        checks.append(check)
        choices = workspace.choices if workspace else choices
    checks += _models(choices, quick, tell)
    given = [f"{name}={os.environ[name]}" for name in _OFFLINE if name in os.environ]
    found = ", ".join(given) or tell("nothing set", "什么也没设")
    return [*checks, Check(tell("environment", "环境变量"), "good", found)]


def _software(tell: Tell) -> Iterator[Check]:
    new_enough = sys.version_info >= (3, 11)
    machine = f"{platform.system()} {platform.machine()}"
    yield Check(
        "Python",
        "good" if new_enough else "bad",
        tell(f"{platform.python_version()} on {machine}", f"{platform.python_version()}，{machine}"),
        "" if new_enough else tell("install Python 3.11 or newer", "请安装 Python 3.11 或更新的版本"),
    )
    yield Check(tell("Shuyuan", "书院"), "good", f"{__version__}, SQLite {sqlite3.sqlite_version}")
    missing, found = [], []
    for wanted in importlib.metadata.requires("shuyuan") or []:
        if "extra ==" in wanted:
            continue
        name = re.split(r"[ <>=!~;\[]", wanted)[0]
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    what = tell("packages", "软件包")
    if missing:
        yield Check(
            what,
            "bad",
            tell("missing: ", "缺少：") + ", ".join(missing),
            tell("install them: make demo, or pip install -e .", "请安装：make demo，或 pip install -e ."),
        )
    first, more = ", ".join(found[:2]), len(found) - 2
    yield Check(what, "good", tell(f"{first} and {more} more", f"{first}，另有 {more} 个"))


def _hardware(tell: Tell) -> Iterator[Check]:
    import torch

    from shuyuan.load.model import native_bf16

    native = native_bf16()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads, kind = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    slow = tell(
        "teaching takes several times longer and twice the memory; choose a smaller --model if needed",
        "教学要慢几倍，内存要多一倍；必要时用 --model 选一个小些的模型",
    )
    if not native and kind != "AVX512" and not find_spec("numba"):
        slow += tell(
            "; pip install 'shuyuan[fast]' for answers in half the time",
            "；pip install 'shuyuan[fast]' 可使回答只用一半时间",
        )
    yield Check(
        tell("processor", "处理器"),
        "good" if native else "note",
        tell(f"{cores} cores, {threads} threads, {kind}, ", f"{cores} 个核，{threads} 个线程，{kind}，")
        + (
            tell("bfloat16 native", "原生支持 bfloat16")
            if native
            else tell("bfloat16 not native: float32 is used", "不原生支持 bfloat16：改用 float32")
        ),
        "" if native else slow,
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    none = tell("none: the processor is used", "没有：用处理器")
    yield Check(tell("GPU", "显卡"), "good" if gpu else "note", gpu or none)
    free = _available_memory()
    if free is not None:
        low = free < ENOUGH_MEMORY
        hint = tell(
            "close other programs, or work with `--model smollm2-135m` and the routes retrieve and lora",
            "请关掉别的程序，或改用 `--model smollm2-135m`，走 retrieve 和 lora 路线",
        )
        found = tell(f"{human_bytes(free)} available", f"可用 {human_bytes(free)}")
        yield Check(tell("memory", "内存"), "note" if low else "good", found, hint if low else "")


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


def _folders(folder: Path, tell: Tell) -> Iterator[Check]:
    places = ((tell("models' folder", "模型文件夹"), home()), (tell("this folder", "本文件夹"), folder))
    for what, path in ((what, path.resolve()) for what, path in places):
        there = next(place for place in (path, *path.parents) if place.exists())
        try:
            with disk_errors(path), tempfile.TemporaryFile(dir=there) as trial:
                trial.write(b"x")
        except (Fixable, OSError) as error:
            hint = tell("choose another: SHUYUAN_HOME or --workspace", "请另选一个：SHUYUAN_HOME 或 --workspace")
            yield Check(what, "bad", str(error).partition("\n")[0], hint)
            continue
        free, needed = shutil.disk_usage(there).free, human_bytes(ENOUGH_DISK)
        enough = free >= ENOUGH_DISK
        hint = tell(f"the default models and a few runs take about {needed}", f"默认模型加几次教学约占 {needed}")
        found = tell(f"{path}, {human_bytes(free)} free", f"{path}，空闲 {human_bytes(free)}")
        yield Check(what, "good" if enough else "note", found, "" if enough else hint)


def _workspace(folder: Path, tell: Tell) -> tuple[Workspace | None, Check]:
    what = tell("workspace", "工作区")
    try:
        workspace = Workspace.open(folder)
        counts, runs = workspace.material.counts(), len(workspace.runs())
        english = ", ".join([*(f"{count:,} {of}" for of, count in counts.items()), f"{runs} runs"])
        chinese = "，".join([*(f"{count:,} {_COUNTED[of]}" for of, count in counts.items()), f"{runs} 次教学"])
        return workspace, Check(what, "good", tell(english, chinese))
    except Fixable as error:
        return None, Check(what, "bad", f"{error.place}: {error.what}".removeprefix(": "), error.hint)


def _models(choices: Choices, quick: bool, tell: Tell) -> Iterator[Check]:
    from shuyuan.load.pulling import models, verify
    from shuyuan.load.remote import is_remote

    needed = {choices.model, choices.embedder}
    known = models()

    def what(name: str) -> str:
        return tell(f"model {name}", f"模型 {name}")

    for name in sorted(needed - {one.entry.name for one in known}):
        if is_remote(name):
            found = tell("at another server, which is asked when needed", "在另一台服务器上，需要时才去问")
            yield Check(what(name.partition("#")[2] or name), "note", found)
            continue
        there = Path(name).expanduser().exists()
        found = tell("yours", "您自己的") if there else tell("not found", "找不到")
        hint = tell("put it back, or make a workspace on another model", "请放回去，或另建一个用别的模型的工作区")
        yield Check(what(name), "good" if there else "bad", found, "" if there else hint)
    for one in known:
        name = one.entry.name
        pull = f"shuyuan pull {name}"
        if not one.present:
            if name in needed:
                hint = tell(f"it is fetched on first use, or now: {pull}", f"第一次用到时会取回，现在就取：{pull}")
                yield Check(what(name), "note", tell("not here yet", "还不在这里"), hint)
            continue
        if not quick:
            say(f"checking {name}, {human_bytes(one.size_bytes)}")
        place = home() / "models" / name
        faults = [] if quick else verify(place)
        here = tell(f"here, {human_bytes(one.size_bytes)}", f"已在本机，{human_bytes(one.size_bytes)}")
        here += "" if quick else tell(", verified", "，已核对")
        hint = tell(f"remove {place} and run: {pull}", f"请删去 {place}，再运行：{pull}")
        yield Check(what(name), "bad" if faults else "good", "; ".join(faults) or here, hint if faults else "")
