"""Teach in a workspace and open what was taught: the functions behind the command, the endpoint and the page."""

from __future__ import annotations

import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from shuyuan import __version__
from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.files import fingerprint, locked, read_json, write_json, write_whole
from shuyuan.base.guards import Guards
from shuyuan.base.material import lessons_fingerprint
from shuyuan.base.progress import human_bytes, human_seconds, say
from shuyuan.base.records import Answer, Assistant, Lessons, Run
from shuyuan.base.records import ask as conversation
from shuyuan.base.settings import Settings
from shuyuan.base.shelf import choices, choose
from shuyuan.base.workspace import Workspace, finished
from shuyuan.prepare.mixture import Mix, mixed_examples
from shuyuan.recall.leaks import refuse_leaks
from shuyuan.teach.card import TUNED, card, outcome
from shuyuan.teach.command import BARE, command
from shuyuan.teach.cost import measured
from shuyuan.teach.own_data import Data, data_lessons

if TYPE_CHECKING:
    from shuyuan.teach.preflight import Preflight

SETTINGS = "settings.toml"
LEARNED = "documents.json"  # in a run that learned documents: which ones


@dataclass(frozen=True)
class _Teaching:
    """What one teaching is made from."""

    workspace: Workspace
    route: str
    way: Settings
    on: str
    run: Run
    lessons: Lessons
    mix: Mix | None = None
    data: Data | None = None

    @property
    def moves_weights(self) -> bool:
        return "learning_rate" in type(self.way).model_fields

    @property
    def renews(self) -> str:
        """The folder of a run that the route brings up to date where others begin anew; empty: none."""
        return str(getattr(self.way, "renews", ""))

    @property
    def plan(self) -> dict[str, Any]:
        """What `done.json` and `settings.toml` say of it; its fingerprint changes with anything it is made from."""
        settings, seed = self.way.model_dump(), self.run.seed
        guards = {"guards": self.run.guards.model_dump()} if self.moves_weights else {}
        mix = {"mix": asdict(self.mix)} if self.mix else {}
        data = {"data": asdict(self.data)} if self.data else {}
        material = lessons_fingerprint(self.lessons)
        mark = fingerprint(self.route, settings, seed, _mark(self.workspace, self.on), material, guards)
        plan = {"route": self.route, "on": self.on, "seed": seed, "fingerprint": mark, "settings": settings}
        return {**plan, **guards, **mix, **data}

    def rehearse(self, folder: Path, **how: Any) -> Any:
        """Go as far as the first step, and bring back what was found there; nothing is kept in the run's own folder."""
        from shuyuan.teach.course import Rehearsed

        refuse_leaks(self.workspace, self.lessons.examples)
        base = open_assistant(self.workspace, self.on)
        try:
            self.way.teach(base, self.lessons, replace(self.run, folder=folder, **how))  # type: ignore[attr-defined]
        except Rehearsed as ended:
            return ended.found
        raise AssertionError(f"the route {self.route} does not look before it teaches")


def _teaching(  # noqa: PLR0917  (what `teach` was given)
    workspace: Workspace,
    route: str,
    settings: Mapping[str, Any] | None,
    on: str,
    name: str,
    seed: int,
    guards: Guards | None,
    *,
    mix: Mix | None,
    data: Data | None = None,
    rehearsal: bool,
) -> _Teaching:
    way = choose("teach", route).of(settings or {})
    run = workspace.run(name or (route if on == BARE else f"{on}+{route}"), seed)
    run = replace(run, guards=guards or Guards())
    lessons = data_lessons(workspace, data) if data else _lessons(workspace, mix, seed)
    teaching = _Teaching(workspace, route, way, on, run, lessons, mix, data)
    if (mix or data) and not getattr(way, "learns_examples", True):
        raise Fixable(f"{route} learns no examples: there is nothing to mix", "leave out --mix, or the data")
    if not teaching.moves_weights and (rehearsal or run.guards != Guards()):
        raise Fixable(
            f"{route} moves no weights: there is nothing to rehearse, to tune or to guard",
            "leave out --dry-run, --tune, --hold-out, --patience and --forget-limit",
        )
    return teaching


