"""Which folder or file each source name stands for, so that two of one name never mix."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable
from shuyuan.base.files import inside, read_json, write_json
from shuyuan.base.progress import say

FILE = "sources.json"


@dataclass
class Roots:
    """The roots that were added to a workspace, by name, and how documents were last cut.

    A root's name is its last path part; a path inside a known root goes by that root (`docs/zh/teach.md`), and a root
    that encloses earlier ones takes them over (`absorbed` lists their names). `chunk` is None while a change is under
    way.
    """

    folder: Path
    roots: dict[str, str] = field(default_factory=dict)
    questions: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    chunk: dict[str, Any] | None = None
    absorbed: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path) -> Roots:
        """The roots of the workspace in `folder`."""
        file = folder / FILE
        return cls(folder, **read_json(file)) if file.exists() else cls(folder)

    def save(self) -> None:
        """Write them down."""
        kept = {"roots": self.roots, "questions": self.questions, "data": self.data, "chunk": self.chunk}
        write_json(self.folder / FILE, kept)

    def name(self, path: Path) -> str:
        """The source name of an added file or folder."""
        path = path.resolve()
        for name, root in self.roots.items():
            if path.is_relative_to(root):
                return "/".join((name, *path.relative_to(root).parts))
        for name, root in list(self.roots.items()):
            if Path(root).is_relative_to(path):
                self.absorbed.append(name)
                del self.roots[name]
        return _claim(self.roots, path.name or "files", path)

    def path(self, source: str) -> Path | None:
        """The file of a document's source; None for one that lies under no root: a page of the web."""
        name, _, rest = source.partition("/")
        return inside(Path(self.roots[name]), rest) if name in self.roots else None

    def question_name(self, path: Path) -> str:
        """The name of a question file: its folder and its own."""
        path = path.resolve()
        return _claim(self.questions, "/".join((path.parent.name, path.name)).lstrip("/"), path)

    def data_name(self, path: Path) -> str:
        """The name of a file of training data: its folder and its own."""
        path = path.resolve()
        return _claim(self.data, "/".join((path.parent.name, path.name)).lstrip("/"), path)


def _claim(names: dict[str, str], name: str, path: Path) -> str:
    """Give a name to a path; the name of another that still exists is refused, of one that is gone is taken over."""
    there = Path(names.get(name, path))
    if there != path and there.exists():
        raise Fixable(
            f"'{name}' is already the name of {there}, so {path} cannot be added under it",
            "rename one of them, or add the folder that holds both",
        )
    if there != path:
        say(f"{name}: moved from {there} to {path}")
    names[name] = str(path)
    return name
