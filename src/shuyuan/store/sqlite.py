"""One SQLite file: words by FTS5, vectors searched exactly in memory; nothing to install, several processes at once."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

import numpy as np

from shuyuan.base.errors import Fixable, disk_errors
from shuyuan.base.marks import Within
from shuyuan.base.records import Passage
from shuyuan.base.settings import Settings
from shuyuan.base.wiping import wipe
from shuyuan.store.contract import (
    Index,
    Scored,
    Vectors,
    check_vectors,
    from_record,
    in_batches,
    nearest,
    other_width,
    record,
    rows_within,
    untied,
)
from shuyuan.store.words import asked, terms

_FILE = "passages.sqlite"
# FTS5 gets our terms with blanks between them: its `ascii` tokenizer then changes nothing and knows no language.
_TABLES = """
create table if not exists about (width integer not null);
create table if not exists passages (
    row integer primary key, id text not null unique, document_id text not null,
    record text not null, vector blob not null
);
create index if not exists of_document on passages (document_id);
create virtual table if not exists words using fts5 (
    terms, content = '', tokenize = 'ascii'
);
"""
_LOOKED_UP = 500  # ids per statement


class Sqlite(Settings):
    """Keep passages in one SQLite file."""

    def open(self, folder: Path, width: int) -> Index:
        """Open or make the file in `folder`."""
        return SqliteIndex(folder / _FILE, width)


class SqliteIndex:
    """Passages, vectors and words in one file; a change is one transaction. Threads take turns.

    The vectors [n, width] are read into memory at the first search and again after a change by any process.
    """

    def __init__(self, file: Path, width: int) -> None:
        self._file, self._width = file, width
        self._turn = RLock()
        # version; ids, their documents and vectors in the same order
        self._held: tuple[int, list[str], list[str], Vectors] | None = None
        with disk_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        with self._errors():
            self._db = sqlite3.connect(file, timeout=60, isolation_level=None, check_same_thread=False)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.execute("pragma secure_delete = on")
            self._db.executescript(_TABLES)
            with self._change():
                there = self._db.execute("select width from about").fetchone()
                if there is None:
                    self._db.execute("insert into about values (?)", (width,))
        if there and there[0] != width:
            raise other_width(file, there[0], width)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "no such module" in str(error):
                raise Fixable("this Python's SQLite has no FTS5", "choose another store: lance") from error
            hint = "free some space, or wait for the other command"
            raise Fixable(f"the index cannot be used: {error}", hint, self._file) from error
        except sqlite3.DatabaseError as error:
            hint = "delete this file and build the library again"
            raise Fixable(f"the index cannot be read: {error}", hint, self._file) from error

    @contextmanager
    def _change(self) -> Iterator[None]:
        """All of it or nothing."""
        with self._turn, self._errors():
            self._db.execute("begin immediate")
            try:
                yield
                self._db.execute("commit")
            except BaseException:
                self._db.execute("rollback")
                raise
            finally:
                self._held = None

    def upsert(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """See `Index`."""
        check_vectors(passages, vectors, self._width)
        with self._change():
            for name in {passage.document_id for passage in passages}:
                self._forget(name)
            for passage, vector in zip(passages, vectors.astype("<f4"), strict=True):
                row = (passage.id, passage.document_id, json.dumps(record(passage)))
                added = self._db.execute(
                    "insert into passages (id, document_id, record, vector) values (?, ?, ?, ?)",
                    (*row, vector.tobytes()),
                )
                self._db.execute("insert into words (rowid, terms) values (?, ?)", (added.lastrowid, _words(passage)))

    def delete_document(self, document_id: str) -> None:
        """See `Index`."""
        with self._change():
            self._forget(document_id)

    def _forget(self, document_id: str) -> None:
        rows = self._db.execute("select row, record from passages where document_id = ?", (document_id,)).fetchall()
        for row, text in rows:  # the word index keeps no text: to forget a row it is told the row's words again
            words = _words(from_record(json.loads(text)))
            self._db.execute("insert into words (words, rowid, terms) values ('delete', ?, ?)", (row, words))
        self._db.execute("delete from passages where document_id = ?", (document_id,))

    def optimise(self) -> None:
        """See `Index`; joins the word index into one piece."""
        with self._change():
            self._db.execute("insert into words (words) values ('optimize')")

    def purge(self) -> None:
        """See `Index`."""
        self.optimise()  # the word index keeps words of deleted rows until its pieces are joined
        with self._turn, self._errors():
            wipe(self._db)

    def dense(self, vector: Vectors, k: int, within: Within | None = None) -> list[Scored]:
        """See `Index`."""
        ids, documents, vectors = self._vectors()
        return nearest(vectors @ vector, ids, k, rows_within(documents, within))

    def _vectors(self) -> tuple[list[str], list[str], Vectors]:
        with self._turn, self._errors():
            (version,) = self._db.execute("pragma data_version").fetchone()  # moves when another connection wrote
            if self._held is None or self._held[0] != version:
                ids, documents = list[str](), list[str]()
                vectors = np.zeros((self.count(), self._width), np.float32)
                rows = self._db.execute("select id, document_id, vector from passages order by row")
                for row, (name, document, blob) in enumerate(rows):
                    ids.append(name)
                    documents.append(document)
                    vectors[row] = np.frombuffer(blob, "<f4")
                self._held = version, ids, documents, vectors
            return self._held[1:]

    def words(self, text: str, k: int, within: Within | None = None) -> list[Scored]:
        """See `Index`."""
        query = " OR ".join(f'"{term}"' for term in dict.fromkeys(asked(text)))
        best, given = "select rowid, rank from words where words match ? order by rank limit ?", list[str]()
        if within is not None:
            inside = f"document_id {'not ' * within.but}in (select value from json_each(?))"
            rows = "select words.rowid, rank from words join passages on row = words.rowid"
            best, given = f"{rows} where words match ? and {inside} order by rank limit ?", [json.dumps([*within.ids])]
        named = f"select id, -rank from ({best}) join passages on row = rowid"

        def fetch(limit: int) -> list[Scored]:
            with self._turn, self._errors():
                return self._db.execute(named, (query, *given, limit)).fetchall()

        return untied(fetch, k) if query else []

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """See `Index`."""
        found: dict[str, str] = {}
        for start in range(0, len(ids), _LOOKED_UP):
            some = ids[start : start + _LOOKED_UP]
            with self._turn, self._errors():
                marks = ",".join("?" * len(some))
                found |= self._db.execute(f"select id, record from passages where id in ({marks})", some).fetchall()
        return [from_record(json.loads(found[name])) for name in ids if name in found]

    def count(self) -> int:
        """See `Index`."""
        with self._turn, self._errors():
            return int(self._db.execute("select count(*) from passages").fetchone()[0])

    def remove(self) -> None:
        """See `Index`."""
        with self._turn:
            self._db.close()
        shutil.rmtree(self._file.parent)

    def export(self) -> Iterator[tuple[list[Passage], Vectors]]:
        """See `Index`."""
        ids, _, vectors = self._vectors()
        row = {name: place for place, name in enumerate(ids)}
        with self._turn, self._errors():
            records = self._db.execute("select record from passages order by document_id, id").fetchall()
        for batch in in_batches(from_record(json.loads(text)) for (text,) in records):
            yield batch, vectors[[row[p.id] for p in batch]]


def _words(passage: Passage) -> str:
    return " ".join(terms(passage.searchable))
