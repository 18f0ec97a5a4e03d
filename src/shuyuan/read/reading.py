"""Which files a folder offers, and one file → document by the format its content shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pathspec import GitIgnoreSpec

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document
from shuyuan.base.shelf import choices, choose
from shuyuan.base.workspace import SETTINGS_FILE
from shuyuan.read.formats import HEAD_BYTES, Format

IGNORE_FILE = ".shuyuanignore"


@dataclass(frozen=True, slots=True)
class Walk:
    """The files under a root that can be read, sorted, and why others were passed over (reason → count)."""

    files: tuple[Path, ...]
    skipped: Mapping[str, int]


def read_file(path: Path, source: str) -> Document:
    """Read one file into a document called `source`. Content decides the format, then the suffix.

    A file with a known suffix and other content is read as what it is; what is no known format is tried as plain
    text. Raises `Fixable` naming the file, and the line or page where there is one.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        raise Fixable(f"the file cannot be read: {error.strerror}", "check its name and permissions", path) from None
    for kind in formats().values():
        if kind.recognises(head):
            return kind().read(path, source)
    return _by_suffix(path).read(path, source)


def walk(root: Path, exclude: Iterable[str] = ()) -> Walk:
    """All readable files under `root`, recursively; a single file is taken as it is.

    `exclude` holds patterns as in `.gitignore`, against paths relative to `root`; a `.shuyuanignore` file holds them
    for its folder. Hidden names and other workspaces are passed over. A file reached twice by links counts once, by
    its real name where that is under `root`.
    """
    if not root.exists():
        raise Fixable(f"there is no file or folder {root}", "check the name and the current folder")
    if root.is_file():
        return Walk((root,), {})
    walker = _Walker(root, GitIgnoreSpec.from_lines(exclude))
    walker.run()
    return Walk(tuple(sorted(walker.files)), dict(walker.skipped))


@cache
def formats() -> dict[str, type[Format]]:
    """The formats on the shelf, by name."""
    return {name: choose("read", name) for name in choices("read")}


def _by_suffix(path: Path) -> Format:
    """The format a file's suffix names, where unmarked content can be that; plain text for all else."""
    for kind in formats().values():
        if path.suffix.lower() in kind.suffixes and not kind.always_shows:
            return kind()
    return formats()["text"]()


class _Walker:
    def __init__(self, root: Path, exclude: GitIgnoreSpec) -> None:
        self.root, self.exclude = root, exclude
        self.files: list[Path] = []
        self.skipped: Counter[str] = Counter()
        self._specs: list[tuple[Path, GitIgnoreSpec]] = []
        self._seen: set[tuple[int, int]] = set()
        self._links: list[Path] = []
        self._suffixes = {suffix for kind in formats().values() for suffix in kind.suffixes}

    def run(self) -> None:
        """Real files and folders first, so that they keep their own names; then what links lead to."""
        self._folder(self.root)
        while self._links:
            link = self._links.pop(0)
            if not link.exists():
                self.skipped["broken link"] += 1
            else:
                self._entry(link)

    def _folder(self, folder: Path) -> None:
        if self._visited(folder):
            self.skipped["reached twice by links"] += 1
            return
        ignore = folder / IGNORE_FILE
        if ignore.is_file():
            self._specs.append((folder, GitIgnoreSpec.from_lines(ignore.read_text(encoding="utf-8").splitlines())))
        try:
            names = sorted(entry.name for entry in folder.iterdir())
        except OSError:
            self.skipped["folder without permission"] += 1
            return
        if folder != self.root and SETTINGS_FILE in names:
            self.skipped["inside a workspace"] += 1
            return
        for name in names:
            path = folder / name
            if name.startswith("."):
                self.skipped["hidden"] += name != IGNORE_FILE
            elif self._excluded(path):
                self.skipped["excluded"] += 1
            elif path.is_symlink():
                self._links.append(path)
            else:
                self._entry(path)

    def _entry(self, path: Path) -> None:
        if path.is_dir():
            self._folder(path)
        elif not path.is_file():
            self.skipped["not a plain file"] += 1
        elif path.suffix.lower() not in self._suffixes:
            self.skipped[f"unknown kind {path.suffix.lower()}" if path.suffix else "no suffix"] += 1
        elif self._visited(path):
            self.skipped["reached twice by links"] += 1
        else:
            self.files.append(path)

    def _visited(self, path: Path) -> bool:
        stat = path.stat()
        key = (stat.st_dev, stat.st_ino)
        there = key in self._seen
        self._seen.add(key)
        return there

    def _excluded(self, path: Path) -> bool:
        """The patterns given by hand decide first, then the nearest ignore file, then those above it."""
        specs: Sequence[tuple[Path, GitIgnoreSpec]] = [(self.root, self.exclude), *reversed(self._specs)]
        for folder, spec in specs:
            if path.is_relative_to(folder):
                name = path.relative_to(folder).as_posix() + ("/" if path.is_dir() else "")
                decided = spec.check_file(name).include
                if decided is not None:
                    return bool(decided)
        return False
