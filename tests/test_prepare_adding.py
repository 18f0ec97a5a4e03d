"""Files and questions into a workspace: new, changed, unchanged, vanished, broken; killed and run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shuyuan.base.errors import Fixable
from shuyuan.base.files import locked
from shuyuan.base.workspace import Workspace
from shuyuan.prepare.adding import add
from shuyuan.prepare.chunk import Chunk
from shuyuan.prepare.split import Split


def make(root: Path, **files: str) -> Path:
    """A folder with Markdown files of those names."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / f"{name}.md").write_text(text, encoding="utf-8")
    return root


def sheet(path: Path, *rows: dict[str, str]) -> Path:
    """A JSONL question file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def sources(workspace: Workspace) -> list[str]:
    """The sources of all documents."""
    return [document.source for document in workspace.material.documents()]


def test_add_reads_stores_and_says_what_it_did(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = make(tmp_path / "docs", a="# 书院\n\n一座藏书的房子。", b="# House\n\nIt keeps the books.")
    (docs / "p.mp4").write_bytes(b"x")
    added = add(workspace, [docs])
    assert sources(workspace) == ["docs/a.md", "docs/b.md"]
    assert (added.documents, added.passages, added.languages) == (2, 2, {"zh": 1, "en": 1})
    assert str(added.files) == "kept 2 of 3 files: 1 unknown kind .mp4"
    said = capsys.readouterr().err
    assert "kept 2 of 3 files: 1 unknown kind .mp4" in said
    assert "1 en, 1 zh" in said


def test_only_what_changed_is_read_again(workspace: Workspace, tmp_path: Path) -> None:
    docs = make(tmp_path / "docs", a="one", b="two", c="three")
    add(workspace, [docs])
    (docs / "a.md").write_text("changed")
    os.utime(docs / "b.md", (1, 1))
    (docs / "c.md").unlink()
    make(docs, d="new")
    added = add(workspace, [docs])
    assert (added.read, added.unchanged, added.forgotten) == (2, 1, 1)
    assert sources(workspace) == ["docs/a.md", "docs/b.md", "docs/d.md"]
    assert workspace.material.files()["docs/b.md"].modified == 1
    assert [passage.text for passage in workspace.material.passages()] == ["changed", "two", "new"]
    again = add(workspace, [docs])
    assert (again.read, again.unchanged, again.forgotten) == (0, 3, 0)


def test_a_bad_file_is_recorded_and_the_others_go_on(workspace: Workspace, tmp_path: Path) -> None:
    docs = make(tmp_path / "docs", a="good")
    (docs / "empty.docx").touch()
    (docs / "broken.pdf").write_bytes(b"%PDF-1.4 no")
    (docs / "garbage.txt").write_bytes(bytes(range(256)))
    (docs / "国标.txt").write_bytes("这是国标码的中文文件。".encode("gbk"))
    added = add(workspace, [docs])
    assert set(added.faults) == {"docs/empty.docx", "docs/broken.pdf", "docs/garbage.txt"}
    assert all(str(tmp_path) in fault for fault in added.faults.values())
    assert sources(workspace) == ["docs/a.md", "docs/国标.txt"]
    assert "0 bytes" in workspace.material.files()["docs/empty.docx"].fault
    (docs / "garbage.txt").write_text("now it is text")
    assert set(add(workspace, [docs]).faults) == {"docs/empty.docx", "docs/broken.pdf"}


def test_nothing_readable_at_all_is_an_error(workspace: Workspace, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(Fixable, match="the folder is empty") as error:
        add(workspace, [empty])
    assert error.value.place == str(empty)
    (empty / "a.mp4").touch()
    with pytest.raises(Fixable, match=r"1 unknown kind \.mp4"):
        add(workspace, [empty])
    (empty / "a.docx").touch()
    with pytest.raises(Fixable, match="none of the files could be read"):
        add(workspace, [empty])
    with pytest.raises(Fixable, match="nothing to add"):
        add(workspace, [])


def test_two_roots_of_one_name_never_mix(workspace: Workspace, tmp_path: Path) -> None:
    add(workspace, [make(tmp_path / "one" / "docs", a="one")])
    other = make(tmp_path / "two" / "docs", a="two")
    with pytest.raises(Fixable, match="already the name"):
        add(workspace, [other])
    assert workspace.material.documents()[0].text == "one"
    (tmp_path / "one").rename(tmp_path / "gone")
    add(workspace, [other])
    assert workspace.material.documents()[0].text == "two"


def test_paths_inside_and_around_a_known_root_are_the_same_documents(workspace: Workspace, tmp_path: Path) -> None:
    docs = make(tmp_path / "docs", a="one")
    make(docs / "sub", b="two")
    add(workspace, [docs / "sub"])
    assert sources(workspace) == ["sub/b.md"]
    add(workspace, [docs])
    assert sources(workspace) == ["docs/a.md", "docs/sub/b.md"]
    (docs / "sub" / "b.md").unlink()
    make(docs / "sub", c="three")
    add(workspace, [docs / "sub"])
    assert sources(workspace) == ["docs/a.md", "docs/sub/c.md"]


def test_a_single_file_and_excludes(workspace: Workspace, tmp_path: Path) -> None:
    docs = make(tmp_path / "docs", a="one", b="two")
    add(workspace, [docs], exclude=["b.md"])
    (tmp_path / "LICENSE").write_text("free")
    add(workspace, [tmp_path / "LICENSE"])
    assert sources(workspace) == ["LICENSE", "docs/a.md"]


def test_rows_that_were_meant_otherwise_are_named(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {
        "对话 ＡＢ🎓.jsonl": {
            "messages": [{"role": "user", "content": "几时？"}, {"role": "assistant", "content": "初八"}]
        },
        "quiz.json": [{"question": "几时？", "answers": ["初八"]}],
        "notes.jsonl": {"text": "山长初八上任。"},
        "plain.json": {"motto": "学而时习之"},
    }
    for name, row in rows.items():
        (tmp_path / name).write_text(json.dumps(row, ensure_ascii=False), "utf-8")
    (tmp_path / "题库.csv").write_text("题目,答案\n几时？,初八\n", "gb18030")
    (tmp_path / "phones.csv").write_text("name,phone\nLi,7\n", "utf-8")
    add(workspace, [tmp_path / name for name in (*rows, "题库.csv", "phones.csv")])
    told = [line for line in capsys.readouterr().err.splitlines() if "its rows" in line]
    assert [line.partition(": its rows are ")[2].partition(",")[0] for line in told] == [
        *("examples", "questions", "questions")
    ]
    assert told[0].endswith(f"shuyuan add --data {tmp_path / '对话 ＡＢ🎓.jsonl'}")
    assert told[1].endswith(f"shuyuan add --questions {tmp_path / 'quiz.json'}")


def test_another_way_of_cutting_cuts_every_document_again(workspace: Workspace, tmp_path: Path) -> None:
    one, two = make(tmp_path / "one", a="一句话。" * 50), make(tmp_path / "two", b="一句话。" * 50)
    add(workspace, [one, two])
    before = workspace.material.passages()
    add(workspace, [one], chunk=Chunk(characters=40))
    assert len(before) == 2
    assert {len(p.text) <= 40 for p in workspace.material.passages()} == {True}
    add(workspace, [one])
    assert {len(p.text) <= 40 for p in workspace.material.passages()} == {True}
    add(workspace, [two], chunk=Chunk())
    assert workspace.material.passages() == before


LEARN = {"question": "书院默认的秩是多少？", "answer": "16", "fact": "rank", "use": "learn"}
EXAM = {"question": "不加设置时 rank 取几？", "answer": "16", "fact": "rank", "use": "exam"}


def test_questions_are_divided_and_replaced_by_file(workspace: Workspace, tmp_path: Path) -> None:
    file = sheet(tmp_path / "handbook" / "q.jsonl", LEARN, EXAM, LEARN)
    added = add(workspace, [], [file])
    assert (added.examples, added.questions) == (1, 1)
    assert str(added.rows) == "kept 2 of 3 questions: 1 duplicate"
    assert workspace.material.questions()[0].place == "handbook/q.jsonl:2"
    other = sheet(tmp_path / "b" / "q.jsonl", LEARN, {"question": "谁统治火星？", "use": "exam"})
    assert str(add(workspace, [], [other]).rows) == "kept 1 of 2 questions: 1 in another file"
    sheet(file, EXAM)
    assert (add(workspace, [], [file]).examples, len(workspace.material.questions())) == (0, 2)


def test_a_leak_is_refused_naming_both_lines_and_stores_nothing(workspace: Workspace, tmp_path: Path) -> None:
    docs = make(tmp_path / "docs", a="one")
    twin = {**EXAM, "question": "请问书院默认的秩是多少呢？"}
    file = sheet(tmp_path / "f" / "q.jsonl", LEARN, {**LEARN, "question": "别的问题？"}, twin)
    with pytest.raises(Fixable, match="stand in the lessons") as error:
        add(workspace, [docs], [file])
    assert "f/q.jsonl:1" in str(error.value)
    assert "f/q.jsonl:3" in str(error.value)
    assert workspace.material.counts() == dict.fromkeys(workspace.material.counts(), 0)


def test_a_leak_across_files_added_at_different_times_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    add(workspace, [], [sheet(tmp_path / "a" / "q.jsonl", LEARN)])
    with pytest.raises(Fixable, match=r"a/q\.jsonl:1"):
        add(workspace, [], [sheet(tmp_path / "b" / "q.jsonl", {**LEARN, "use": "exam"})])
    undecided = sheet(tmp_path / "b" / "q.jsonl", {"question": "书院默认的秩是多少"})
    assert add(workspace, [], [undecided], split=Split(share=1)).questions == 0


def test_evidence_that_is_not_in_the_documents_is_said(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = make(tmp_path / "docs", a="The rank is 16.")
    rows = [
        {**EXAM, "source": "docs/a.md", "evidence": "The rank is\n16."},
        {"question": "Missing file?", "use": "exam", "source": "docs/b.md", "evidence": "x"},
        {"question": "Missing words?", "use": "exam", "source": "docs/a.md", "evidence": "The rank is 32."},
    ]
    add(workspace, [docs], [sheet(tmp_path / "f" / "q.jsonl", *rows)])
    said = capsys.readouterr().err
    assert "1 questions name a document that is not here; first f/q.jsonl:2" in said
    assert "1 questions name evidence that is not in their document; first f/q.jsonl:3" in said


def test_a_bad_row_stops_before_any_document_is_read(workspace: Workspace, tmp_path: Path) -> None:
    docs = make(tmp_path / "docs", a="one")
    file = sheet(tmp_path / "q.jsonl", *[{"question": f"{n} of {n}?"} for n in range(36)], {"answer": "x"})
    with pytest.raises(Fixable) as error:
        add(workspace, [docs], [file])
    assert error.value.place == f"{file}:37"
    assert sources(workspace) == []


def test_a_second_add_at_the_same_time_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    docs = make(tmp_path / "docs", a="one")
    with locked(workspace.folder / "add.lock", "shuyuan add"), pytest.raises(Fixable, match="in use by 'shuyuan add'"):
        add(workspace, [docs])


def test_killed_at_any_moment_the_same_command_goes_on(workspace: Workspace, tmp_path: Path) -> None:
    docs = make(tmp_path / "docs", **{f"f{n:03}": f"# 第{n}页\n\n" + "一句话。" * 800 for n in range(150)})
    command = "import sys; from shuyuan.base.workspace import Workspace; from shuyuan.prepare.adding import add; "
    command += "add(Workspace.open(sys.argv[1]), [sys.argv[2]])"
    for stop_at in (1, 20, 60):
        process = subprocess.Popen(
            [sys.executable, "-c", command, str(workspace.folder), str(docs)], stderr=subprocess.DEVNULL
        )
        while process.poll() is None and workspace.material.counts()["files"] < stop_at:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    there = workspace.material.counts()["files"]
    added = add(workspace, [docs])
    assert added.unchanged == there
    assert added.documents == 150
    fresh = Workspace.create(tmp_path / "fresh")
    add(fresh, [docs])
    assert workspace.material.passages() == fresh.material.passages()
    assert workspace.material.documents() == fresh.material.documents()
