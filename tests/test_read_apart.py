"""Files are read in a confined process: what it may not do, and what happens when a file is too much for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shuyuan.read.apart import Reader, Readers
from shuyuan.read.limits import MEMORY_BYTES

SAMPLES = Path(__file__).parent / "samples"
CONFINED = "import os, sys\nfrom shuyuan.read import limits\nlimits.confine(lambda: None)\n"
CONFINED += "limits.more_time(2)\n"


def confined(code: str) -> subprocess.CompletedProcess[str]:
    """What some code does in a process that has given up its rights."""
    return subprocess.run(
        [sys.executable, "-B", "-c", CONFINED + code], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import socket; socket.socket()",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/')",
        "open('written.txt', 'w')",
        "os.open('written.txt', os.O_CREAT | os.O_WRONLY)",
        "os.system('touch written.txt')",
        "import subprocess; subprocess.run(['true'])",
        "os.execv('/bin/true', ['true'])",
        "import shutil; shutil.rmtree('.')",
        "os.remove('kept.txt')",
    ],
)
def test_reading_may_not_write_start_or_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept.txt").touch()
    done = confined(code)
    assert done.returncode != 0
    assert "Permission" in done.stderr or "not permitted" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has seccomp")
def test_the_kernel_refuses_sockets_and_programs_past_python() -> None:
    code = "import ctypes; c = ctypes.CDLL(None, use_errno=True)\n"
    code += "print(c.socket(2, 1, 0), ctypes.get_errno(), c.execv(b'/bin/true', (ctypes.c_char_p * 2)(b'true', None)))"
    assert confined(code).stdout.split() == ["-1", "1", "-1"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS does not enforce the limit on memory")
def test_memory_and_processor_time_end() -> None:
    assert "MemoryError" in confined(f"bytearray({MEMORY_BYTES})").stderr
    assert confined("while True: pass").returncode == -signal.SIGXCPU


def test_a_process_that_says_nothing_or_dies_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "好.md"
    file.write_text("# 书\n\n读书。", "utf-8")
    reader = Reader(silent_seconds=60)
    try:
        (part,) = reader.read(file, "好.md")
        assert part.document
        assert part.document.title == "书"
        assert reader._process
        first = reader._process.pid
        reader._silent_seconds = 0.5
        os.kill(first, signal.SIGSTOP)
        (part,) = reader.read(file, "好.md")
        assert part.fault.startswith(f"{file}: refused: reading it takes more than")
        reader._silent_seconds = 60
        (part,) = reader.read(file, "好.md")
        assert part.document
        assert reader._process.pid != first
        os.kill(reader._process.pid, signal.SIGKILL)
        reader._process.wait()
        (part,) = reader.read(file, "好.md")
        assert part.document
    finally:
        reader.close()


def test_results_come_in_order_from_several_readers(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.md").write_text(f"# {number}\n\n" + "话。" * (200 if number % 7 else 20_000), "utf-8")
    files = [(path.name, path, path.name) for path in sorted(tmp_path.iterdir())]
    with Readers(2) as readers:
        read = [(tag, part.document.title) for tag, (part,) in readers.read(files) if part.document]
    assert read == [(f"{number:02}.md", str(number)) for number in range(40)]


def test_closing_early_ends_the_processes(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.md").write_text("# a\n\nb")
    files = [(path.name, path, path.name) for path in sorted(tmp_path.iterdir())]
    with Readers(1) as readers:
        results = readers.read(files)
        next(results)
        process = readers._all[0]._process
        results.close()
    assert process
    assert process.poll() is not None
