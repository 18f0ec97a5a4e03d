"""The server's records: many writers at once, a damaged file, one of a newer version, kills, a backup."""

from __future__ import annotations

import os
import random
import shlex
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from shuyuan.base.errors import Fixable
from shuyuan.serve.state import VERSION, State

REPOSITORY = Path(__file__).resolve().parent.parent

TELLING = """
import sys
from pathlib import Path
from shuyuan.serve.state import State
state = State(Path(sys.argv[1]))
for number in range(100_000):
    with state.change() as db:
        db.execute("insert into files values (?, 'w', '山🎓', 'fine-tune', 1, 1)", (f"{sys.argv[2]}-{number}",))
    print(number, flush=True)
"""


def test_many_writers_lose_and_double_nothing(tmp_path: Path) -> None:
    State(tmp_path)
    script = """
import sys; from pathlib import Path; from shuyuan.serve.state import VERSION, State
state, me = State(Path(sys.argv[1])), int(sys.argv[2])
for turn in range(100):
    with state.change() as db:
        rows = [(f'{me}-{turn}-{n}', 'school', '书 😀', 'fine-tune', n, 1) for n in range(10)]
        db.executemany('insert into files values (?, ?, ?, ?, ?, ?)', rows)
        db.execute("insert into users values ('all', 0, 1) on conflict do update set created = created + 1")
"""
    words = [sys.executable, "-c", script, str(tmp_path)]
    writers = [subprocess.Popen([*words, str(me)], stderr=subprocess.PIPE, text=True) for me in range(8)]
    assert [writer.communicate()[1] for writer in writers] == [""] * 8
    state = State(tmp_path)
    assert state.row("select count(*) as rows, count(distinct id) as ids from files") == {"rows": 8000, "ids": 8000}
    assert state.row("select created from users") == {"created": 800}, "each saw what the one before it had written"
    assert state.row("pragma integrity_check") == {"integrity_check": "ok"}


def test_killed_in_the_middle_of_a_migration_it_is_old_or_new(tmp_path: Path) -> None:
    """The process is killed before its first statement, before its second, and so on, to the end."""
    script = """
import os, signal, sqlite3, sys; from pathlib import Path; from shuyuan.serve.state import VERSION, State
left, connect = int(sys.argv[2]), sqlite3.connect
def count(statement):
    global left
    left -= 1
    if left < 0: os.kill(os.getpid(), signal.SIGKILL)
def counted(*given, **more):
    db = connect(*given, **more)
    db.set_trace_callback(count)
    return db
sqlite3.connect = counted
State(Path(sys.argv[1]))
"""
    made = State(tmp_path / "new")
    wanted = {row["name"] for row in made.rows("select name from sqlite_master")}
    later = {"in_groups", "webhooks", "deliveries"}
    seen = set[int]()
    for statement in range(100):
        folder = tmp_path / str(statement)
        old = State(folder)
        with old.change() as db:
            db.execute("insert into users values ('书', 0, 1)")
            for table in later:
                db.execute(f"drop table {table}")
            db.execute("pragma user_version = 1")
        ended = subprocess.run([sys.executable, "-c", script, str(folder), str(statement)], check=False).returncode
        with sqlite3.connect(folder / "serve.sqlite") as db:
            (version,) = db.execute("pragma user_version").fetchone()
            there = {name for (name,) in db.execute("select name from sqlite_master")}
        db.close()
        seen.add(version)
        gone = {name for name in wanted if name in later or any(f"_{table}_" in name for table in later)}
        assert there == (wanted - gone if version == 1 else wanted), (statement, version)
        again = State(folder)
        assert again.rows("select name from users") == [{"name": "书"}]
        assert again.rows("select * from deliveries") == []
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
    assert seen == {1, VERSION}
    assert statement > 5, "it was killed at every statement"


@pytest.mark.parametrize("page", ["docs/serve.md", "docs/zh/serve.md"])
def test_a_backup_made_while_writing_is_whole(tmp_path: Path, page: str) -> None:
    """By the very command of the documentation: all that was acknowledged before it, and no half of a change."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    (command,) = (line for line in text.splitlines() if "vacuum into" in line)
    words = [sys.executable, *shlex.split(command)[1:]]
    state = State(tmp_path / ".serve")
    script = """
import sys; from pathlib import Path; from shuyuan.serve.state import State
state, me = State(Path(sys.argv[1])), sys.argv[2]
for turn in range(10**6):
    with state.change() as db:
        for n in range(10):
            row = (f'{me}-{turn}-{n}', '书', '名' * 500, 'fine-tune', turn, 1)
            db.execute('insert into files values (?, ?, ?, ?, ?, ?)', row)
"""
    run = [sys.executable, "-c", script, str(tmp_path / ".serve")]
    writers = [subprocess.Popen([*run, me]) for me in ("a", "b")]
    try:
        for copy in range(3):
            before = 0
            while before < 200 * (copy + 1):
                before = int((state.row("select count(*) as rows from files") or {})["rows"])
            subprocess.run([*words[:-1], f"{copy}.copy"], cwd=tmp_path, check=True, timeout=60)
            (tmp_path / str(copy)).mkdir()
            (tmp_path / f"{copy}.copy").rename(tmp_path / str(copy) / "serve.sqlite")
            kept = State(tmp_path / str(copy))
            assert kept.row("pragma integrity_check") == {"integrity_check": "ok"}
            assert kept.row("pragma user_version") == {"user_version": VERSION}
            turns = kept.rows("select substr(id, 1, 1) as me, bytes, count(*) as rows from files group by 1, 2")
            assert {turn["rows"] for turn in turns} == {10}
            assert 10 * len(turns) >= before
            for me in ("a", "b"):
                assert sorted(t["bytes"] for t in turns if t["me"] == me) == list(
                    range(sum(t["me"] == me for t in turns))
                )
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


def test_what_was_acknowledged_outlasts_a_kill(tmp_path: Path) -> None:
    draw, told = random.Random(3), {}
    for turn in range(3):
        command = [sys.executable, "-c", TELLING, str(tmp_path), str(turn)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            for line in writer.stdout:
                told[turn] = int(line)
                if draw.random() < 0.02:
                    writer.send_signal(signal.SIGKILL)
                    break
            told[turn] = max([told[turn], *map(int, writer.stdout.read().split())])  # what it said before it died
    state = State(tmp_path)
    kept = {row["id"] for row in state.rows("select id from files")}
    assert {f"{turn}-{number}" for turn, last in told.items() for number in range(last + 1)} <= kept
    assert state.row("pragma integrity_check") == {"integrity_check": "ok"}


def test_a_damaged_file_is_named_and_never_replaced(tmp_path: Path) -> None:
    State(tmp_path)
    file = tmp_path / "serve.sqlite"
    for aside in tmp_path.glob("serve.sqlite-*"):
        aside.unlink()
    damaged = b"not a database " + os.urandom(4096)
    file.write_bytes(damaged)
    with pytest.raises(Fixable, match="cannot be used") as wrong:
        State(tmp_path)
    assert "backup" in wrong.value.hint
    assert wrong.value.place == str(file)
    assert file.read_bytes() == damaged


def test_records_of_a_newer_version_are_refused_untouched(tmp_path: Path) -> None:
    State(tmp_path)
    with sqlite3.connect(tmp_path / "serve.sqlite") as db:
        db.execute(f"pragma user_version = {VERSION + 1}")
    with pytest.raises(Fixable, match="newer Shuyuan"):
        State(tmp_path)
    with sqlite3.connect(tmp_path / "serve.sqlite") as db:
        assert db.execute("pragma user_version").fetchone() == (VERSION + 1,)
