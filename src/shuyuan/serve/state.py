"""What the server must not lose, in SQLite: users, keys, members, files, jobs, events, webhooks, the audit log."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable, disk_errors

STATE = ".serve"  # the folder beside or in the workspaces
VERSION = 3  # 2: who is in which group; 3: webhooks
_SCHEMA = """
create table users (name text primary key, admin integer not null, created integer not null);
create table keys (id text primary key, user text not null references users on delete cascade,
    hash text not null unique, scopes text not null, created integer not null);
create table members (workspace text not null, user text not null references users on delete cascade,
    role text not null, primary key (workspace, user));
create table files (id text primary key, workspace text not null, name text not null, purpose text not null,
    bytes integer not null, created integer not null);
create table models (id text primary key, workspace text not null, run text not null, created integer not null);
create table jobs (id text primary key, workspace text not null, kind text not null, title text not null,
    given text not null, user text not null, status text not null, created real not null, started real, finished real,
    attempts integer not null default 0, token text not null default '', lease real not null default 0,
    pid integer not null default 0, wanted text not null default '', progress integer not null default 0,
    result text, error text);
create index jobs_by_status on jobs (status, created);
create table events (number integer primary key autoincrement, job text not null references jobs on delete cascade,
    created integer not null, level text not null, message text not null, data text);
create index events_by_job on events (job, number);
create table in_groups (workspace text not null, of_group text not null,
    user text not null references users on delete cascade, primary key (workspace, of_group, user));
create table audit (number integer primary key autoincrement, at real not null, user text not null, key text not null,
    workspace text not null, method text not null, route text not null, status integer not null);
create table webhooks (url text primary key, since real not null);
create table deliveries (job text not null references jobs on delete cascade, finished real not null,
    url text not null, attempts integer not null, due real not null, primary key (job, finished, url))
"""


class State:
    """One database, from any thread and process. An acknowledged change outlasts kill -9 and a power cut."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "serve.sqlite"
        self._local = threading.local()
        with disk_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self.change() as db:
                (version,) = db.execute("pragma user_version").fetchone()
                if version > VERSION:
                    raise Fixable(
                        f"the server's records were written by a newer Shuyuan ({version}, known {VERSION})",
                        "update Shuyuan: pip install --upgrade shuyuan",
                        self.path,
                    )
                there = {row["name"] for row in db.execute("select name from sqlite_master")}
                if version < VERSION:
                    for statement in _SCHEMA.split(";"):
                        if statement.split()[2] not in there:
                            db.execute(statement)
                    db.execute(f"pragma user_version = {VERSION}")
        self.path.chmod(0o600)

    def _connection(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            try:
                db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
                db.row_factory = sqlite3.Row
                for setting in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
                    db.execute(f"pragma {setting}")
            except sqlite3.DatabaseError as error:
                raise self._explained(error) from error
            self._local.db = db
        return db

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, begun as a writer; it is on the disk when the block has ended."""
        db = self._connection()
        try:
            db.execute("begin immediate")
            yield db
            db.execute("commit")
        except BaseException as error:
            if db.in_transaction:
                db.execute("rollback")
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.IntegrityError):
                raise self._explained(error) from error
            raise

    def rows(self, query: str, given: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """All rows of a query."""
        try:
            return [dict(row) for row in self._connection().execute(query, given)]
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error

    def row(self, query: str, given: Sequence[Any] = ()) -> dict[str, Any] | None:
        """The first row of a query, or None."""
        try:
            found = self._connection().execute(query, given).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error
        return dict(found) if found else None

    def _explained(self, error: sqlite3.DatabaseError) -> Fixable:
        if "full" in str(error):
            return Fixable("the disk is full: nothing was changed", "free some space and try again", self.path)
        return Fixable(f"the server's records cannot be used: {error}", "restore this file from a backup", self.path)
