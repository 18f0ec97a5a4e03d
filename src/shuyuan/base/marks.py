"""What people say about documents: pinned, tagged, of a group; and which documents one who asks may see.

A mark is set on a source or on a folder (or archive) above it, and holds for what comes there later, too: a folder can
be given to a group before the first file lies in it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import RLock

EVERYONE = "everyone"  # the group of all: opens a document again whose folder is of a group
TABLE = (
    "create table if not exists marks "
    "(source text primary key, pinned integer not null, tags text not null, of_group text not null)"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """`pinned`: shown to the model with every question. `group`: who may see it; "" says nothing of that."""

    pinned: bool = False
    tags: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """Which documents one who asks may see, and which of these are wanted.

    `groups`: those they are in; None: they may see everything. Documents without a group are for all. `tags`: only
    documents that have all of these. `folder`: only what lies there. `kind`: only this suffix, without its dot.
    """

    groups: frozenset[str] | None = frozenset()
    tags: tuple[str, ...] = ()
    folder: str = ""
    kind: str = ""

    def shows(self, source: str, mark: Mark) -> bool:
        """Whether a document with this mark is seen."""
        if self.groups is not None and mark.group and mark.group not in self.groups:
            return False
        if self.kind and PurePosixPath(source).suffix.lower() != f".{self.kind.lower().lstrip('.')}":
            return False
        return set(self.tags) <= set(mark.tags) and (not self.folder or self.folder.rstrip("/") in above(source))

    @property
    def narrow(self) -> bool:
        """Whether some of what may be seen is not wanted."""
        return bool(self.tags or self.folder or self.kind)


FOR_ALL, WHOLE = View(), View(None)
"""What everyone may see, and everything."""


@dataclass(frozen=True, slots=True)
class Within:
    """The documents that count in a search: those of `ids` or, with `but`, all others."""

    ids: frozenset[str]
    but: bool = False


def above(source: str) -> Iterator[str]:
    """The source and every folder, archive or data file that holds it, nearest first."""
    yield source
    for at in range(len(source) - 1, 0, -1):
        if source[at] in "/:":
            yield source[:at]


def joined(marks: Mapping[str, Mark], source: str) -> Mark:
    """The mark of a source: pins and tags of all above it together, the group of the nearest that names one."""
    found = [marks[name] for name in above(source) if name in marks]
    if not found:
        return Mark()
    group = next((mark.group for mark in found if mark.group), "")
    tags = sorted({tag for mark in found for tag in mark.tags})
    return Mark(any(mark.pinned for mark in found), tuple(tags), "" if group == EVERYONE else group)


def read_marks(db: sqlite3.Connection) -> dict[str, Mark]:
    """All marks as they were set, by source or folder."""
    if not db.execute("select 1 from sqlite_master where name = 'marks'").fetchone():
        return {}  # a workspace that an older version made and this one has not written to
    rows = db.execute("select source, pinned, tags, of_group from marks order by source")
    return {source: Mark(bool(pinned), tuple(json.loads(tags)), group) for source, pinned, tags, group in rows}


class Marks:
    """The marks of a workspace as they are now, whoever changes them; may be asked from any thread."""

    def __init__(self, path: Path) -> None:
        self._path, self._turn = path, RLock()
        self._db: sqlite3.Connection | None = None
        self._version = -1
        self._marks: dict[str, Mark] = {}
        self._ids: frozenset[str] = frozenset()
        self._shown: dict[View, frozenset[str]] = {}
        self._pinned: dict[View, tuple[str, ...]] = {}

    def of(self, source: str) -> Mark:
        """The mark of a document."""
        with self._turn:
            return joined(self._now(), source)

    def shows(self, view: View, source: str) -> bool:
        """Whether a document is seen; asked before anything of it is told."""
        return view.shows(source, self.of(source))

    def restrict(self, view: View) -> bool:
        """Whether there may be anything that a view does not show."""
        with self._turn:
            return view.narrow or (view.groups is not None and any(mark.group for mark in self._now().values()))

    def shown(self, view: View) -> frozenset[str]:
        """The ids of the documents that a view shows."""
        with self._turn:
            self._now()
            if view not in self._shown:
                self._look(view)
            return self._shown[view]

    def pinned(self, view: View) -> tuple[str, ...]:
        """The ids of the pinned documents that a view shows, by source."""
        with self._turn:
            if not any(mark.pinned for mark in self._now().values()):
                return ()
            if view not in self._pinned:
                self._look(view)
            return self._pinned[view]

    def within(self, view: View, known: Collection[str]) -> Within | None:
        """Where to search of the documents `known` to an index; None: everywhere.

        A document that the workspace has forgotten is in no view, whatever an index may still hold.
        """
        with self._turn:
            if not self.restrict(view):
                return None
            shown = self.shown(view)
            hidden = (self._ids - shown).union(name for name in known if name not in self._ids)
        if len(hidden) > len(shown):
            return Within(shown)
        return Within(hidden, but=True) if hidden else None

    def close(self) -> None:
        """Close the records; they are opened again when something is asked."""
        with self._turn:
            if self._db is not None:
                self._db.close()
            self._db, self._version = None, -1

    def _now(self) -> dict[str, Mark]:
        if self._db is None:
            if not self._path.exists():
                return {}
            self._db = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
            self._db.execute("pragma query_only = on")
        (version,) = self._db.execute("pragma data_version").fetchone()  # moves when another connection wrote
        if version != self._version:
            self._marks, self._version = read_marks(self._db), version
            self._shown.clear()
            self._pinned.clear()
        return self._marks

    def _look(self, view: View) -> None:
        shown, pinned = [], []
        rows = self._db.execute("select id, source from documents order by source").fetchall() if self._db else []
        self._ids = frozenset(name for name, _ in rows)
        for name, source in rows:
            mark = joined(self._marks, source)
            if view.shows(source, mark):
                shown.append(name)
                if mark.pinned:
                    pinned.append(name)
        self._shown[view], self._pinned[view] = frozenset(shown), tuple(pinned)
