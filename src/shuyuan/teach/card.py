"""What a finished run tells: its outcome for `done.json`, and its card for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shuyuan.base.files import read_json, read_jsonl
from shuyuan.base.progress import human_bytes, human_seconds, say
from shuyuan.base.records import Run
from shuyuan.base.workspace import Workspace

ESTIMATE, TUNED = "estimate.json", "tune.json"


def outcome(run: Run, cost: Mapping[str, float]) -> dict[str, Any]:
    """What the run's folder says about how it went; the estimate made before it is compared with the truth, aloud."""
    from shuyuan.train.watch import CURVE

    log = read_jsonl(run.folder / "log.jsonl")
    found: dict[str, Any] = {"trained_tokens": sum(line["tokens"] for line in log)}
    for key, name in (("curve", CURVE), ("estimate", ESTIMATE), ("tuned", TUNED)):
        if (run.folder / name).exists():
            found[key] = read_json(run.folder / name)
    if log and "estimate" in found:
        made = found["estimate"]["seconds"] * log[-1]["step"] / log[-1]["steps"]  # it may have stopped early
        found["estimate"] |= {"steps_seconds": round(made, 1), "true_seconds": log[-1]["seconds"]}
        found["estimate"] |= {"true_peak_bytes": cost["peak_bytes"]}
        say(f"{run.name}: {_compared(found['estimate'])}")
    return found


def card(workspace: Workspace, name: str, record: Mapping[str, Any]) -> str:
    """The run as a page of Markdown."""
    counts = workspace.material.counts()
    settings = _rows(record["settings"] | record.get("guards", {}))
    cost = {
        "time": human_seconds(record["seconds"]),
        "CPU time": human_seconds(record["cpu_seconds"]),
        "peak memory": human_bytes(record["peak_bytes"]),
        "tokens read": f"{record['trained_tokens']:,}",
    }
    return f"""# {name}

Taught by the route `{record["route"]}` on `{record["on"]}` with seed {record["seed"]}.
Base model: `{workspace.choices.model}`.

| material | |
|---|---|
{_rows({key: counts[key] for key in ("documents", "passages", "examples")})}

| setting | |
|---|---|
{settings}

| cost | |
|---|---|
{_rows(cost)}
{_went(record)}{_trials(record)}"""


def _rows(pairs: Mapping[str, Any]) -> str:
    return "\n".join(f"| {key} | {value} |" for key, value in pairs.items())


def _went(record: Mapping[str, Any]) -> str:
    if "curve" not in record:
        return ""
    curve = record["curve"]
    stopped = f"Stopped early: {curve['stopped']}.\n" if curve["stopped"] else ""
    halved = "The learning rate was halved, for the limit of forgetting was passed.\n" if curve["halved_rate"] else ""
    compared = f"\n{_compared(record['estimate'])}.\n" if "estimate" in record else ""
    return f"""
## How it went

Verdict: **{curve["verdict"]}**: {curve["evidence"]}.
The weights kept are those of step {curve["best_step"]} of {curve["steps"]}.
{stopped}{halved}
```
{curve["curves"]}
```
{compared}"""


def _compared(estimate: Mapping[str, Any]) -> str:
    return (
        f"estimated {human_seconds(estimate['steps_seconds'])}, took {human_seconds(estimate['true_seconds'])}; "
        f"estimated {human_bytes(estimate['peak_bytes'])} of memory, used {human_bytes(estimate['true_peak_bytes'])}"
    )


def _trials(record: Mapping[str, Any]) -> str:
    if "tuned" not in record:
        return ""
    tuned = record["tuned"]
    keys = ("learning_rate", "steps", "epochs", "loss", "seconds")
    rows = "\n".join("| " + " | ".join(str(trial[key]) for key in keys) + " |" for trial in tuned["trials"])
    return f"""
## What was tried first

Learning rate and epochs were chosen by held-out loss within {human_seconds(tuned["budget_seconds"])}.

| learning rate | steps | epochs | held-out loss | seconds |
|---|---|---|---|---|
{rows}
"""
