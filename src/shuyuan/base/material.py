"""A workspace's material in SQLite: files seen, documents, passages, examples and questions."""

from __future__ import annotations

import hashlib
import itertools
import json
import sqlite3
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from shuyuan.base.asked import AskedQuestions
from shuyuan.base.errors import Fixable, disk_errors
from shuyuan.base.lazy import Lazy
from shuyuan.base.marks import Mark, joined, read_marks
from shuyuan.base.records import Document, Example, Lessons, Passage, Question
from shuyuan.base.tables import make_tables
from shuyuan.base.wiping import wipe

T = TypeVar("T")
_AT_ONCE = 500  # records that are read at once


@dataclass(frozen=True, slots=True)
class File:
    """A file that was added: what it was when it was last read, and why it could not be read (`fault`), if so."""

    source: str
    sha256: str
    bytes: int
    modified: float
    fault: str = ""


class Material:
    """The records of one workspace. Every change is one transaction that outlasts kill -9 and a power cut.

    Another writer is waited for `wait_seconds`.
    """

    def __init__(self, path: Path, wait_seconds: float = 30) -> None:
        self._path = path
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = sqlite3.connect(path, timeout=wait_seconds, isolation_level=None)
                self._db.execute("pragma journal_mode = wal")
                self._db.execute("pragma synchronous = full")
                self._db.execute("pragma foreign_keys = on")
                self._db.execute("pragma secure_delete = on")  # what is removed is overwritten
                make_tables(self._db, path, partial(self._change, counted=False))
            except sqlite3.DatabaseError as error:
                raise _explained(error, path) from error

    @contextmanager
    def _change(self, counted: bool = True) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("begin immediate")
            yield self._db
            if counted:
                self._db.execute("update changes set number = number + 1")
            self._db.execute("commit")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("rollback")
            if isinstance(error, sqlite3.DatabaseError):
                raise _explained(error, self._path) from error
            raise

    def close(self) -> None:
        """Close the database; the object cannot be used afterwards."""
        self._db.close()

    def changes(self) -> int:
        """How often anything was changed that could be learned or looked up."""
        (number,) = self._db.execute("select number from changes").fetchone()
        return int(number)

    # files and documents

    def files(self) -> dict[str, File]:
        """Every file that was added, by source."""
        rows = self._db.execute("select source, sha256, bytes, modified, fault from files order by source")
        return {row[0]: File(*row) for row in rows}

    def file_rows(
        self,
        after: str = "",
        most: int = 1000,
        find: str = "",
        shown: Callable[[str], bool] = bool,
        sources: Sequence[str] = (),
    ) -> list[dict[str, Any]]:
        """Files with a summary of their documents, by source: those after `after` whose source holds `find`.

        Only those whose source is `shown`, and of these `sources` alone, if any are given.
        """
        rows = self._db.execute(
            "select files.source, bytes, modified, fault, coalesce(json_extract(record, '$.title'), '') as title, "
            "coalesce(json_extract(record, '$.language'), '') as language, "
            "coalesce(length(json_extract(record, '$.text')), 0) as characters, "
            "coalesce(json_array_length(record, '$.pages'), 0) as pages, "
            "(select count(*) from passages where document_id = documents.id) as passages "
            "from files left join documents on documents.source = files.source "
            "where files.source > ? and instr(files.source, ?) "
            "and (? = 0 or files.source in (select value from json_each(?))) order by files.source",
            (after, find, len(sources), json.dumps(sources)),
        )
        names = [column[0] for column in rows.description]
        wanted = (dict(zip(names, row, strict=True)) for row in rows if shown(row[0]))
        return list(itertools.islice(wanted, most))

    def put_document(self, file: File, document: Document | None, passages: Sequence[Passage] = ()) -> None:
        """Replace what is known of one file, in one step. No document: the file could not be read.

        A document whose text is the old one is the old one, cut anew: answers that cite it stay.
        """
        with self._change() as db:
            there = self.document(file.source)
            if document is None or there is None or (there.id, there.text) != (document.id, document.text):
                db.execute("delete from files where source = ?", (file.source,))
            db.execute(
                "insert into files values (?, ?, ?, ?, ?) on conflict (source) do update set sha256 = excluded.sha256, "
                "bytes = excluded.bytes, modified = excluded.modified, fault = excluded.fault",
                (file.source, file.sha256, file.bytes, file.modified, file.fault),
            )
            if document is None:
                return
            row = (document.id, document.source, _json(document))
            updated = "on conflict (id) do update set record = excluded.record"
            db.execute(f"insert into documents values (?, ?, ?) {updated}", row)
            db.execute("delete from passages where document_id = ?", (document.id,))
            db.executemany(
                "insert into passages values (?, ?, ?, ?)",
                ((p.id, p.document_id, position, _json(p)) for position, p in enumerate(passages)),
            )

    def touch_file(self, source: str, modified: float) -> None:
        """Note that a file's time changed while its content did not."""
        with self._change() as db:
            db.execute("update files set modified = ? where source = ?", (modified, source))

    def remove_files(self, sources: Iterable[str]) -> None:
        """Forget files with their documents and passages."""
        with self._change() as db:
            db.executemany("delete from files where source = ?", ((source,) for source in sources))

    def purge(self) -> None:
        """Leave no byte in the file of what was removed. Takes as long as copying the file."""
        with disk_errors(self._path):
            try:
                wipe(self._db)
            except sqlite3.DatabaseError as error:
                raise _explained(error, self._path) from error

    def documents(self, *, hidden: bool = True) -> tuple[Document, ...]:
        """All documents, ordered by source; without those of a group, if not `hidden`."""
        left_out = "" if hidden else "where source not in (select value from json_each(?)) "
        given = () if hidden else (json.dumps(self.hidden()),)
        rows = self._db.execute(f"select record from documents {left_out}order by source", given)
        return tuple(Document.of(json.loads(row[0])) for row in rows)

    def document(self, source: str) -> Document | None:
        """The document read from one source."""
        row = self._db.execute("select record from documents where source = ?", (source,)).fetchone()
        return Document.of(json.loads(row[0])) if row else None

    def document_ids(self, sources: Iterable[str]) -> tuple[str, ...]:
        """The ids of the documents that were read from these sources."""
        query = "select id from documents where source in (select value from json_each(?)) order by source"
        return tuple(row[0] for row in self._db.execute(query, (json.dumps(list(sources)),)))

    def passages(self, ids: Sequence[str] = ()) -> tuple[Passage, ...]:
        """All passages, or those of the ids that are there; ordered by source and position."""
        chosen = f"where passages.id in ({', '.join('?' * len(ids))}) " if ids else ""
        rows = self._db.execute(
            "select passages.record from passages join documents on documents.id = document_id "
            f"{chosen}order by documents.source, position",
            tuple(ids),
        )
        return tuple(Passage.of(json.loads(row[0])) for row in rows)

    # what was asked

    @cached_property
    def asked(self) -> AskedQuestions:
        """The questions that were asked here."""
        return AskedQuestions(self._db, partial(self._change, counted=False), self.document)

    # marks

    def marks(self) -> dict[str, Mark]:
        """What was said about documents and folders, as it was said."""
        return read_marks(self._db)

    def put_mark(self, source: str, mark: Mark) -> None:
        """Mark a document, or all that lies in a folder now and later; an empty mark is none."""
        with self._change() as db:
            db.execute("delete from marks where source = ?", (source,))
            if mark != Mark():
                row = (source, int(mark.pinned), json.dumps(mark.tags, ensure_ascii=False), mark.group)
                db.execute("insert into marks values (?, ?, ?, ?)", row)
            if mark.group:  # questions that were answered from what is now of a group go
                gone = "delete from asked where id in (select asked from asked_sources where source = ?)"
                db.executemany(gone, ((hidden,) for hidden in self.hidden()))

    def hidden(self) -> list[str]:
        """The sources of the documents that are of a group: not everyone may see them, so nothing learns from them."""
        marks = self.marks()
        if not any(mark.group for mark in marks.values()):
            return []
        sources = self._db.execute("select source from documents order by source").fetchall()
        return [source for (source,) in sources if joined(marks, source).group]

    # examples and questions

    def put_questions(self, origin: str, examples: Sequence[Example], questions: Sequence[Question]) -> None:
        """Replace the examples and questions that came from one file (`origin`), in one step."""
        with self._change() as db:
            db.execute("delete from examples where origin = ?", (origin,))
            db.execute("delete from questions where origin = ?", (origin,))
            db.executemany(
                "insert or replace into examples values (?, ?, ?)", ((e.id, origin, _json(e)) for e in examples)
            )
            db.executemany(
                "insert or replace into questions values (?, ?, ?)", ((q.id, origin, _json(q)) for q in questions)
            )

    def put_data(
        self, files: Iterable[tuple[str, Iterable[Example | tuple[Document, Sequence[Passage]]]]]
    ) -> dict[str, Counter[str]]:
        """Replace what came from data files, (origin, records) each, all in one step; returns why some were dropped.

        The records may be more than memory holds. An example or a text that is there already is dropped.
        """
        dropped: dict[str, Counter[str]] = {}
        with self._change() as db:
            for origin, records in files:
                db.execute("delete from examples where origin = ?", (origin,))
                db.execute("delete from files where source >= ? and source < ?", (f"{origin}:", f"{origin};"))
                there = (self._put_record(db, origin, record) for record in records)
                dropped[origin] = Counter(why for why in there if why)
        return dropped

    def _put_record(
        self, db: sqlite3.Connection, origin: str, record: Example | tuple[Document, Sequence[Passage]]
    ) -> str:
        """Why a record is not kept, or nothing when it is."""
        if isinstance(record, Example):
            row = (record.id, origin, _json(record))
            if db.execute("insert or ignore into examples values (?, ?, ?)", row).rowcount:
                return ""
            asked, given = "select origin = ? from examples where id = ?", (origin, record.id)
        else:
            asked, given = "select instr(source, ?) = 1 from documents where id = ?", (f"{origin}:", record[0].id)
        found = db.execute(asked, given).fetchone()
        if found is None and not isinstance(record, Example):
            self._insert_text(db, *record)
        return "" if found is None else "duplicate" if found[0] else "in another file"

    def _insert_text(self, db: sqlite3.Connection, text: Document, passages: Sequence[Passage]) -> None:
        db.execute("insert into files values (?, ?, ?, 0, '')", (text.source, text.sha256, len(text.text.encode())))
        db.execute("insert into documents values (?, ?, ?)", (text.id, text.source, _json(text)))
        db.executemany(
            "insert into passages values (?, ?, ?, ?)",
            ((p.id, p.document_id, position, _json(p)) for position, p in enumerate(passages)),
        )

    def examples(self, origin: str = "") -> Stored[Example]:
        """The examples to learn from, in the order they were added: all, or those of one file."""
        chosen, given = ("where origin = ?", (origin,)) if origin else ("", ())
        return Stored(self._db, "examples", Example.of, f"{chosen} order by rowid", given)

    def origins(self) -> dict[str, int]:
        """How many examples came from each file."""
        rows = self._db.execute("select origin, count(*) from examples group by origin order by min(rowid)")
        return dict(rows.fetchall())

    def languages(self) -> dict[str, int]:
        """How many documents there are in each language."""
        rows = self._db.execute("select json_extract(record, '$.language'), count(*) from documents group by 1")
        return dict(rows.fetchall())

    def questions(self) -> tuple[Question, ...]:
        """All exam questions, in the order they were added."""
        rows = self._db.execute("select record from questions order by rowid")
        return tuple(_question(json.loads(row[0])) for row in rows)

    def hold_out(self, sources: Iterable[str]) -> None:
        """Keep these documents, and no others, from being learned; they can still be looked up."""
        with self._change() as db:
            db.execute("delete from held_out")
            db.executemany("insert or ignore into held_out values (?)", ((source,) for source in sources))

    def held_out(self) -> tuple[str, ...]:
        """The sources of the documents that nobody may learn from."""
        return tuple(row[0] for row in self._db.execute("select source from held_out order by source"))

    def lessons(self) -> Lessons:
        """What routes may learn from: documents and examples; and what they may look up: passages, of all documents.

        Weights tell everybody what they learned, so documents of a group are looked up only.
        """
        taught = (
            "where source not in (select source from held_out) "
            "and source not in (select value from json_each(?)) order by source"
        )
        documents = Stored(self._db, "documents", Document.of, taught, (json.dumps(self.hidden()),))
        return Lessons(documents, self.passages(), self.examples())

    def counts(self) -> dict[str, int]:
        """How many of each record there are."""
        tables = ("files", "documents", "passages", "examples", "questions")
        return {table: self._db.execute(f"select count(*) from {table}").fetchone()[0] for table in tables}


