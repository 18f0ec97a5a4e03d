"""Killed anywhere, on any route that moves weights, a run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
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
SCRIPT = """
import json, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if len(sys.argv) > 5:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[5]), resource.RLIM_INFINITY))
from shuyuan.base.workspace import Workspace
from shuyuan.teach.teaching import teach
teach(Workspace.open(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), name=sys.argv[4])
"""


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


def settings_of(route: str) -> dict[str, Any]:
    """The route's tiny settings of the contract test, for 100 to 250 steps."""
    known = choose("teach", route).model_fields
    longer = {"epochs": 18, "batch": 8} if "block" not in known else {"epochs": 8, "batch": 4}
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
    command = command_of(school, route, "killed")
    steps = read_json(straight / "curve.json")["looks"][-1]["step"]
    assert steps > 60, "too short to be killed after its first checkpoint"
    chosen = np.random.default_rng(sum(route.encode())).integers([1, 51], [50, steps - 5])
    for step in sorted(int(s) for s in chosen):
        kill_at(step, command, killed)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "going on from step" in done.stderr
    assert_same(straight, killed)


def command_of(school: Workspace, route: str, how: str) -> list[str]:
    return [sys.executable, "-c", SCRIPT, str(school.folder), route, json.dumps(settings_of(route)), f"{route}-{how}"]


def kill_at(step: int, command: list[str], folder: Path) -> None:
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        deadline = time.monotonic() + 200
        while len(read_jsonl(folder / "log.jsonl")) < step and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert process.poll() is None, "it ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)


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
    teach(school, "lora", settings_of("lora"), name="lora-straight")
    straight, full = (school.run(f"lora-{how}").folder for how in ("straight", "full-disk"))
    command = command_of(school, "lora", "full-disk")
    kill_at(60, command, full)
    good = {file.name: file.read_bytes() for file in (full / "checkpoints" / "step-000050").iterdir()}
    stopped = subprocess.run([*command, "45000"], capture_output=True, text=True, check=False)
    assert "the disk is full" in stopped.stderr
    assert [path.name for path in (full / "checkpoints").glob("step-*")] == ["step-000050"]
    assert {file.name: file.read_bytes() for file in (full / "checkpoints" / "step-000050").iterdir()} == good
    subprocess.run(command, check=True, capture_output=True)
    assert_same(straight, full)
