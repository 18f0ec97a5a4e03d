"""The server's records: many writers at once, a damaged file, one of a newer version, a kill in the middle."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shuyuan.base.errors import Fixable
from shuyuan.serve.state import VERSION, State

WRITERS, EACH = 8, 60

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


def test_many_writers_wait_for_one_another_and_lose_nothing(tmp_path: Path) -> None:
    state = State(tmp_path)

    def write(writer: int) -> None:
        for number in range(EACH):
            with state.change() as db:
                db.execute("insert into webhooks values (?, ?)", (f"{writer} {number}", 1.0))

    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(write, range(WRITERS)))
    assert state.row("select count(*) as all_of_them from webhooks") == {"all_of_them": WRITERS * EACH}
    assert state.row("pragma integrity_check") == {"integrity_check": "ok"}


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