def teach(
    workspace: Workspace,
    route: str,
    settings: Mapping[str, Any] | None = None,
    *,
    on: str = BARE,
    name: str = "",
    seed: int = 0,
    again: bool = False,
    guards: Guards | None = None,
    tune_seconds: float = 0.0,
    mix: Mix | None = None,
    data: Data | None = None,
) -> Assistant:
    """Teach the assistant `on` by a route and return the new one; it is kept as the run `name`.

    The name is derived from the routes when none is given (`lora`, `lora+retrieve`). A run that is finished and made
    from the same things is opened, not made again; one made from other things is refused unless `again`. A run that was
    stopped goes on from its newest checkpoint. Exam questions found in the material stop everything. `tune_seconds`
    above 0: learning rate and epochs are first chosen by trials within that time, once for the same material. `mix`
    None: all examples of the workspace, each once an epoch. `data`: learn from these files alone, and not from the
    workspace's own examples.
    """
    teaching = _teaching(
        workspace, route, settings, on, name, seed, guards, mix=mix, data=data, rehearsal=tune_seconds > 0
    )
    run = teaching.run
    with locked(run.folder.parent / f".{run.name}.lock", f"teaching {run.name}"):
        tuned = _tuned(teaching, tune_seconds, again) if tune_seconds else {}
        if tuned:
            way = type(teaching.way).of({**teaching.way.model_dump(), **tuned["chosen"]})
            teaching = replace(teaching, way=way)
        plan, done = teaching.plan, finished(run)
        if done and done["fingerprint"] == plan["fingerprint"]:
            if there := _still_opens(workspace, run, teaching.renews):
                say(f"{run.name} is taught already and nothing it was made from has changed")
                return there
        else:
            _refuse_other(run, plan, again)
        refuse_leaks(workspace, teaching.lessons.examples)
        if done or _kept_plan(run).get("fingerprint") != plan["fingerprint"]:
            _clear(run, teaching.renews)
        kept = {**plan, "settings": teaching.way.model_dump(exclude_none=True)}
        write_whole(run.folder / SETTINGS, tomli_w.dumps(kept))
        if tuned:
            write_json(run.folder / TUNED, tuned)
        held = [open_assistant(workspace, on)]  # handed over: a route may let go of what it does not need
        with measured() as cost:
            taught: Assistant = teaching.way.teach(held.pop(), teaching.lessons, run)  # type: ignore[attr-defined]
        record = {**plan, **cost, **outcome(run, cost), "finished_at": round(time.time()), "version": __version__}
        if getattr(teaching.way, "learns_documents", False):
            write_json(run.folder / LEARNED, [document.source for document in teaching.lessons.documents])
        write_whole(run.folder / "card.md", card(workspace, run.name, record))
        write_json(run.folder / "done.json", record)
        shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
    say(f"{run.name}: taught in {human_seconds(cost['seconds'])}, peak memory {human_bytes(cost['peak_bytes'])}")
    return taught


def dry_run(
    workspace: Workspace,
    route: str,
    settings: Mapping[str, Any] | None = None,
    *,
    on: str = BARE,
    name: str = "",
    seed: int = 0,
    guards: Guards | None = None,
    mix: Mix | None = None,
) -> Preflight:
    """Look over what `teach` would do with the same arguments, and change nothing."""
    teaching = _teaching(workspace, route, settings, on, name, seed, guards, mix=mix, rehearsal=True)
    with tempfile.TemporaryDirectory() as folder:
        found: Preflight = teaching.rehearse(Path(folder), dry=True)
    return replace(found, questions=len(workspace.material.questions()))


def _tuned(teaching: _Teaching, seconds: float, again: bool) -> dict[str, Any]:
    """The learning rate and epochs that trials chose, with the trials; those of an earlier time for the same things."""
    from shuyuan.teach.tune import as_plain

    run, file = teaching.run, teaching.run.folder / TUNED
    asked = fingerprint(teaching.plan["fingerprint"], seconds)
    kept: dict[str, Any] = read_json(file) if file.exists() else {}
    if kept.get("asked") == asked:
        say(f"{run.name}: learning rate and epochs as chosen before: {kept['chosen']}")
        return kept
    missing = {"learning_rate", "epochs"} - type(teaching.way).model_fields.keys()
    if missing:
        raise Fixable(f"{teaching.route} has no {' and '.join(missing)} to choose", "leave out --tune")
    _refuse_other(run, teaching.plan, again)
    scratch = run.folder.parent / f".{run.name}.tune"
    try:
        found = as_plain(teaching.rehearse(scratch, tune_seconds=seconds))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    chosen = {"learning_rate": found.pop("learning_rate"), "epochs": found.pop("epochs")}
    return {"asked": asked, "chosen": chosen, **found}


