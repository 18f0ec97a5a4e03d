"""The journey in public commands, with a tiny real model of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import tiny_folder

from shuyuan.base.errors import Fixable
from shuyuan.cli.main import main
from shuyuan.examine.pairs import pairs
from shuyuan.examine.results import read_exam


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which `prompt` is taught and an exam was sat."""
    at = tmp_path_factory.mktemp("journey")
    model = tiny_folder(at / "model")
    (at / "手册").mkdir()
    (at / "手册" / "书院.md").write_text(
        "# 书院\n\n山长每年正月初八上任。\n\nThe library opens at nine.\n", encoding="utf-8"
    )
    rows = [
        {"question": "山长什么时候上任？", "answer": "正月初八", "use": "exam", "source": "手册/书院.md"},
        {"question": "When does the library open?", "answer": ["nine", "9"], "use": "exam"},
        {"question": "Who built the bridge?", "answer": None, "use": "exam"},
        {"question": "图书馆几点开门？", "answer": "nine", "use": "learn"},
    ]
    quiz = at / "quiz.jsonl"
    quiz.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    folder = str(at / "school")
    assert main(["new", folder, "--model", str(model)]) == 0
    assert main(["add", str(at / "手册"), "--questions", str(quiz), "-w", folder]) == 0
    assert main(["teach", "prompt", "-w", folder]) == 0
    assert main(["exam", "--general", "2", "--name", "quick", "-w", folder]) == 0
    return at / "school"


def said(capsys: pytest.CaptureFixture[str], *line: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(word) for word in line])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_list(school: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "list", "-w", school)
    assert code == 0
    assert "1 documents" in out
    assert "3 questions" in out
    assert "exams: quick" in out
    held = json.loads(said(capsys, "list", "--json", "-w", school)[1])
    assert held["runs"]["prompt"]["route"] == "prompt"
    assert held["runs"]["prompt"]["peak_bytes"] > 0


def test_add_again_changes_nothing(school: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, "add", school.parent / "手册", "-w", school, "--json")
    assert code == 0, err
    added = json.loads(out)
    assert (code, added["read"], added["unchanged"], added["questions"]) == (0, 0, 1, 3)
    assert "unchanged" in err


def test_teach_again_is_reused(school: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, "teach", "prompt", "-w", school)
    assert (code, out) == (0, "prompt\n")
    assert "taught already" in err


def test_ask(school: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "ask", "山长什么时候上任？", "-w", school)
    assert code == 0
    assert "\n— prompt · " in out
    answer = json.loads(said(capsys, "ask", "山长？", "--with", "bare", "--json", "-w", school)[1])
    assert answer["assistant"] == "bare"
    assert answer["citations"] == []
    assert answer["prompt_tokens"] > 0
    code, _, err = said(capsys, "ask", "山长？", "--with", "bare", "--mode", "chat", "-w", school)
    assert code == 1
    assert "'bare' has no library" in err
    assert "did you mean prompt?" in said(capsys, "ask", "山长？", "--with", "promt", "-w", school)[2]


def test_exam_compare_and_report(school: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, "exam", "prompt", "bare", "--general", "2", "--name", "quick", "-w", school)
    assert code == 0
    assert "bare" in out
    assert f"report: {school / 'exams' / 'quick' / 'report.html'}" in out
    assert "bare sat this before" in err
    code, out, _ = said(capsys, "compare", "bare", "prompt", "-w", school)
    assert code == 0
    assert "bare − prompt" in out
    (pair,) = json.loads(said(capsys, "compare", "bare", "prompt", "--json", "-w", school)[1])
    assert (pair["one"], pair["other"], pair["n"]) == ("bare", "prompt", 2)
    assert "did you mean prompt?" in said(capsys, "compare", "bare", "promt", "-w", school)[2]
    assert "has no score" in said(capsys, "compare", "bare", "prompt", "--score", "x/y", "-w", school)[2]
    assert "needs two assistants" in said(capsys, "compare", "bare", "bare", "-w", school)[2]
    report = school / "exams" / "quick" / "report.md"
    report.unlink()
    code, out, _ = said(capsys, "report", "--exam", "quick", "--language", "zh", "-w", school)
    assert code == 0
    assert "书" in report.read_text(encoding="utf-8")
    assert (
        "there is no exam 'qick'\nhint: did you mean quick?"
        in said(capsys, "report", "--exam", "qick", "-w", school)[2]
    )


def test_pairs_are_mirrored_and_corrected(school: Path) -> None:
    sat = read_exam(school / "exams" / "quick")
    (one,), (other,) = pairs(sat, ["bare", "prompt"]), pairs(sat, ["prompt", "bare"])
    assert one.difference == -other.difference
    assert (one.p, one.p_holm, one.n) == (other.p, other.p_holm, other.n)
    with pytest.raises(Fixable):
        pairs(sat, ["bare", "lora"])
