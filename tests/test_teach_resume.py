"""Killed anywhere, on any route that moves weights, a run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_teach import TUNING
from tiny import tiny_folder

from shuyuan.base.files import read_json, read_jsonl
from shuyuan.base.shelf import choices, choose
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.prepare.adding import add
from shuyuan.teach.teaching import teach

ROUTES = [route for route in choices("teach") if "learning_rate" in choose("teach", route).model_fields]
SERVER = get_context("forkserver")  # what every run imports is imported once: a fork of it is killed as any process is
SERVER.set_forkserver_preload(["shuyuan.teach.teaching", "transformers.activations", "test_teach"])


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    at = tmp_path_factory.mktemp("school")
    rows = [
        {"question": f"Where is book {n} 书?", "answer": f"On shelf {n * 7 % 50}。", "use": "learn"} for n in range(48)
    ]
    (at / "quiz.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    pairs = [{"prompt": f"书 {n}?", "chosen": f"架 {n * 7 % 50}。", "rejected": f"No. {n}"} for n in range(48)]
    (at / "pairs.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in pairs), encoding="utf-8")
    (at / "docs").mkdir()
    draw = np.random.default_rng(0)
    for n in range(6):
        words = [f"第{draw.integers(99)}架有书{draw.integers(999)}本。 Shelf {draw.integers(99)}." for _ in range(24)]
        (at / "docs" / f"架{n}.md").write_text(f"# 架 {n}\n\n" + "\n".join(words), encoding="utf-8")
    workspace = Workspace.create(at / "house", Choices(model=str(tiny_folder(at / "tiny"))))
    add(workspace, [at / "docs"], questions=[at / "quiz.jsonl"], data=[at / "pairs.jsonl"])
    return workspace


def settings_of(route: str, times: int = 1) -> dict[str, Any]:
    """The route's tiny settings of the contract test, for 60 to 80 steps (`times` as many): a checkpoint every 50."""
    known = choose("teach", route).model_fields
    longer = {"epochs": 12 if route == "dpo" else 6, "batch": 8} if "block" not in known else {"epochs": 3, "batch": 4}
    longer["epochs"] *= times
    return {**TUNING.get(route, {}), **{name: value for name, value in longer.items() if name in known}}


def kept(folder: Path) -> dict[str, bytes]:
    """The bits of every tensor; a file's own notes may stand in any order."""
    files = {str(file.relative_to(folder)): load_file(file) for file in folder.rglob("*.safetensors")}
    return {
        f"{name}:{key}": tensor.contiguous().view(torch.uint8).numpy().tobytes()
        for name, tensors in files.items()
        for key, tensor in tensors.items()
    }


@pytest.mark.parametrize("route", ROUTES)
def test_killed_anywhere_a_run_ends_as_if_nothing_had_happened(route: str, school: Workspace) -> None:
    settings = settings_of(route)
    teach(school, route, settings, name=f"{route}-straight")
    straight, killed = (school.run(f"{route}-{how}").folder for how in ("straight", "killed"))
    steps = read_json(straight / "curve.json")["looks"][-1]["step"]
    assert steps > 60, "too short to be killed after its first checkpoint"
    chosen = np.random.default_rng(sum(route.encode())).integers([1, 51], [50, steps - 5])
    for step in sorted(int(s) for s in chosen):
        kill_at(step, school, route, killed.name)
    assert "going on from step" in finished(school, route, killed.name)
    assert_same(straight, killed)


def taught(folder: Path, route: str, name: str, most_bytes: int) -> None:
    """The whole life of a process that teaches; no file may grow over `most_bytes`, where there is a limit."""
    os.setpgid(0, 0)
    with (folder / f"{name}.said").open("w") as said:
        os.dup2(said.fileno(), 2)
    if most_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
    teach(Workspace.open(folder), route, settings_of(route, 1 + name.endswith("full-disk")), name=name)


def started(school: Workspace, route: str, name: str, most_bytes: int = 0) -> ForkServerProcess:
    process = SERVER.Process(target=taught, args=(school.folder, route, name, most_bytes))
    process.start()
    return process


def kill_at(step: int, school: Workspace, route: str, name: str) -> None:
    process, log = started(school, route, name), school.run(name).folder / "log.jsonl"
    deadline = time.monotonic() + 200
    while len(read_jsonl(log)) < step and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert process.is_alive(), "it ended before it could be killed"
    os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()


def finished(school: Workspace, route: str, name: str, most_bytes: int = 0) -> str:
    """What a run says that may go on to its end; fails where it fails, but for what a limit does."""
    process = started(school, route, name, most_bytes)
    process.join()
    assert (process.exitcode == 0) == (not most_bytes)
    return (school.folder / f"{name}.said").read_text(encoding="utf-8")


def assert_same(straight: Path, killed: Path) -> None:
    logs = [
        [
            {name: value for name, value in line.items() if "seconds" not in name}
            for line in read_jsonl(run / "log.jsonl")
        ]
        for run in (straight, killed)
    ]
    assert logs[0] == logs[1]
    assert read_json(straight / "curve.json") == read_json(killed / "curve.json")
    assert kept(straight)
    assert kept(straight) == kept(killed)


def test_a_full_disk_leaves_the_last_good_checkpoint(school: Workspace) -> None:
    """The log still fits under the limit, the next checkpoint does not."""
    teach(school, "lora", settings_of("lora", 2), name="lora-longer")
    teach(school, "lora", settings_of("lora"), name="lora-straight")
    straight, full = (school.run(f"lora-{how}").folder for how in ("longer", "full-disk"))
    kill_at(60, school, "lora", full.name)
    good = {file.name: file.read_bytes() for file in (full / "checkpoints" / "step-000050").iterdir()}
    assert "the disk is full" in finished(school, "lora", full.name, most_bytes=45_000)
    assert [path.name for path in (full / "checkpoints").glob("step-*")] == ["step-000050"]
    assert {file.name: file.read_bytes() for file in (full / "checkpoints" / "step-000050").iterdir()} == good
    finished(school, "lora", full.name)
    assert_same(straight, full)