class Stored(Lazy[T]):
    """Records of one table, read when they are asked for; which they are, and their order, is settled at the start."""

    def __init__(
        self,
        db: sqlite3.Connection,
        table: str,
        make: Callable[[dict[str, Any]], T],
        chosen: str,
        given: tuple[str, ...] = (),
    ) -> None:
        self._db, self._table, self._make = db, table, make
        self._rows = array("q", (row[0] for row in db.execute(f"select rowid from {table} {chosen}", given)))

    def __len__(self) -> int:
        return len(self._rows)

    def _at(self, index: int) -> T:
        (record,) = self._read(self._rows[index : index + 1])
        return record

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self._rows), _AT_ONCE):
            yield from self._read(self._rows[start : start + _AT_ONCE])

    def _read(self, rows: Sequence[int]) -> Iterator[T]:
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(part))
            found = dict(self._db.execute(f"select rowid, record from {self._table} where rowid in ({marks})", part))
            if len(found) < len(part):
                raise Fixable("the material was changed by another command meanwhile", "run this one again")
            yield from (self._make(json.loads(found[row])) for row in part)


def lessons_fingerprint(lessons: Lessons) -> str:
    """Changes when anything a route could learn from changes."""
    content = hashlib.sha256()
    for document in lessons.documents:
        content.update(_line("document", document.source, document.sha256))
    for passage in lessons.passages:
        content.update(_line("passage", passage.id))
    for word, examples in (("example", lessons.examples), ("held out", lessons.held_out)):
        for example in examples:
            content.update(_line(word, example.tools, *example.content))
    return content.hexdigest()[:16]


def _line(*parts: object) -> bytes:
    return json.dumps(parts, ensure_ascii=False).encode() + b"\n"


def _explained(error: sqlite3.DatabaseError, path: Path) -> Fixable:
    if "full" in str(error) or "disk I/O" in str(error):
        return Fixable("the disk is full: nothing was changed", "free some space and run the same command again", path)
    if "locked" in str(error):
        return Fixable("another command is writing to this workspace", "wait until it is finished", path)
    return Fixable(f"the workspace's records cannot be read: {error}", "restore this file from a backup", path)


def _json(record: Document | Passage | Example | Question) -> str:
    return json.dumps(asdict(record), ensure_ascii=False)


def _question(row: dict[str, Any]) -> Question:
    return Question(**{**row, "answers": tuple(row["answers"]), "choices": tuple(row.get("choices", ()))})
