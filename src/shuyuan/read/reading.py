"""Which files a folder offers, and one file → its documents, by the format its content shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pathspec import GitIgnoreSpec

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document
from shuyuan.base.shelf import choices, choose
from shuyuan.base.workspace import SETTINGS_FILE
from shuyuan.read.formats import Format, load

IGNORE_FILE = ".shuyuanignore"


@dataclass(frozen=True, slots=True)
class Walk:
    """The files under a root that can be read, sorted, and why others were passed over (reason → count)."""

    files: tuple[Path, ...]
    skipped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Part:
    """What one file gave: its document, or that of a file inside it; or the `fault` that it cannot be read for.

    `skipped`: files inside that were passed over (reason → count). `short`: memory ran short.
    """

    source: str
    document: Document | None = None
    fault: str = ""
    skipped: Mapping[str, int] = field(default_factory=dict)
    short: bool = False


def read_file(path: Path, source: str) -> Document:
    """Read one file into a document called `source`, in this process. Content decides the format, then the suffix.

    A file with a known suffix and other content is read as what it is; what is no known format is tried as plain
    text. Raises `Fixable` naming the file, and the line or page where there is one.
    """
    data = load(path)
    document = format_of(data, path).read(data, path, source)
    if document is None:
        raise Fixable("this file holds other files and no text of its own", "add it: shuyuan add", path)
    return document


def read_parts(path: Path, source: str) -> Iterator[Part]:
    """The document of a file and those of the files inside, each with its fault if it cannot be read.

    A part's source is the file's with the name inside (`mail.eml/report.pdf`). Files inside are not opened in turn.
    """
    try:
        data = load(path)
        kind = format_of(data, path)
        yield Part(source, kind.read(data, path, source))
    except (Exception, MemoryError) as error:  # a parser's own error: one bad file must not stop the others
        yield _faulty(source, path, error)
        return
    if kind.holds_files:
        yield from _inside(kind, data, path, source)


def _inside(kind: Format, data: bytes, path: Path, source: str) -> Iterator[Part]:
    skipped, names = Counter[str](), Counter[str]()
    known = {suffix for kind in formats().values() for suffix in kind.suffixes if not kind.pictured}
    try:
        for name, content in kind.unpack(data, path):
            place, suffix = path / name, Path(name).suffix.lower()
            names[name] += 1
            if names[name] > 1:
                name = f"{name} ({names[name]})"
            if not isinstance(content, Fixable) and suffix not in known:
                skipped[unknown(suffix)] += 1
                continue
            try:
                yield Part(f"{source}/{name}", _member(content, place, f"{source}/{name}"))
            except (Exception, MemoryError) as error:  # as above
                yield _faulty(f"{source}/{name}", place, error)
    except (Exception, MemoryError) as error:  # as above
        yield _faulty(f"{source}/…", path, error)
    if skipped:
        yield Part(source, skipped=dict(skipped))


def _member(content: bytes | Fixable, place: Path, source: str) -> Document:
    if isinstance(content, Fixable):
        raise Fixable(content.what, content.hint, content.place or place)
    if not content:
        raise Fixable("the file is empty (0 bytes)", "leave it out, or put its content back", place)
    document = format_of(content, place).read(content, place, source)
    if document is None:
        raise Fixable("refused: an archive inside another one is not opened", "unpack it and add it by itself", place)
    return document


def _faulty(source: str, path: Path, error: BaseException) -> Part:
    if isinstance(error, Fixable):
        return Part(source, fault=str(error))
    if isinstance(error, MemoryError):
        return Part(source, fault=f"{path}: refused: reading it takes too much memory\nhint: split it", short=True)
    if isinstance(error, RecursionError):
        return Part(source, fault=f"{path}: refused: it is nested too deeply\nhint: save it again in its program")
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return Part(source, fault=f"{path}: cannot be read: {said}\nhint: save it again in its program")


def format_of(data: bytes, path: Path) -> Format:
    """The format that the content shows; else the one of the suffix, where unmarked content can be that; else text."""
    for kind in formats().values():
        if kind.recognises(data):
            return kind()
    for kind in formats().values():
        if path.suffix.lower() in kind.suffixes and not kind.always_shows:
            return kind()
    chosen: Format = formats()["text"]()
    return chosen


def unknown(suffix: str) -> str:
    """Why a file with this suffix is passed over in a folder."""
    return f"unknown kind {suffix}" if suffix else "no suffix"


def walk(root: Path, exclude: Iterable[str] = (), pictures: bool = False) -> Walk:
    """All readable files under `root`, recursively; a single file is taken as it is.

    `exclude` holds patterns as in `.gitignore`, against paths relative to `root`; a `.shuyuanignore` file holds them
    for its folder. Hidden names and other workspaces are passed over. A file reached twice by links counts once, by
    its real name where that is under `root`. Pictures are taken only when they are asked for.
    """
    if not root.exists():
        raise Fixable(f"there is no file or folder {root}", "check the name and the current folder")
    if root.is_file():
        return Walk((root,), {})
    walker = _Walker(root, GitIgnoreSpec.from_lines(exclude), pictures)
    walker.run()
    return Walk(tuple(sorted(walker.files)), dict(walker.skipped))


@cache
def formats() -> dict[str, type[Format]]:
    """The formats on the shelf, by name."""
    return {name: choose("read", name) for name in choices("read")}


class _Walker:
    def __init__(self, root: Path, exclude: GitIgnoreSpec, pictures: bool) -> None:
        self.root, self.exclude = root, exclude
        self.files: list[Path] = []
        self.skipped: Counter[str] = Counter()
        self._specs: list[tuple[Path, GitIgnoreSpec]] = []
        self._seen: set[tuple[int, int]] = set()
        self._links: list[Path] = []
        kinds = formats().values()
        self._suffixes = {suffix for kind in kinds if pictures or not kind.pictured for suffix in kind.suffixes}
        self._pictures = {suffix for kind in kinds if kind.pictured and not pictures for suffix in kind.suffixes}

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
        elif path.suffix.lower() in self._pictures:
            self.skipped["pictures (read with --pictures)"] += 1
        elif path.suffix.lower() not in self._suffixes:
            self.skipped[unknown(path.suffix.lower())] += 1
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
