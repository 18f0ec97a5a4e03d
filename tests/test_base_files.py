"""Files survive kills, full disks and hostile names; two processes do not share a lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuyuan.base.errors import Fixable, disk_errors, near_miss
from shuyuan.base.files import (
    append_jsonl,
    fingerprint,
    inside,
    locked,
    read_json,
    read_jsonl,
    whole_folder,
    write_json,
    write_whole,
)

HEAD = """
import resource, sys, time
from pathlib import Path
from shuyuan.base.errors import Fixable
from shuyuan.base.files import *
from shuyuan.base.material import *
path = Path(sys.argv[1])
"""


def child(script: str, *words: object) -> subprocess.Popen[str]:
    """Another real process that runs `script` with `path` as its first word."""
    line = [sys.executable, "-c", HEAD + script, *map(str, words)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill_when_started(process: subprocess.Popen[str], seconds: float) -> None:
    """Wait until the child says that it has begun, then kill -9 it a little later."""
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("later", [0.0, 0.013, 0.05])
def test_killed_writer_leaves_old_or_new(tmp_path: Path, later: float) -> None:
    path = tmp_path / "a.txt"
    script = "print('begun', flush=True)\nfor i in range(10**6): write_whole(path, str(i % 10) * 200_000)"
    kill_when_started(child(script, path), later)
    if path.exists():
        text = path.read_text()
        assert len(text) == 200_000
        assert len(set(text)) == 1


def test_killed_folder_is_whole_or_absent(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    script = """
print('begun', flush=True)
while True:
    with whole_folder(path) as aside:
        for i in range(5): (aside / str(i)).write_text('x' * 50_000)
"""
    for later in (0.0, 0.02, 0.05):
        kill_when_started(child(script, folder), later)
        if folder.exists():
            assert sorted(p.name for p in folder.iterdir()) == list("01234")
            assert {p.stat().st_size for p in folder.iterdir()} == {50_000}


def test_folder_of_a_failed_block_is_not_there(tmp_path: Path) -> None:
    def half() -> None:
        with whole_folder(tmp_path / "model") as aside:
            (aside / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert list(tmp_path.iterdir()) == []


def test_full_disk_keeps_the_old_file_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    script = """
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for write in (lambda: write_whole(path, 'x' * 100_000), lambda: append_jsonl(path.parent / 'log', ['x' * 100_000])):
    try: write()
    except Fixable as error: print(error.what, '|', error.hint)
"""
    said, _ = child(script, path).communicate()
    assert said.count("the disk is full") == 2
    assert "free some space" in said
    assert path.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "log"]
    assert read_jsonl(tmp_path / "log") == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_no_space_left_is_fixable() -> None:
    path = Path("/dev/full")
    with pytest.raises(Fixable, match="disk is full"), disk_errors(path), path.open("w") as out:
        out.write("x" * 100_000)


def test_unwritable_folder_is_fixable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a", tmp_path / ("书" * 200)):
        with pytest.raises(Fixable, match="cannot be written"):
            write_whole(path, "x")
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(Fixable, match="cannot be written"):
            write_whole(tmp_path / "a", "x")
        tmp_path.chmod(0o700)


OUTSIDE = ["..", "../x", "a/../../x", "/etc/passwd", "a\x00b", "..\\x", "C:\\x", "a/b/../../../x", "link/x", "./../x"]


@pytest.mark.parametrize("name", OUTSIDE, ids=repr)
def test_inside_refuses(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(Fixable, match="not a name inside"):
        inside(root, name)


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_inside_is_inside_or_refuses(name: str) -> None:
    root = Path("/nowhere/root")
    try:
        assert inside(root, name).is_relative_to(root)
    except Fixable:
        assert set(name) & set("./\\")


@pytest.mark.parametrize("name", ["lora", "lora+retrieve", "中文 文档.md", "a/b.md", "…", "a..b", "🙂"])
def test_inside_allows(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name) == tmp_path.resolve() / name


def test_lock_names_its_holder_and_is_freed_by_a_kill(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    script = "with locked(path, 'teaching lora'): print('begun', flush=True); time.sleep(60)"
    holder = child(script, lock)
    assert holder.stdout
    assert holder.stdout.readline() == "begun\n"
    with pytest.raises(Fixable) as refused, locked(lock, "teaching full"):
        pass
    assert f"'teaching lora' (process {holder.pid})" in refused.value.what
    holder.kill()
    holder.communicate()
    with locked(lock, "teaching full"):
        assert "teaching full" in lock.read_text()
    assert lock.read_text() == ""


def test_json_and_logs(tmp_path: Path) -> None:
    value = {"名": ["书院", 1.5, None, "🙂"]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert "书院" in (tmp_path / "a.json").read_text(encoding="utf-8")
    (tmp_path / "bad.json").write_text('{"a": 1,\n "b": }')
    with pytest.raises(Fixable) as broken:
        read_json(tmp_path / "bad.json")
    assert broken.value.place == f"{tmp_path / 'bad.json'}:2"
    log = tmp_path / "log.jsonl"
    assert read_jsonl(log) == []
    append_jsonl(log, [{"step": 1}, {"step": 2, "名": "a\nb"}])
    with log.open("a") as out:
        out.write('{"step": 3, "lo')  # cut by a crash
    assert read_jsonl(log) == [{"step": 1}, {"step": 2, "名": "a\nb"}]


def test_fingerprint() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint("a", "b") != fingerprint("ab")
    assert fingerprint(1) != fingerprint("1")
    assert len(fingerprint("书院")) == 16


def test_near_miss() -> None:
    assert near_miss("lorra", ["lora", "full"]) == "did you mean lora?"
    assert near_miss("LORA", ["lora", "full"]) == "did you mean lora?"
    assert near_miss("zzz", ["lora", "full"]) == "there are: lora, full"
    assert near_miss("zzz", []) == "there are: none"
    assert str(Fixable("what", "do", "f:3")) == "f:3: what\nhint: do"
    assert str(Fixable("what")) == "what"
