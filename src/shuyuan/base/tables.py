"""The tables of a workspace's material, and what an older workspace gets when it is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from shuyuan.base.asked import TABLES
from shuyuan.base.errors import Fixable
from shuyuan.base.marks import TABLE

# 2: documents and passages have boxes and lines; 3: passages may have a context; 4: examples may have a rejected ending
VERSION = 4  # the tables are those of 1
_SCHEMA = """
create table files (source text primary key, sha256 text not null, bytes integer not null, modified real not null,
    fault text not null default '');
create table documents (id text primary key, source text not null unique references files on delete cascade,
    record text not null);
create table passages (id text primary key, document_id text not null references documents on delete cascade,
    position integer not null, record text not null);
create index passages_by_document on passages (document_id, position);
create table examples (id text primary key, origin text not null, record text not null);
create table questions (id text primary key, origin text not null, record text not null);
"""
_LATER = {  # tables that older workspaces get when they are opened
    "held_out": ("create table if not exists held_out (source text primary key)",),
    "marks": (TABLE,),
    "changes": (
        "create table if not exists changes (id integer primary key, number integer not null)",
        "insert or ignore into changes values (1, 0)",
    ),
    "answers_go_with_documents": TABLES,
}


def make_tables(
    db: sqlite3.Connection, path: Path, change: Callable[[], AbstractContextManager[sqlite3.Connection]]
) -> None:
    """Make the tables that are missing, each time in one `change`. Raises Fixable for a file of a newer Shuyuan."""
    (version,) = db.execute("pragma user_version").fetchone()
    if version > VERSION:
        raise Fixable(
            f"this workspace was written by a newer Shuyuan (material {version}, known {VERSION})",
            "update Shuyuan: pip install --upgrade shuyuan",
            path,
        )
    if 0 < version < VERSION:
        db.execute(f"pragma user_version = {VERSION}")
    if version == 0:
        with change():
            if db.execute("pragma user_version").fetchone() == (0,):  # or another process made it meanwhile
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"pragma user_version = {VERSION}")
    there = {name for (name,) in db.execute("select name from sqlite_master")}
    if missing := [make for name, makes in _LATER.items() if name not in there for make in makes]:
        with change():
            for make in missing:
                db.execute(make)
