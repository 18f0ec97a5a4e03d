"""Talking in the terminal: real commands on a tiny real model, piped and on a real terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SHUYUAN
from tiny import tiny_embedder, tiny_folder

from shuyuan.base.records import Answer, Citation
from shuyuan.base.workspace import Workspace
from shuyuan.cli.main import main
from shuyuan.cli.shown import marked


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which `prompt` and `retrieve` are taught, on a tiny model and a tiny embedder."""
    at = tmp_path_factory.mktemp("chat")
    model, embedder = tiny_folder(at / "model"), tiny_embedder(at / "embedder")
    (at / "book.md").write_text("# Library\n\nThe library opens at nine.\n\n山长正月初八上任。\n", encoding="utf-8")
    folder = str(at / "school")
    assert main(["new", folder, "--model", str(model), "--embedder", str(embedder)]) == 0
    assert main(["add", str(at / "book.md"), "-w", folder]) == 0
    assert main(["teach", "prompt", "-w", folder]) == 0
    assert main(["teach", "retrieve", "-w", folder]) == 0
    return at / "school"


def talk(
    school: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    lines: str,
    *flags: str,
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    capsys.readouterr()
    code = main(["chat", "-w", str(school), *flags])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_questions_are_answered_until_the_input_ends(
    school: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = talk(school, capsys, monkeypatch, "When does it open?\n\n山长😀何时上任？\n", "--with", "prompt")
    assert code == 0
    assert err.count("— prompt · ") == 2


def test_what_a_library_is_asked_is_kept(
    school: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Workspace.open(school).material.asked
    question = "山长什么时候上任？🎓"
    talk(school, capsys, monkeypatch, f"{question}\n", "--with", "prompt")
    assert asked.wording(question) is None, "nobody looked anything up"
    talk(school, capsys, monkeypatch, f"{question}\n", "--with", "retrieve")
    assert main(["ask", "山长什么时候上任?🎓", "-w", str(school), "--with", "retrieve"]) == 0
    assert asked.get(asked.wording(question).asked).times == 2
    asked.keep("off")
    assert main(["ask", question, "-w", str(school), "--with", "retrieve"]) == 0
    asked.keep("private")
    assert asked.get(asked.wording(question).asked).times == 2


def test_what_can_be_typed(school: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["/help", "/sources", "/mode chat", "who?", "/sources", "/mode loud", "/with", "/with bare", "/mode query"]
    code, out, err = talk(school, capsys, monkeypatch, "\n".join([*typed, "/new", "/sorces", "/with promt"]))
    assert code == 0
    for said in (
        "/mode query",
        "nothing was asked yet",
        "mode: chat",
        "— retrieve · beyond the library · ",
        "the last answer cites nothing",
        "there is no mode 'loud'",
        "retrieve answers. There are: prompt, retrieve, bare",
        "bare answers from here on",
        "'bare' has no library",
        "forgotten",
        "did you mean sources?",
        "did you mean prompt?",
    ):
        assert said in err
    assert "goes beyond it, from the model itself" in out


def test_a_mode_needs_a_library(
    school: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = talk(school, capsys, monkeypatch, "who?\n", "--with", "prompt", "--mode", "query")
    assert code == 1
    assert "'prompt' has no library" in err


def test_on_a_terminal_ctrl_c_stops_and_ctrl_d_leaves(school: Path) -> None:
    ours, theirs = pty.openpty()
    chat = subprocess.Popen(
        [*SHUYUAN, "chat", "--with", "prompt", "-w", str(school)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": "dumb"},
    )
    os.close(theirs)
    shown = _until(ours, b"> ")
    assert b"prompt answers. /help for more" in shown
    chat.send_signal(signal.SIGINT)
    os.write(ours, b"\n/help\n")
    assert b"Ctrl-D: leave" in _until(ours, b"leave", b"> ")
    os.write(ours, b"\x04")
    assert chat.wait(timeout=60) == 0
    os.close(ours)


def _until(terminal: int, *wanted: bytes) -> bytes:
    """What a terminal shows up to `wanted`, each after the one before."""
    shown, ends = b"", time.monotonic() + 120
    while not re.search(b".*".join(map(re.escape, wanted)), shown, re.DOTALL) and time.monotonic() < ends:
        shown += os.read(terminal, 4096)
    return shown


def test_sentences_carry_the_numbers_of_their_sources() -> None:
    text = "LoRA has rank 16. It is red. 默认四段。"
    answer = Answer(
        text,
        (Citation("a.md", 0, 1, "x", supports=((0, 17), (29, 34))), Citation("b.md", 0, 1, "y", supports=((0, 17),))),
        unsupported=((18, 28),),
    )
    assert marked(answer) == "LoRA has rank 16. [1][2] It is red. [?] 默认四段。 [1]"
    assert marked(Answer("nothing cited")) == "nothing cited"