def open_assistant(workspace: Workspace, name: str, base: Callable[[str], Assistant] | None = None) -> Assistant:
    """The assistant of a finished run, or the base model itself (`bare`).

    `base` opens, by name, what it was taught on: who keeps assistants open lets them share one model.
    """
    if name == BARE:
        from shuyuan.load.answering import ModelAssistant
        from shuyuan.load.model import open_model
        from shuyuan.load.remote import is_remote, open_remote

        if is_remote(workspace.choices.model):
            return open_remote(BARE, workspace.choices.model)
        return ModelAssistant(BARE, open_model(workspace.choices.model))
    run = workspace.run(name)
    done = finished(run)
    if done is None:
        if name in choices("teach"):
            raise Fixable(f"'{name}' is not taught yet", f"teach it: shuyuan teach {name}")
        raise Fixable(f"there is no assistant '{name}'", near_miss(name, [BARE, *workspace.runs()]))
    on = (base or partial(open_assistant, workspace))(str(done["on"]))
    way = choose("teach", str(done["route"])).of(done["settings"])
    try:
        opened: Assistant = way.open(on, run)
    except Fixable as error:
        if not getattr(way, "renews", "") or "shuyuan teach" not in error.hint:
            raise  # only what a route renews is built again by teaching it
        raise Fixable(error.what, f"build it again: {command({**done, 'name': name})}", error.place) from error
    return opened


def default_assistant(workspace: Workspace) -> str:
    """Who answers when nobody is named: `retrieve` if it is taught, else the newest assistant."""
    runs = workspace.runs()
    return "retrieve" if "retrieve" in runs else [BARE, *runs][-1]


def ask(workspace: Workspace, text: str, assistant: str = "") -> Answer:
    """One question to one assistant, or to the default one."""
    opened = open_assistant(workspace, assistant or default_assistant(workspace))
    return opened.answer([conversation(text)])[0]


def learned(workspace: Workspace, name: str) -> frozenset[str]:
    """The documents whose text an assistant's weights learned, and those of what it was taught on."""
    done = finished(workspace.run(name))
    if name == BARE or done is None:
        return frozenset()
    before = learned(workspace, str(done["on"]))
    if not getattr(choose("teach", str(done["route"])), "learns_documents", False):
        return before
    file = workspace.run(name).folder / LEARNED
    kept = read_json(file) if file.exists() else workspace.material.files()  # an older version did not write it down
    return before.union(kept)


def stale(workspace: Workspace, name: str) -> str:
    """Why an assistant no longer matches its workspace, or nothing when it does."""
    done = finished(workspace.run(name))
    if name == BARE or done is None:
        return ""
    if why := stale(workspace, str(done["on"])):
        return why
    seed = int(str(done["seed"]))
    kept: Any = done.get("mix")
    mix = Mix(tuple(kept["origins"]), kept["strategy"], tuple(kept["shares"])) if kept else None
    data: Any = done.get("data")
    try:
        lessons = data_lessons(workspace, Data(**data)) if data else _lessons(workspace, mix, seed)
        material = lessons_fingerprint(lessons)
    except Fixable:
        return "a file it was taught from is gone"
    guards = {"guards": done["guards"]} if "guards" in done else {}
    mark = fingerprint(done["route"], done["settings"], seed, _mark(workspace, str(done["on"])), material, guards)
    return "" if mark == done["fingerprint"] else "the material or its base has changed since it was taught"


def _lessons(workspace: Workspace, mix: Mix | None, seed: int) -> Lessons:
    lessons = workspace.material.lessons()
    return replace(lessons, examples=mixed_examples(workspace.material, mix, seed)) if mix else lessons


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


def _still_opens(workspace: Workspace, run: Run, renews: str) -> Assistant | None:
    """A finished run's assistant, or None where the folder that its route `renews` is lost, or of another version."""
    try:
        return open_assistant(workspace, run.name)
    except Fixable:
        if not renews:
            raise
        return None


def _clear(run: Run, renews: str) -> None:
    """Take away what an earlier teaching left, but for the folder that the route brings up to date."""
    (run.folder / "done.json").unlink(missing_ok=True)  # first: from now on the run is not finished
    for path in run.folder.glob("*"):
        if path.is_dir() and path.name != renews:
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_file():
            path.unlink()


def _refuse_other(run: Run, plan: Mapping[str, Any], again: bool) -> None:
    """Refuse to replace a finished run made from other things, unless it is to be done `again`."""
    if finished(run) and not again:
        raise Fixable(
            f"'{run.name}' was taught already, from other things: {_difference(run, plan)}",
            "give this one another --name, or replace the old one with --again",
        )


def _difference(run: Run, plan: Mapping[str, Any]) -> str:
    old = _kept_plan(run)
    before, now = ({**p, **p.get("settings", {}), **p.get("guards", {})} for p in (old, plan))
    changed = [
        f"{key} {before.get(key)} → {value}"
        for key, value in now.items()
        if key not in ("fingerprint", "settings", "guards") and before.get(key) != value
    ]
    return ", ".join(changed) or "the material has changed"
