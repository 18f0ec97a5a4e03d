"""Teach in a workspace and open what was taught: the functions behind the command, the endpoint and the page."""

from __future__ import annotations

import shutil
import time
import tomllib
from collections.abc import Mapping
from typing import Any

import tomli_w

from shuyuan import __version__
from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.files import fingerprint, locked, read_jsonl, write_json, write_whole
from shuyuan.base.material import lessons_fingerprint
from shuyuan.base.progress import human_bytes, human_seconds, say
from shuyuan.base.records import Answer, Assistant, Run
from shuyuan.base.records import ask as conversation
from shuyuan.base.shelf import choices, choose
from shuyuan.base.workspace import Workspace, finished
from shuyuan.teach.cost import measured

BARE = "bare"  # the base model itself: always there, never taught
SETTINGS = "settings.toml"


def teach(
    workspace: Workspace,
    route: str,
    settings: Mapping[str, Any] | None = None,
    *,
    on: str = BARE,
    name: str = "",
    seed: int = 0,
    again: bool = False,
) -> Assistant:
    """Teach the assistant `on` by a route and return the new one; it is kept as the run `name`.

    The name is derived from the routes when none is given (`lora`, `lora+retrieve`). A run that is finished and made
    from the same things is opened, not made again; one made from other things is refused unless `again`. A run that was
    stopped goes on from its newest checkpoint. Exam questions found in the material stop everything.
    """
    from shuyuan.prepare.leak import check_leaks

    way = choose("teach", route).of(settings or {})
    name = name or (route if on == BARE else f"{on}+{route}")
    run = workspace.run(name, seed)
    lessons = workspace.material.lessons()
    mark = fingerprint(route, way.model_dump(), seed, _mark(workspace, on), lessons_fingerprint(lessons))
    plan = {"route": route, "on": on, "seed": seed, "fingerprint": mark, "settings": way.model_dump()}
    with locked(run.folder.parent / f".{name}.lock", f"teaching {name}"):
        done = finished(run)
        if done and done["fingerprint"] == mark:
            say(f"{name} is taught already and nothing it was made from has changed")
            return open_assistant(workspace, name)
        if done and not again:
            raise Fixable(
                f"'{name}' was taught already, from other things: {_difference(run, plan)}",
                "give this one another --name, or replace the old one with --again",
            )
        check_leaks(lessons.examples, workspace.material.questions())
        if done or _kept_plan(run).get("fingerprint") != mark:
            shutil.rmtree(run.folder, ignore_errors=True)
        write_whole(run.folder / SETTINGS, tomli_w.dumps({**plan, "settings": way.model_dump(exclude_none=True)}))
        base = open_assistant(workspace, on)
        with measured() as cost:
            taught: Assistant = way.teach(base, lessons, run)
        tokens = sum(line["tokens"] for line in read_jsonl(run.folder / "log.jsonl"))
        record = {**plan, **cost, "trained_tokens": tokens, "finished_at": round(time.time()), "version": __version__}
        write_whole(run.folder / "card.md", _card(workspace, name, record))
        write_json(run.folder / "done.json", record)
        shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
    say(f"{name}: taught in {human_seconds(cost['seconds'])}, peak memory {human_bytes(cost['peak_bytes'])}")
    return taught


def open_assistant(workspace: Workspace, name: str) -> Assistant:
    """The assistant of a finished run, or the base model itself (`bare`)."""
    if name == BARE:
        from shuyuan.load.answering import ModelAssistant
        from shuyuan.load.model import open_model

        return ModelAssistant(BARE, open_model(workspace.choices.model))
    run = workspace.run(name)
    done = finished(run)
    if done is None:
        if name in choices("teach"):
            raise Fixable(f"'{name}' is not taught yet", f"teach it: shuyuan teach {name}")
        raise Fixable(f"there is no assistant '{name}'", near_miss(name, [BARE, *workspace.runs()]))
    base = open_assistant(workspace, str(done["on"]))
    way = choose("teach", str(done["route"])).of(done["settings"])
    opened: Assistant = way.open(base, run)
    return opened


def default_assistant(workspace: Workspace) -> str:
    """Who answers when nobody is named: `retrieve` if it is taught, else the newest assistant."""
    runs = workspace.runs()
    return "retrieve" if "retrieve" in runs else [BARE, *runs][-1]


def ask(workspace: Workspace, text: str, assistant: str = "") -> Answer:
    """One question to one assistant, or to the default one."""
    opened = open_assistant(workspace, assistant or default_assistant(workspace))
    return opened.answer([conversation(text)])[0]


def stale(workspace: Workspace, name: str) -> str:
    """Why an assistant no longer matches its workspace, or nothing when it does."""
    done = finished(workspace.run(name))
    if name == BARE or done is None:
        return ""
    if why := stale(workspace, str(done["on"])):
        return why
    seed = int(str(done["seed"]))
    material = lessons_fingerprint(workspace.material.lessons())
    mark = fingerprint(done["route"], done["settings"], seed, _mark(workspace, str(done["on"])), material)
    return "" if mark == done["fingerprint"] else "the material or its base has changed since it was taught"


def _mark(workspace: Workspace, on: str) -> str:
    """What identifies the assistant a new one is built on."""
    if on == BARE:
        return workspace.choices.model
    done = finished(workspace.run(on))
    if done is None:
        open_assistant(workspace, on)  # says what is missing
    return str((done or {})["fingerprint"])


def _kept_plan(run: Run) -> dict[str, Any]:
    file = run.folder / SETTINGS
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _difference(run: Run, plan: Mapping[str, Any]) -> str:
    old = _kept_plan(run)
    before, now = ({**p, **p.get("settings", {})} for p in (old, plan))
    changed = [
        f"{key} {before.get(key)} → {value}"
        for key, value in now.items()
        if key not in ("fingerprint", "settings") and before.get(key) != value
    ]
    return ", ".join(changed) or "the material has changed"


def _card(workspace: Workspace, name: str, record: Mapping[str, Any]) -> str:
    counts = workspace.material.counts()
    settings = "\n".join(f"| {key} | {value} |" for key, value in record["settings"].items())
    return f"""# {name}

Taught by the route `{record["route"]}` on `{record["on"]}` with seed {record["seed"]}.
Base model: `{workspace.choices.model}`.

| material | |
|---|---|
| documents | {counts["documents"]} |
| passages | {counts["passages"]} |
| examples | {counts["examples"]} |

| setting | |
|---|---|
{settings}

| cost | |
|---|---|
| time | {human_seconds(record["seconds"])} |
| CPU time | {human_seconds(record["cpu_seconds"])} |
| peak memory | {human_bytes(record["peak_bytes"])} |
| tokens computed on | {record["trained_tokens"]:,} |
"""
