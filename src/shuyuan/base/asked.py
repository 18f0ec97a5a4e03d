"""Questions that people really asked a workspace's library: their wordings, how often, and the answer they got.

They lie in `material.sqlite`, so that an answer goes in the very transaction in which a document that it cites goes,
whoever removes it. Who asked is not kept.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Answer, Citation, Document

Keeping = Literal["off", "private", "public"]
State = Literal["answered", "unanswered", "withdrawn"]
Order = Literal["newest", "most"]
KEEPING: tuple[str, ...] = get_args(Keeping)
MOST = 5_000  # wordings; beyond it, those that were asked longest ago go, pages last
TABLES = (
    "create table if not exists asked (id text primary key, answer text, assistant text not null default '', "
    "answered real not null default 0, withdrawn real not null default 0, public integer not null default 0, "
    "title text not null default '')",
    "create table if not exists asked_wordings (key text primary key, "
    "asked text not null references asked on delete cascade, text text not null, times integer not null, "
    "first real not null, last real not null, embedder text not null, vector blob not null)",
    "create index if not exists wordings_by_asked on asked_wordings (asked)",
    "create table if not exists asked_sources (asked text not null references asked on delete cascade, "
    "source text not null, primary key (source, asked)) without rowid",
    "create table if not exists asked_keeping (keeping text not null)",
    "create trigger if not exists answers_go_with_documents after delete on documents begin "
    "update asked set answer = null, public = 0, title = '', withdrawn = cast(strftime('%s', 'now') as real) "
    "where id in (select asked from asked_sources where source = old.source); "
    "delete from asked_sources where asked in (select asked from asked_sources where source = old.source); end",
)
_STATES = {
    "answered": "answer is not null",
    "unanswered": "answer is null and withdrawn = 0",
    "withdrawn": "answer is null and withdrawn > 0",
}
_SHOWN = "id not in (select asked from asked_sources where source in (select value from json_each(?)))"
_ROW = (
    "select id, answer, assistant, answered, withdrawn, public, title, sum(times), min(first), max(last) "
    "from asked join asked_wordings on asked = id"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: its wordings, most asked first; when (seconds since 1970) and how often it was asked.

    `answer` None: the library held none, or it was `withdrawn` because a document that it cites was changed or removed.
    `public`: it is a page, and everybody who may see the workspace may see it, under its `title`, the wording that was
    published; else only who may write there. Other wordings were published by nobody.
    """

    id: str
    wordings: tuple[str, ...]
    times: int
    first: float
    last: float
    answer: Answer | None
    assistant: str
    answered: float
    withdrawn: float
    public: bool
    title: str = ""

    @property
    def text(self) -> str:
        """The wording that was published, or that was asked most often."""
        return self.title or self.wordings[0]

    @property
    def state(self) -> State:
        """Whether there is an answer, and if not, whether there was one."""
        return "answered" if self.answer else "withdrawn" if self.withdrawn else "unanswered"


@dataclass(frozen=True, slots=True)
class Wording:
    """A wording with its place by meaning: `vector` holds float32 numbers, as the embedder of this name made them."""

    asked: str
    text: str
    embedder: str
    vector: bytes


