"""The workspace folder: what was added, what was derived, every run and every exam. Copying it is a backup."""

from __future__ import annotations

import os
import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated

import tomli_w
from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.files import inside, read_json, write_whole
from shuyuan.base.marks import Mark, Marks
from shuyuan.base.material import Material
from shuyuan.base.records import Run
from shuyuan.base.settings import Settings

SETTINGS_FILE, MATERIAL_FILE = "shuyuan.toml", "material.sqlite"
UPLOADS = "uploads"  # the folder of the documents that came through the server
_NAME = re.compile(r"[\w][\w.+-]{0,99}")


class Choices(Settings):
    """What a workspace is built on; written once by `shuyuan new`."""

    model: Annotated[str, Field(description="base model: a name from `shuyuan models`, a folder or a GGUF file")] = (
        "qwen2.5-0.5b"
    )
    embedder: Annotated[str, Field(description="model that places texts for search")] = "multilingual-e5-small"


class Workspace:
    """One folder of material, runs and exams.

    ```
    shuyuan.toml      the base model and the embedder
    material.sqlite   files, documents, passages, examples, questions; what was asked
    runs/<name>/      one assistant each: settings.toml, log.jsonl, checkpoints/, weights/, scores.json, card.md
    exams/<name>/     one sitting each: answers, scores.json, report.md, report.html
    cache/            what can be made again
    ```
    """

    def __init__(self, folder: Path, choices: Choices) -> None:
        self.folder, self.choices = folder, choices

    @classmethod
    def create(cls, folder: Path | str, choices: Choices | None = None) -> Workspace:
        """Make a workspace, or open it when it is there already with the same choices."""
        folder, choices = Path(folder), choices or Choices()
        file = folder / SETTINGS_FILE
        if file.exists():
            there = cls.open(folder)
            if there.choices != choices:
                raise Fixable(
                    f"{folder} is a workspace already, built on {there.choices.model} and {there.choices.embedder}",
                    "choose another folder for other models",
                )
            return there
        if folder.is_dir() and any(folder.iterdir()):
            raise Fixable(f"{folder} is not empty and not a workspace", "choose a new or an empty folder")
        write_whole(file, tomli_w.dumps(choices.model_dump()))
        return cls(folder, choices)

    @classmethod
    def open(cls, folder: Path | str) -> Workspace:
        """Open a workspace that exists."""
        folder = Path(folder)
        file = folder / SETTINGS_FILE
        if not file.exists():
            raise Fixable(f"there is no workspace in {folder}", f"make one: shuyuan new {folder}")
        try:
            given = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Fixable(f"not valid TOML: {error}", "correct the file", file) from None
        return cls(folder, Choices.of(given, str(file)))

    @cached_property
    def material(self) -> Material:
        """The records of what was added."""
        return Material(self._records)

    @cached_property
    def marks(self) -> Marks:
        """What was said about documents, and who may see them."""
        return Marks(self._records)

    def mark(
        self,
        source: str,
        *,
        pinned: bool | None = None,
        tags: tuple[str, ...] | None = None,
        group: str | None = None,
    ) -> Mark:
        """Pin, tag or restrict a document, or all that lies in a folder or archive now and later.

        None: as it was. `group`: "" says nothing any more, `everyone` opens what a folder above it closes. Raises
        Fixable for a name that cannot be one.
        """
        source = source.rstrip("/")
        if not source:
            raise Fixable("a mark needs a document or a folder", "name it as `shuyuan list --documents` does")
        for name in (*(tags or ()), *([group] if group else [])):
            checked_name(name)
        before = self.material.marks().get(source, Mark())
        made = Mark(
            before.pinned if pinned is None else pinned,
            before.tags if tags is None else tuple(sorted(set(tags))),
            before.group if group is None else group,
        )
        self.material.put_mark(source, made)
        return made

    @property
    def _records(self) -> Path:
        return self.folder / MATERIAL_FILE

    def close(self) -> None:
        """Close the records; the object cannot be used afterwards."""
        for name in ("material", "marks"):
            if name in vars(self):
                getattr(self, name).close()

    def run(self, name: str, seed: int = 0) -> Run:
        """The run of a name, whether or not it exists yet."""
        folder, cache = inside(self.folder / "runs", checked_name(name)), self.folder / "cache"
        return Run(name, folder, cache, seed, self.choices.embedder, material=self._records)

    def runs(self) -> list[str]:
        """The names of the assistants that were taught here, oldest first."""
        made = (self.folder / "runs").glob("*/done.json")
        return [done.parent.name for done in sorted(made, key=lambda done: done.stat().st_mtime)]

    def exam(self, name: str) -> Path:
        """The folder of an exam, whether or not it exists yet."""
        return inside(self.folder / "exams", checked_name(name))

    def exams(self) -> list[str]:
        """The names of the exams that were sat here, oldest first."""
        made = (self.folder / "exams").glob("*/scores.json")
        return [scores.parent.name for scores in sorted(made, key=lambda scores: scores.stat().st_mtime)]


def finished(run: Run) -> dict[str, object] | None:
    """What a finished run wrote down at its end (`done.json`), or None while it is not finished."""
    file = run.folder / "done.json"
    return dict(read_json(file)) if file.exists() else None


def home() -> Path:
    """Where fetched models are kept for all workspaces: `SHUYUAN_HOME`, or `~/.cache/shuyuan`."""
    given = os.environ.get("SHUYUAN_HOME")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "shuyuan"


def checked_name(name: str) -> str:
    """A name that can be a folder here: letters, digits and . + - _; others are a `Fixable`."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise Fixable(f"'{name}' cannot be a name here", "use letters, digits and . + - _, starting with a letter")
    return name
