"""Paired measurements: each contestant a process in its own environment, in turn, A B C A B C …, compared by medians.

The unit is the CPU-second, user and system time of the process, because other programs share the machine: it survives
pre-emption, though not contention for cache, memory bandwidth or clock. Every contestant gets the same job file and
the same environment variables. What it reports is in `contestants/watching.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, write_json, write_whole
from shuyuan.base.progress import say

HERE = Path(__file__).parent
RESULTS = HERE / "results"
OURS = "shuyuan"
RESAMPLES = 10_000


@dataclass(frozen=True)
class Contestant:
    """A way of doing the job: which environment, which script of `contestants/`, and the settings that are its own.

    `options` go into its job, `variables` into its environment."""

    name: str
    environment: str
    script: str
    options: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    def python(self, peers: Path | None) -> Path | None:
        """The interpreter of its environment, or None where that is not there. Ours is the one that runs this."""
        if self.environment == OURS:
            return Path(sys.executable)
        python = (peers or Path("peers")) / self.environment / "bin" / "python"
        return python.absolute() if python.exists() else None


def present(contestants: Sequence[Contestant], peers: Path | None) -> list[Contestant]:
    """Those whose environment is there; the others are named aloud, never left out in silence."""
    found = [contestant for contestant in contestants if contestant.python(peers)]
    for contestant in contestants:
        if contestant not in found:
            say(f"{contestant.name} is left out: there is no environment '{contestant.environment}' in --peers")
    return found


def run_in_turn(
    contestants: Sequence[Contestant],
    job: Mapping[str, Any],
    given: argparse.Namespace,
    kept: Callable[[dict[str, list[dict[str, Any]]]], None],
) -> dict[str, list[dict[str, Any]]]:
    """Each contestant's reports, one a repetition; `kept` is called after every repetition, so that none is lost.

    `given` has `repetitions`, `peers` and `threads`.
    """
    reports: dict[str, list[dict[str, Any]]] = {contestant.name: [] for contestant in contestants}
    for repetition in range(given.repetitions):
        for contestant in contestants:
            say(f"repetition {repetition + 1} of {given.repetitions}: {contestant.name}")
            reports[contestant.name].append(run_once(contestant, job, given.peers, given.threads))
        kept(reports)
    return reports


def run_once(contestant: Contestant, job: Mapping[str, Any], peers: Path | None, threads: int) -> dict[str, Any]:
    """One process, and what it reported. Raises `Fixable` with the end of its output when it fails."""
    python = contestant.python(peers)
    assert python is not None, contestant.name
    with tempfile.TemporaryDirectory(prefix="bench.") as scratch:
        folder = Path(scratch)
        asked, told = folder / "job.json", folder / "report.json"
        asked.write_text(json.dumps({**job, "options": dict(contestant.options), "scratch": scratch}))
        ended = subprocess.run(
            [python, HERE / "contestants" / contestant.script, asked, told],
            env=_environment(threads) | dict(contestant.variables),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if ended.returncode or not told.exists():
            tail = ended.stdout.decode("utf-8", errors="replace")[-3000:]
            raise Fixable(f"{contestant.name} failed with status {ended.returncode}:\n{tail}", "run its script alone")
        return dict(read_json(told))


def _environment(threads: int) -> dict[str, str]:
    settings = {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "WANDB_DISABLED": "true",
    }
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | settings


def rate(report: Mapping[str, Any]) -> float:
    """Real tokens a CPU-second over the measured steps: all but the first."""
    steps = report["steps"][1:]
    return float(sum(step["tokens"] for step in steps) / sum(step["seconds"] for step in steps))


def summary(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What one contestant's repetitions come to."""
    rates = [rate(report) for report in reports]
    steps = reports[0]["steps"]
    measured = steps[1:]
    return {
        "tokens_a_cpu_second": spread(rates),
        "each": [round(value, 2) for value in rates],
        "first_step_cpu_seconds": round(statistics.median(r["steps"][0]["seconds"] for r in reports), 2),
        "peak_bytes": int(statistics.median(report["peak_bytes"] for report in reports)),
        "padding_factor": round(sum(s["computed"] for s in measured) / sum(s["tokens"] for s in measured), 3),
        "losses": [round(step["loss"], 4) for step in steps],
        "versions": reports[0]["versions"],
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {
        "median": round(statistics.median(values), 3),
        "low": round(min(values), 3),
        "high": round(max(values), 3),
    }


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Our median over theirs, with a 95 % bootstrap interval: repetitions drawn again, both sides of one together."""
    pairs = np.array([ours, theirs])
    drawn = np.random.default_rng(0).integers(0, pairs.shape[1], (RESAMPLES, pairs.shape[1]))
    medians = np.median(pairs[:, drawn], axis=2)
    low, high = np.quantile(medians[0] / medians[1], [0.025, 0.975])
    middle = np.median(pairs[0]) / np.median(pairs[1])
    return {"median": round(float(middle), 2), "low": round(float(low), 2), "high": round(float(high), 2)}


def machine() -> dict[str, Any]:
    """Processor, cores, what it computes in hardware, and how busy it was."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    units = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if unit in flags]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": f"{len(names)} × {names[0]}",
        "units": units,
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def stamp() -> dict[str, Any]:
    """When, where and by which command; folders of this machine are not named."""
    words, hidden = [], False
    for word in sys.argv[1:]:
        words.append("FOLDER" if hidden else word)
        hidden = word == "--peers"
    command = shlex.join(["python", f"bench/{Path(sys.argv[0]).name}", *words])
    return {"date": date.today().isoformat(), "command": command, "machine": machine()}


def keep(name: str, part: str, record: Mapping[str, Any], drawn: Callable[[Mapping[str, Any]], str]) -> None:
    """Put one part (a model) of a benchmark's record in its place and draw the page anew."""
    file = RESULTS / f"{name}.json"
    whole = {**(read_json(file) if file.exists() else {}), part: record}
    RESULTS.mkdir(exist_ok=True)
    write_json(file, whole)
    write_whole(RESULTS / f"{name}.md", drawn(whole))


def show_or_keep(
    name: str, given: argparse.Namespace, record: Mapping[str, Any], drawn: Callable[[Mapping[str, Any]], str]
) -> None:
    """A finished repetition's figures: said where the command is a trial (`--quick`, `--print`), else kept."""
    if given.quick or given.print:
        say(drawn({Path(given.model).name: record}))
    else:
        keep(name, given.model, record, drawn)


def place(record: Mapping[str, Any]) -> str:
    """The line under a table's title that says when, where and how."""
    at = record["machine"]
    return (
        f"{record['date']} · {at['processor']} ({', '.join(at['units'])}), {at['memory_gb']} GB, {at['system']}, load "
        f"{at['load_average']} at the start · `{record['command']}`"
    )


def cell(of: Mapping[str, float], digits: int = 1) -> str:
    """A median with its range."""
    return f"{of['median']:.{digits}f} ({of['low']:.{digits}f}–{of['high']:.{digits}f})"
