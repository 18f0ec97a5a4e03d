"""The benchmarks run, at a toy size, on the engine as it is; what they compute from measurements is right."""

from __future__ import annotations

import importlib
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import REPOSITORY
from tiny import tiny_folder

from shuyuan.load.model import native_bf16

BENCH = REPOSITORY / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The folder's shared module, imported as its scripts do."""
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("paired")


def run(script: str, *given: str) -> str:
    """What a benchmark says; it must end well and write nothing into the repository."""
    before = {path: path.stat().st_mtime_ns for path in (BENCH / "results").iterdir()}
    ended = subprocess.run(
        [sys.executable, BENCH / script, *given], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {path: path.stat().st_mtime_ns for path in (BENCH / "results").iterdir()} == before
    return ended.stdout + ended.stderr


def test_lora(tmp_path: Path) -> None:
    said = run("lora.py", "--quick", "--model", str(tiny_folder(tmp_path / "tiny")))
    assert "TRL" not in said.partition("| shuyuan |")[2].partition("Useful work")[0], "peers need their environments"
    assert "| shuyuan |" in said
    assert "of this model's own matrix products" in said


def test_dpo_begins_at_the_logarithm_of_two(tmp_path: Path) -> None:
    said = run("dpo.py", "--quick", "--model", str(tiny_folder(tmp_path / "tiny")))
    losses = [line.split("|")[-3].split() for line in said.splitlines() if line.startswith("| shuyuan")]
    assert len(losses) == 1 + native_bf16(), "in bf16 and in fp32; peers need their environments"
    assert [float(first) for first, _ in losses] == pytest.approx([math.log(2)] * len(losses), abs=1e-4)


def test_full_and_its_opponent_have_the_same_losses(tmp_path: Path) -> None:
    said = run("full.py", "--quick", "--model", str(tiny_folder(tmp_path / "tiny")))
    row = {
        line.split("|")[1].strip(): line.split("|")[-2].split() for line in said.splitlines() if line.count("|") == 6
    }
    ours, theirs = row["shuyuan"], row["Hugging Face, autocast" if native_bf16() else "Hugging Face"]
    assert len(ours) == len(theirs) == 2
    assert [float(a) for a in ours] == pytest.approx([float(b) for b in theirs], rel=0.01)


def test_generation(tmp_path: Path) -> None:
    said = run("generation.py", "--quick", "--model", str(tiny_folder(tmp_path / "tiny")))
    assert f"| 16 | transformers, {'bf16' if native_bf16() else 'fp32'} |" in said
    assert "| 16 | shuyuan |" in said


def test_load(tmp_path: Path) -> None:
    said = run("load.py", "--clients", "2", "--seconds", "1", "--print", "--model", str(tiny_folder(tmp_path / "tiny")))
    row = next(line for line in said.splitlines() if line.startswith("| shuyuan |"))
    answers, others, broke_off = (cell.strip() for cell in row.split("|")[2:5])
    assert int(answers) >= 2
    assert (others, broke_off) == ("none", "0")


def test_gpu_runs_unchanged_on_a_processor() -> None:
    said = run("gpu.py", "--toy", "--ways", "lora", "full")
    assert "| lora | shuyuan |" in said
    assert "| full | shuyuan |" in said


def test_the_first_step_is_not_counted(bench: ModuleType) -> None:
    steps = [{"seconds": seconds, "tokens": 10} for seconds in (100.0, 2.0, 3.0)]
    assert bench.rate({"steps": steps}) == pytest.approx(20 / 5)


def test_a_ratio_has_its_interval(bench: ModuleType) -> None:
    assert bench.ratio([30.0] * 5, [10.0] * 5) == {"median": 3.0, "low": 3.0, "high": 3.0}
    noisy = bench.ratio([28.0, 30, 32, 31, 29], [10.0, 9, 11, 10, 10])
    assert noisy["low"] < noisy["median"] == 3.0 < noisy["high"]


def test_losses_are_compared_in_equal_precision(bench: ModuleType) -> None:
    def report(loss: float, tokens: int = 10) -> list[dict[str, object]]:
        step = {"seconds": 1.0, "tokens": tokens, "computed": tokens, "loss": loss}
        return [{"steps": [step, step], "peak_bytes": 1, "versions": {"torch": "2"}}]

    contestants = importlib.import_module("dpo").contestants("bfloat16")
    names = [contestant.name for contestant in contestants]
    found = bench.compared(contestants, dict(zip(names, map(report, (2.0, 1.0, 4.0, 5.0)), strict=True)))
    assert found["loss_difference"] == {names[1]: 1.0, names[2]: -0.5, names[3]: -0.2}
    alone = bench.compared(contestants, {names[0]: report(2.0), names[3]: report(5.0)})
    assert alone["loss_difference"] == {names[3]: -0.6}, "in bfloat16, where nobody of ours computes in float32"
    with pytest.raises(AssertionError, match="real tokens"):
        bench.compared(contestants, {names[0]: report(2.0), names[1]: report(2.0, tokens=11)})


def test_agreement_finds_the_first_difference(bench: ModuleType) -> None:
    agreement = importlib.import_module("generation").agreement
    found = agreement([[1, 2, 3], [4, 9, 6]], [[1, 2, 3], [4, 5, 6]], [[0.1] * 3, [0.1, 0.25, 0.1]])
    assert found == {"equal_answers": [1, 2], "equal_tokens": 0.6667, "gaps_where_they_differ": [0.25]}


def test_useful_work_of_the_8b_shape(bench: ModuleType) -> None:
    gpu = importlib.import_module("gpu")
    weights = gpu.count_weights("llama-3.1-8b")
    assert sum(weights.values()) == pytest.approx(8.03e9, rel=0.001)  # norms are not counted
    job = {"packed": [[[[1] * 4096]]]}
    assert gpu.flops_a_token("full", "llama-3.1-8b", job) == pytest.approx(
        6 * 7.505e9 + 12 * 2048.5 * 4096 * 32, rel=1e-3
    )
