"""The README's Python is run as it stands, with the default model; its commands are understood by the program."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import pytest

from shuyuan.base.settings import given_flags
from shuyuan.cli.main import command_parser, split_command

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", REPOSITORY / "README.zh.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood(page: Path) -> None:
    lines = [
        line.partition(" && ")[0].partition("#")[0].strip()
        for block in blocks(page, "")
        for line in block.splitlines()
        if line.startswith("shuyuan ")
    ]
    assert len(lines) >= 7
    for line in lines:
        words = re.findall(r'"[^"]*"|\S+', line)[1:]
        name, rest = split_command(words)
        parser, kind, _ = command_parser(name, rest)
        kind.of(given_flags(parser.parse_intermixed_args([word.strip('"') for word in rest]), kind))


def test_the_python_of_both_pages_is_the_same_and_short() -> None:
    english, chinese = (blocks(page, "python") for page in PAGES)
    assert re.sub(r'"[^"]*\?"|"[^"]*？"', "", english[0]) == re.sub(r'"[^"]*\?"|"[^"]*？"', "", chinese[0])
    assert len([line for line in english[0].splitlines() if line]) < 10


def test_the_python_journey_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {
            "question": "What rank does the LoRA adapter have?",
            "answer": "16",
            "reply": "The rank is 16.",
            "use": "learn",
        },
        {"question": "LoRA 的 alpha 是多少？", "answer": "32", "reply": "alpha 是 32。", "use": "learn"},
        {"question": "How wide is the adapter of the route lora?", "answer": "16", "use": "exam"},
        {"question": "Who painted the gate of the house?", "answer": None, "use": "exam"},
    ]
    (tmp_path / "docs").mkdir()
    shutil.copy(REPOSITORY / "docs" / "teach.md", tmp_path / "docs")
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "questions.jsonl").write_text("".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(PAGES[0], "python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    said = printed.getvalue()
    assert "16" in said.splitlines()[0], "the library holds this answer"
    assert {"bare", "lora", "retrieve"} <= set(said.split())
    scores = json.loads((tmp_path / "my-house" / "exams" / "exam" / "scores.json").read_text(encoding="utf-8"))
    assert scores
    page = (tmp_path / "my-house" / "exams" / "exam" / "report.html").read_text(encoding="utf-8")
    assert "lora" in page
    assert not re.search(r'(?:src|href)="https?://', page), "the report needs a network"
