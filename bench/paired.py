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
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, write_json, write_whole
from shuyuan.base.progress import say

if TYPE_CHECKING:
    from shuyuan.load.model import Model

T = TypeVar("T")
HERE = Path(__file__).parent
CHATS = HERE / "chats.jsonl"
RESULTS = HERE / "results"
OURS = "shuyuan"
OURS_FP32 = "shuyuan, fp32"
SHORT = {"bfloat16": "bf16", "float32": "fp32"}
RESAMPLES = 10_000
RANK, ALPHA, LEARNING_RATE, BATCH, ROW_TOKENS = 16, 32.0, 2e-4, 8, 1024  # of every job that teaches an adapter


@dataclass(frozen=True)
class Contestant:
    """A way of doing the job: which environment, which script of `contestants/`, and the settings that are its own.

    `options` go into its job, `variables` into its environment. `beside` is that of ours which computes as
    precisely: the losses of the two are compared, where both take part.
    """

    name: str
    environment: str
    script: str
    options: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    beside: str = OURS

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


def parser(about: str | None, quick: str) -> argparse.ArgumentParser:
    """The command line of a benchmark in two precisions; `quick` says what `--quick` does."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", default="smollm2-135m", help="name in the catalogue, or a folder")
    made.add_argument("--repetitions", type=int, default=5)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--precision", choices=SHORT, help="of everyone who can choose; bfloat16 where it is in hardware")
    made.add_argument("--print", action="store_true", help="show the result; do not keep it in bench/results")
    made.add_argument("--quick", action="store_true", help=f"{quick}; writes no result")
    made.add_argument("--peers", type=Path, help="folder of the other projects' environments (bench/README.md)")
    return made


def teaching_parser(about: str | None, quick: str) -> argparse.ArgumentParser:
    """As `parser`, for steps of teaching."""
    made = parser(about, quick)
    made.add_argument("--steps", type=int, default=4, help="steps of a run; the first is not counted")
    return made


def adapter_parser(about: str | None, quick: str) -> argparse.ArgumentParser:
    """As `teaching_parser`, where others start from the same adapter."""
    made = teaching_parser(about, quick)
    made.add_argument("--seed", type=int, default=0, help="of the order of the examples and of the starting adapter")
    return made


def read(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was given; `--quick` is once, and two steps. Emulated bfloat16 is tens of times slower: never chosen."""
    from shuyuan.load.model import native_bf16

    given = parser.parse_args()
    given.precision = given.precision or ("bfloat16" if native_bf16() else "float32")
    if given.quick:
        given.repetitions, given.steps = 1, 2
    return given


def adapter_job(model: Model, examples: Sequence[T], adapter: Path, steps: int, seed: int) -> dict[str, Any]:
    """What every contestant gets that teaches an adapter: the starting one, kept in `adapter`, rates and examples.

    `steps` of the job are `BATCH` examples each, drawn in an order of the seed.
    """
    import torch

    from shuyuan.train.adapter import save_adapter, with_adapter
    from shuyuan.train.loop import CLIP_NORM
    from shuyuan.train.optimiser import BETAS
    from shuyuan.train.schedule import warmup_cosine

    save_adapter(with_adapter(model.net, RANK, ALPHA / RANK, seed), adapter, model.name)
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = [examples[i] for i in order][: steps * BATCH]
    batches = [chosen[at : at + BATCH] for at in range(0, len(chosen), BATCH)]
    assert len(batches) == steps, f"{len(examples)} examples are too few for {steps} steps of {BATCH}"
    return {
        "model": str(model.folder),
        "adapter": str(adapter),
        "batch": BATCH,
        "row_tokens": ROW_TOKENS,
        "learning_rate": LEARNING_RATE,
        "rates": [LEARNING_RATE * warmup_cosine(step, steps) for step in range(steps)],
        "betas": BETAS,
        "clip": CLIP_NORM,
        "steps": batches,
    }


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


def compared(contestants: Sequence[Contestant], reports: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Every contestant's summary, the ratios of our speed to theirs, and by how much our last loss differs (share).

    All must have counted the same real tokens.
    """
    rates = {name: [rate(report) for report in of] for name, of in reports.items()}
    tokens = {name: [sum(s["tokens"] for s in report["steps"][1:]) for report in of] for name, of in reports.items()}
    last = {name: of[0]["steps"][-1]["loss"] for name, of in reports.items()}
    besides = {one.name: one.beside if one.beside in reports else OURS for one in contestants}
    others = {name: besides[name] for name in reports if name != OURS}
    for name in others:
        assert tokens[name] == tokens[OURS], f"real tokens: {name} {tokens[name]}, ours {tokens[OURS]}"
    return {
        "contestants": {name: summary(of) for name, of in reports.items()},
        "ratios": {name: ratio(rates[OURS], rates[name]) for name in others},
        "loss_difference": {name: round(last[beside] / last[name] - 1, 5) for name, beside in others.items()},
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
        float32 = vars(given).get("precision") == "float32"
        keep(name, f"{given.model}, float32" if float32 else given.model, record, drawn)


def table(record: Mapping[str, Any]) -> list[str]:
    """What `compared` found, as lines of Markdown."""
    lines = [
        "| | tokens per CPU-second | ours is | computed / real | first step, CPU-s | peak, GB | losses | differs by |",
        "|-|-:|-:|-:|-:|-:|-|-:|",
    ]
    for name, of in record["contestants"].items():
        ratio = record["ratios"].get(name)
        faster = f"{ratio['median']:.2f}× ({ratio['low']:.2f}–{ratio['high']:.2f})" if ratio else "–"
        differs = f"{100 * record['loss_difference'][name]:+.2f} %" if ratio else "–"
        lines.append(
            f"| {name} | {cell(of['tokens_a_cpu_second'])} | {faster} | {of['padding_factor']:.2f} | "
            f"{of['first_step_cpu_seconds']:.1f} | {of['peak_bytes'] / 1e9:.2f} | "
            f"{' '.join(f'{loss:.4f}' for loss in of['losses'])} | {differs} |"
        )
    versions = (
        f"{name}: " + ", ".join(f"{package} {version}" for package, version in of["versions"].items())
        for name, of in record["contestants"].items()
    )
    return [*lines, "", f"Versions: {'; '.join(versions)}.", ""]


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
