"""What the server keeps: a folder of workspaces, the assistants that are open, who may enter, and the jobs."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shuyuan.base.errors import near_miss
from shuyuan.base.files import inside
from shuyuan.base.material import Material
from shuyuan.base.records import Answer, Assistant
from shuyuan.base.workspace import MATERIAL_FILE, SETTINGS_FILE, Workspace, checked_name, finished
from shuyuan.serve.access import Access, Visitor, WithinBody
from shuyuan.serve.gate import Meter
from shuyuan.serve.limits import Bounds
from shuyuan.serve.pages import Pictures
from shuyuan.serve.queue import Queue
from shuyuan.serve.refusals import Refused
from shuyuan.serve.speaking import Speaker, Talk
from shuyuan.serve.state import STATE, State
from shuyuan.serve.webhooks import Webhooks
from shuyuan.teach.command import BARE
from shuyuan.teach.teaching import learned, open_assistant, stale

if TYPE_CHECKING:
    from shuyuan.load.embedder import Embedder

# Names that hosted clients send → what answers here.
ALIASES: Mapping[str, str] = {"gpt-*": BARE, "o1*": BARE, "o3*": BARE, "o4*": BARE, "claude-*": BARE}


class House:
    """A folder of workspaces (or one workspace), and everything that its endpoints share."""

    def __init__(
        self,
        root: Path,
        bounds: Bounds | None = None,
        aliases: Mapping[str, str] | None = None,
        hosts: tuple[str, ...] = (),
        webhooks: tuple[str, ...] = (),
    ) -> None:
        self.root, self.bounds, self.hosts = root.resolve(), bounds or Bounds(), hosts
        self.aliases = {**(aliases or {}), **{name: to for name, to in ALIASES.items() if name not in (aliases or {})}}
        self.alone = (self.root / SETTINGS_FILE).exists()
        self.state = State(self.root / STATE)
        self.access = Access(self.state)
        self.meter = Meter(self.bounds.requests_a_minute)
        self.queue = Queue(self.state, self.folder, self.bounds)
        self.webhooks = Webhooks(self.state, webhooks)
        self.speaker = Speaker(self.bounds, self._keep_asked)
        self.pictures = Pictures()
        self._open: OrderedDict[tuple[str, str, str], Assistant] = OrderedDict()
        self._stale: dict[tuple[Path, str], tuple[str, object]] = {}
        self._embedders: dict[str, Embedder] = {}
        self._keeping, self._opening = threading.Lock(), threading.RLock()

    # workspaces

    def workspaces(self) -> list[str]:
        """The names of all workspaces here, sorted."""
        if self.alone:
            return [self.root.name]
        return sorted(file.parent.name for file in self.root.glob(f"*/{SETTINGS_FILE}"))

    def folder(self, workspace: str) -> Path:
        """The folder of a workspace, whether or not it exists yet."""
        if self.alone and workspace == self.root.name:
            return self.root
        if self.alone:
            raise Refused(409, "this server has one workspace only", "start it in a folder that holds several")
        return inside(self.root, checked_name(workspace))

    @contextmanager
    def opened(self, workspace: str) -> Iterator[Workspace]:
        """A workspace for one thread and one request."""
        found = Workspace.open(self.folder(workspace))
        try:
            yield found
        finally:
            found.close()

    # assistants

    def assistant(self, visitor: Visitor, workspace: str, name: str, within: WithinBody | None = None) -> Assistant:
        """An assistant as this visitor may use it: what they may not see is not looked up for them.

        `within`: only some documents are wanted; `Refused` 400 for an assistant without a library.
        """
        from shuyuan.recall.grounded import GroundedAssistant, seen_by

        with self.opened(workspace) as here:
            if learned(here, name).intersection(visitor.hidden(here)):
                raise Refused(
                    404,
                    f"there is no assistant '{name}'",
                    code="model_not_found",
                )
        opened = self._opened(workspace, name)
        if within and not isinstance(opened, GroundedAssistant):
            raise Refused(400, f"'{name}' has no library", "ask one that was taught retrieve", param="within")
        return seen_by(opened, visitor.view(workspace, within))

    def _opened(self, workspace: str, name: str) -> Assistant:
        """An assistant of a workspace, opened when it is not yet; the ones used last stay open, on one shared model."""
        here = Workspace.open(self.folder(workspace))
        mark = "" if name == BARE else str((finished(here.run(name)) or {}).get("fingerprint", ""))
        key = (workspace, name, mark)
        with self._keeping:
            if key in self._open:
                self._open.move_to_end(key)
                return self._open[key]
        with self._opening:  # one at a time: two at once would need the memory of both
            if key not in self._open:
                opened = open_assistant(here, name, partial(self._opened, workspace))
                with self._keeping:
                    for old in [one for one in self._open if one[:2] == key[:2]]:  # it was taught again
                        del self._open[old]
                    self._open[key] = opened
                    while len(self._open) > self.bounds.open_assistants:
                        self._open.popitem(last=False)
                return opened
            return self._open[key]

    def stale(self, here: Workspace, name: str) -> str:
        """Why an assistant no longer matches its workspace; looked at anew only when something there has changed."""
        made = sorted((here.folder / "runs").glob("*/done.json"))
        mark = (tuple((file, file.stat().st_mtime_ns) for file in made), here.material.changes())
        if self._stale.get((here.folder, name), ("", None))[1] != mark:
            self._stale[here.folder, name] = stale(here, name), mark
        return self._stale[here.folder, name][0]

    def tokenizer(self, workspace: str, name: str) -> Any:
        """The tokenizer of an assistant's model; the model itself is not opened for it."""
        from shuyuan.load.pulling import pull
        from shuyuan.load.remote import is_remote

        with self.opened(workspace) as here:
            while name != BARE:  # a run that keeps all weights keeps its tokenizer, too
                kept = here.run(name).folder / "weights"
                if (kept / "tokenizer.json").exists():
                    return _tokenizer(kept)
                name = str((finished(here.run(name)) or {}).get("on", BARE))
            if is_remote(here.choices.model):
                raise Refused(400, f"the tokens of '{name}' are known only to its server", code="unsupported_operation")
            return _tokenizer(pull(here.choices.model))

    def other_tokenizers(self, workspace: str) -> list[tuple[str, Any]]:
        """The catalogue's language models on this machine, but for the workspace's own, each with its tokenizer."""
        from shuyuan.load.pulling import models, pull

        own = Workspace.open(self.folder(workspace)).choices.model
        here = [one.entry.name for one in models() if one.present and one.entry.kind == "language"]
        return [(name, _tokenizer(pull(name))) for name in here if name != own]

    def embedder(self, name: str) -> Embedder:
        """An embedder by name, opened once."""
        from shuyuan.load.embedder import open_embedder

        with self._opening:
            if name not in self._embedders:
                self._embedders[name] = open_embedder(name)
            return self._embedders[name]

    def names(self, workspace: str) -> list[str]:
        """The assistants of a workspace: the base model, then what was taught, oldest first."""
        return [BARE, *Workspace.open(self.folder(workspace)).runs()]

    def resolve(self, visitor: Visitor, model: str) -> tuple[str, str]:
        """Workspace and assistant of a model id: `lora`, `school/lora`, `ft:…` of a tuning job, an alias (`gpt-…`)."""
        tuned = self.state.row("select workspace, run from models where id = ?", (model,))
        if tuned and visitor.may("ask", tuned["workspace"]):
            return tuned["workspace"], tuned["run"]
        workspace, slash, name = model.partition("/")
        if not slash:
            workspace, name = visitor.workspace, model
        if not visitor.may("ask", workspace) or workspace not in self.workspaces():
            raise self._no_model(visitor, model)
        known = self.names(workspace)
        if name not in known:
            name = next((to for alias, to in self.aliases.items() if fnmatchcase(name, alias)), name)
        if name not in known:
            raise self._no_model(visitor, model)
        return workspace, name

    def _keep_asked(self, talk: Talk, assistant: Assistant, answer: Answer) -> None:
        """Keep a question that was put to a library. Nobody waits for this for more than a second; no answer fails."""
        from shuyuan.recall.asked import keep

        try:
            with closing(Material(self.folder(talk.workspace) / MATERIAL_FILE, wait_seconds=1)) as material:
                keep(material, assistant, talk.conversation, answer, talk.decoding)
        except Exception as error:
            logging.getLogger("shuyuan.serve").warning("a question was not kept: %s", error)

    def _no_model(self, visitor: Visitor, model: str) -> Refused:
        known = self.names(visitor.workspace) if visitor.workspace else []
        said = f"The model '{model[:200]}' does not exist or you do not have access to it."
        return Refused(404, said, near_miss(model[:200], known), code="model_not_found", param="model")

    def models(self, visitor: Visitor) -> list[dict[str, Any]]:
        """Every model id that a visitor may ask, with when it was made."""
        found = []
        for workspace in visitor.seen():
            here = Workspace.open(self.folder(workspace))
            ahead = "" if workspace == visitor.workspace else f"{workspace}/"
            made = (here.folder / SETTINGS_FILE).stat().st_mtime
            found.append({"id": f"{ahead}{BARE}", "created": round(made), "owned_by": workspace})
            for name in here.runs():
                at = (here.run(name).folder / "done.json").stat().st_mtime
                found.append({"id": f"{ahead}{name}", "created": round(at), "owned_by": workspace})
            tuned = self.state.rows("select id, created from models where workspace = ?", (workspace,))
            found += [{**row, "owned_by": workspace} for row in tuned]
        return found

    def note(self, visitor: Visitor | None, method: str, route: str, status: int) -> None:
        """A line of the audit log: who did what where, and never what it was about."""
        who = (visitor.user, visitor.key, visitor.workspace) if visitor else ("", "", "")
        with self.state.change() as db:
            db.execute(
                "insert into audit (at, user, key, workspace, method, route, status) values (?, ?, ?, ?, ?, ?, ?)",
                (time.time(), *who, method, route, status),
            )


def _tokenizer(folder: Path) -> Any:
    """The tokenizer in a model's folder, opened again only when its file has changed."""
    file = folder / "tokenizer.json"
    return _opened_tokenizer(folder, file.stat().st_mtime_ns if file.exists() else 0)


@lru_cache(maxsize=8)
def _opened_tokenizer(folder: Path, changed: int) -> Any:
    from shuyuan.load.model import open_tokenizer

    return open_tokenizer(folder)