class AskedQuestions:
    """The questions of one workspace, over the material's database: `change` begins one of its transactions."""

    def __init__(
        self,
        db: sqlite3.Connection,
        change: Callable[[], AbstractContextManager[sqlite3.Connection]],
        document: Callable[[str], Document | None],
    ) -> None:
        self._db, self._change, self._document = db, change, document
        db.create_function("plain", 1, lambda text: plain(text or ""), deterministic=True)

    def keeping(self) -> Keeping:
        """What happens to a question: `off`, it is not kept; `private`; `public`: once answered, it is a page."""
        row = self._db.execute("select keeping from asked_keeping").fetchone()
        return row[0] if row else "private"

    def keep(self, keeping: str) -> None:
        """Choose what happens to questions from now on."""
        if keeping not in KEEPING:
            raise Fixable(f"questions cannot be kept '{keeping}'", f"choose one of: {', '.join(KEEPING)}")
        with self._change() as db:
            db.execute("delete from asked_keeping")
            db.execute("insert into asked_keeping values (?)", (keeping,))

    def put(self, wording: Wording, answer: Answer | None, assistant: str, at: float) -> str:
        """Note that a wording was asked, under the question `wording.asked` (empty: a new one); returns its id.

        `answer` None: the library held none, and an answer that is there stays. One that cites what the documents do
        not hold any more is not kept: it was written while one of them went. A page keeps the answer it was published
        with. One transaction.
        """
        said = _cleaned(wording.text)
        with self._change() as db:
            known = db.execute("select asked from asked_wordings where key = ?", (key_of(said),)).fetchone()
            there = known or db.execute("select id from asked where id = ?", (wording.asked,)).fetchone()
            name = there[0] if there else f"q{secrets.token_hex(8)}"
            db.execute("insert or ignore into asked (id) values (?)", (name,))
            row = (key_of(said), name, said, at, at, wording.embedder, wording.vector)
            db.execute(
                "insert into asked_wordings values (?, ?, ?, 1, ?, ?, ?, ?) on conflict (key) do update "
                "set times = times + 1, last = excluded.last, embedder = excluded.embedder, vector = excluded.vector",
                row,
            )
            if answer and not db.execute("select 1 from asked where id = ? and public", (name,)).fetchone():
                stands = all(self._holds(cited) for cited in answer.citations)
                self._answer(db, name, answer if stands else None, assistant, at)
                if stands and self.keeping() == "public":
                    db.execute("update asked set public = 1, title = ? where id = ?", (said, name))
            self._forget_old(db)
        return name

    def _holds(self, cited: Citation) -> bool:
        document = self._document(cited.source)
        return document is not None and document.text.startswith(cited.quote, cited.start)

    def _answer(self, db: sqlite3.Connection, name: str, answer: Answer | None, assistant: str, at: float) -> None:
        if answer is None:
            db.execute("update asked set withdrawn = ? where id = ? and answer is null", (at, name))
            return
        kept = {field: asdict(answer)[field] for field in ("text", "citations", "unsupported")}
        db.execute(
            "update asked set answer = ?, assistant = ?, answered = ?, withdrawn = 0 where id = ?",
            (json.dumps(kept, ensure_ascii=False), assistant, at, name),
        )
        db.execute("delete from asked_sources where asked = ?", (name,))
        sources = {cited.source for cited in answer.citations}
        db.executemany("insert into asked_sources values (?, ?)", ((name, source) for source in sources))

    def _forget_old(self, db: sqlite3.Connection) -> None:
        (count,) = db.execute("select count(*) from asked_wordings").fetchone()
        if count > MOST:
            db.execute(
                "delete from asked where id in (select id from asked join asked_wordings on asked = id "
                "group by id order by public, max(last) limit ?)",
                (count - MOST,),
            )

    def publish(self, name: str, public: bool = True) -> None:
        """Make a page of an answered question for everybody, or take it back; `Fixable` where that cannot be."""
        with self._change() as db:
            one = self.get(name)
            if one.answer is None and public:
                raise Fixable("it has no answer to show", "ask it again first")
            db.execute(
                "update asked set public = ?, title = ? where id = ?", (public, one.text if public else "", name)
            )

    def remove(self, name: str) -> None:
        """Forget a question with its wordings, vectors and answer; `Fixable` when there is none of this id."""
        with self._change() as db:
            if not db.execute("delete from asked where id = ?", (name,)).rowcount:
                raise _missing(name)

    def get(self, name: str) -> Asked:
        """One question; `Fixable` when there is none of this id."""
        row = self._db.execute(f"{_ROW} where id = ? group by id", (name,)).fetchone()
        if row is None:
            raise _missing(name)
        return self._read(row)

    def find(
        self,
        words: str = "",
        order: Order = "newest",
        state: State | None = None,
        *,
        public: bool = False,
        hidden: Sequence[str] = (),
        skip: int = 0,
        most: int = 100,
    ) -> tuple[list[Asked], int]:
        """Questions of which a wording or the answer holds all `words`, in any width and case; and how many there are.

        `public`: pages only, by their titles. None whose answer cites a document that is `hidden`.
        """
        pieces = plain(words).split()
        said = "exists (select 1 from asked_wordings as other where other.asked = id and instr(plain(other.text), ?))"
        said = "instr(plain(title), ?)" if public else said
        held = f"(instr(plain(json_extract(answer, '$.text')), ?) or {said})"
        rules = [*([_STATES[state]] if state else []), *(["public"] if public else []), _SHOWN, *[held] * len(pieces)]
        where = f"where {' and '.join(rules)}"
        given = [json.dumps(list(hidden)), *(piece for piece in pieces for _ in range(2))]
        by = "max(last) desc" if order == "newest" else "sum(times) desc, max(last) desc"
        rows = self._db.execute(f"{_ROW} {where} group by id order by {by}, id limit ? offset ?", (*given, most, skip))
        (count,) = self._db.execute(f"select count(*) from asked {where}", given).fetchone()
        return [self._read(row) for row in rows.fetchall()], count

    def wordings(self, embedder: str, public: bool = False, hidden: Sequence[str] = ()) -> list[Wording]:
        """All wordings that this embedder placed; `public` and `hidden` as in `find`."""
        rows = self._db.execute(
            "select asked_wordings.asked, text, embedder, vector from asked_wordings join asked on id = asked "
            f"where {_SHOWN} and embedder = ? {'and public' if public else ''} order by asked_wordings.rowid",
            (json.dumps(list(hidden)), embedder),
        )
        return [Wording(*row) for row in rows]

    def wording(self, text: str) -> Wording | None:
        """This very wording, if it was asked: width, case, blanks and the sign at its end do not matter."""
        query = "select asked, text, embedder, vector from asked_wordings where key = ?"
        row = self._db.execute(query, (key_of(text),)).fetchone()
        return Wording(*row) if row else None

    def _read(self, row: Sequence[object]) -> Asked:
        name, answer, assistant, answered, withdrawn, public, title, times, first, last = row
        query = "select text from asked_wordings where asked = ? order by times desc, first, key"
        wordings = tuple(text for (text,) in self._db.execute(query, (name,)))
        read = Answer.of(json.loads(str(answer))) if answer else None
        when = (times, first, last)
        return Asked(name, wordings, *when, read, assistant, answered, withdrawn, bool(public), title)  # type: ignore[arg-type]


def plain(text: str) -> str:
    """Text as it is compared: full-width as half-width, capitals as small letters, blanks as one."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def key_of(text: str) -> str:
    """What one wording is known by."""
    said = plain(_cleaned(text))
    return said.rstrip(" ?.!。") or said


def _cleaned(text: str) -> str:
    """Without half characters, which no file can hold."""
    return text.encode(errors="replace").decode().strip()


def _missing(name: str) -> Fixable:
    return Fixable(f"there is no question '{name}'", "list them: shuyuan question list")
