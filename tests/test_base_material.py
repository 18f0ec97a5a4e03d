"""A workspace's records: what goes in comes out, and neither kills nor two writers spoil them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_base_files import child, kill_when_started

from shuyuan.base.errors import Fixable
from shuyuan.base.material import File, Material, lessons_fingerprint
from shuyuan.base.records import Document, Example, Heading, Message, Passage, Question
from shuyuan.base.workspace import Choices, Workspace, finished

TEXT = "# 书院 🙂\n\n山长每年正月初八上任。Full-width：ＡＢＣ，\u200dand a family 👨‍👩‍👧.\n"


def document(source: str = "手册/书院.md", text: str = TEXT) -> Document:
    return Document(source, source, "书院 🙂", text, "0" * 64, "zh", (Heading(0, 1, "书院 🙂"),), (0, 4))


def passages(of: Document, count: int = 2) -> tuple[Passage, ...]:
    return tuple(
        Passage(f"{of.id}#{i}", of.id, of.source, i, i + 3, of.text[i : i + 3], ("书院 🙂",), 1) for i in range(count)
    )


def file(source: str, fault: str = "") -> File:
    return File(source, "0" * 64, 12, 1.5, fault)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@settings(max_examples=25, deadline=None)
@given(text, text, text)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, title: str, body: str, name: str) -> None:
    path = tmp_path_factory.mktemp("m") / "material.sqlite"
    one = Document(f"id{name}", f"s{name}", title, body, "f", "zh", (Heading(1, 2, title),))
    example = Example("e", (Message("user", body), Message("assistant", title)), "事", "f.jsonl:3")
    question = Question("q", body, (title, "b"), "zh", "fact", f"s{name}", body, "f.csv:9")
    material = Material(path)
    material.put_document(file(one.source), one, passages(one))
    material.put_questions("f.jsonl", [example], [question])
    material.close()
    again = Material(path)
    assert again.documents() == (one,)
    assert again.document(one.source) == one
    assert again.passages() == passages(one)
    assert tuple(again.examples()) == (example,)
    assert again.questions() == (question,)
    again.close()


def test_replace_and_forget(workspace: Workspace) -> None:
    material, one = workspace.material, document()
    material.put_document(file(one.source), one, passages(one, 5))
    before = lessons_fingerprint(material.lessons())
    material.put_document(file(one.source), one, passages(one, 2))
    assert material.counts() == {"files": 1, "documents": 1, "passages": 2, "examples": 0, "questions": 0}
    assert lessons_fingerprint(material.lessons()) != before
    material.put_document(file("坏.pdf", "not a PDF"), None)
    assert material.files()["坏.pdf"].fault == "not a PDF"
    material.remove_files([one.source, "坏.pdf", "never there"])
    assert set(material.counts().values()) == {0}


def test_questions_of_one_file_are_replaced(workspace: Workspace) -> None:
    asked = [Question(str(i), "问", (), "zh", str(i)) for i in range(3)]
    workspace.material.put_questions("a.csv", [], asked[:2])
    workspace.material.put_questions("b.csv", [], asked[2:])
    workspace.material.put_questions("a.csv", [], asked[:1])
    assert [q.id for q in workspace.material.questions()] == ["2", "0"]


def test_examples_are_read_as_they_are_needed(workspace: Workspace) -> None:
    made = [
        Example(str(n), (Message("user", f"问 {n} 🎓"), Message("assistant", "答")), place="d:1") for n in range(1203)
    ]
    dropped = workspace.material.put_data([("a.jsonl", iter([*made[:1200], made[7]])), ("b.jsonl", iter(made[1199:]))])
    assert dropped == {"a.jsonl": {"duplicate": 1}, "b.jsonl": {"in another file": 1}}
    examples = workspace.material.lessons().examples
    assert list(examples) == made
    assert (len(examples), examples[0], examples[-1], examples[600]) == (1203, made[0], made[-1], made[600])
    assert examples[3:1100:7] == tuple(made[3:1100:7])
    assert list(workspace.material.examples("b.jsonl")) == made[1200:]
    assert workspace.material.origins() == {"a.jsonl": 1200, "b.jsonl": 3}
    with pytest.raises(IndexError):
        examples[1203]
    workspace.material.put_data([("a.jsonl", iter(made[:5]))])
    with pytest.raises(Fixable, match="changed by another command"):
        examples[600]
    assert list(examples[-3:]) == made[1200:], "rows of other files stay where they are"


def test_raw_texts_of_a_file_are_replaced(workspace: Workspace) -> None:
    texts = [document(f"d/t.jsonl:{n}", f"文 {n}") for n in range(4)]
    records = [(text, passages(text)) for text in texts]
    workspace.material.put_data([("d/t.jsonl", records[:3])])
    workspace.material.put_document(file("d/t.jsonlx"), document("d/t.jsonlx"), ())
    assert workspace.material.put_data([("d/t.jsonl", [*records[1:], records[1]])]) == {"d/t.jsonl": {"duplicate": 1}}
    assert [d.text for d in workspace.material.lessons().documents] == ["文 1", "文 2", "文 3", TEXT]
    assert workspace.material.languages() == {"zh": 4}
    assert len(workspace.material.passages()) == 6


def test_a_refused_change_changes_nothing(workspace: Workspace) -> None:
    material, one = workspace.material, document()
    material.put_document(file(one.source), one, passages(one))
    twice = (*passages(one), *passages(one))
    with pytest.raises(Fixable):
        material.put_document(file(one.source), one, twice)
    assert material.passages() == passages(one)


def test_killed_while_writing_stays_sound(tmp_path: Path) -> None:
    path = tmp_path / "material.sqlite"
    script = """
material = Material(path)
print('begun', flush=True)
for turn in range(10**6):
    source = f'{turn % 3}.md'
    one = Document(source, source, '书', '山长' * 5000, 'f', 'zh')
    cut = [Passage(f'{source}#{i}', source, source, i, i + 2, '山长') for i in range(50)]
    material.put_document(File(source, 'f', 1, 1.0), one, cut)
"""
    for later in (0.0, 0.01, 0.03, 0.06, 0.1):
        kill_when_started(child(script, path), later)
        with sqlite3.connect(path) as db:
            assert db.execute("pragma integrity_check").fetchone() == ("ok",)
            assert db.execute("pragma foreign_key_check").fetchall() == []
        db.close()
        material = Material(path)
        documents = material.documents()
        assert len(material.passages()) == 50 * len(documents)
        assert material.counts()["files"] == len(documents)
        material.close()


def test_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "material.sqlite"
    one = document()
    Material(path).put_document(file(one.source), one, passages(one))
    script = """
material = Material(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try: material.put_document(File('b', 'f', 1, 1.0), Document('b', 'b', '', 'x' * 10**6, 'f', 'en'))
except Fixable as error: print(error)
"""
    said, _ = child(script, path).communicate()
    assert "the disk is full: nothing was changed" in said
    assert Material(path).documents() == (one,)


def test_two_processes_make_and_fill_one_workspace(tmp_path: Path) -> None:
    path = tmp_path / "material.sqlite"
    script = """
import os
material = Material(path)
for turn in range(20):
    source = f'{os.getpid()}-{turn}.md'
    material.put_document(File(source, 'f', 1, 1.0), Document(source, source, '', 'x', 'f', 'en'))
print('filled')
"""
    writers = [child(script, path) for _ in range(3)]
    assert [writer.communicate()[0] for writer in writers] == ["filled\n"] * 3
    assert Material(path).counts()["documents"] == 60


def test_many_writers_lose_and_double_nothing(tmp_path: Path) -> None:
    """Eight processes of a thousand rows each; what all of them rewrite is there once."""
    path = tmp_path / "material.sqlite"
    script = """
import os
material = Material(path)
for turn in range(50):
    source = f'{os.getpid()}-{turn}.md'
    one = Document(source, source, '书', '山长 😀', 'f', 'zh')
    cut = [Passage(f'{source}#{i}', source, source, i, i + 1, '山') for i in range(19)]
    material.put_document(File(source, 'f', 1, 1.0), one, cut)
    material.put_document(File('all.md', 'f', 1, 1.0), Document('all', 'all.md', '', 'x', 'f', 'en'), ())
print('filled')
"""
    writers = [child(script, path) for _ in range(8)]
    assert [writer.communicate() for writer in writers] == [("filled\n", None)] * 8
    material = Material(path)
    assert material.counts() == {"files": 401, "documents": 401, "passages": 7600, "examples": 0, "questions": 0}
    assert len({one.id for one in material.passages()}) == 7600
    assert material.changes() == 800, "each change counted, and none twice"
    with sqlite3.connect(path) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    db.close()


def test_killed_in_the_middle_of_a_migration_nothing_is_lost(tmp_path: Path) -> None:
    """The process is killed before its first statement, its second, and so on; the next one goes on from there."""
    script = """
import os, signal, sqlite3
connect, begun = sqlite3.connect, []
def count(statement):
    begun.append(statement)
    if len(begun) > left: os.kill(os.getpid(), signal.SIGKILL)
def counted(*given, **more):
    db = connect(*given, **more)
    db.set_trace_callback(count)
    return db
sqlite3.connect = counted
Material(path)
"""
    made = Material(tmp_path / "new.sqlite")
    made.close()
    with sqlite3.connect(tmp_path / "new.sqlite") as db:
        wanted = set(db.execute("select type, name from sqlite_master"))
    db.close()
    later = ("marks", "held_out", "changes")
    for left in range(100):
        path, one = tmp_path / f"{left}.sqlite", document()
        old = Material(path)
        old.put_document(file(one.source), one, passages(one))
        old.close()
        with sqlite3.connect(path) as db:
            for table in later:
                db.execute(f"drop table {table}")
            db.execute("pragma user_version = 1")
        db.close()
        process = child(f"left = {left}\n{script}", path)
        process.communicate()
        with sqlite3.connect(path) as db:  # the tables of a step are all there, or none is
            there = set(db.execute("select type, name from sqlite_master"))
        db.close()
        missing = {name for kind, name in wanted - there if kind == "table"}
        assert missing in (set(), set(later)), left
        again = Material(path)
        assert (again.documents(), again.passages(), again.changes()) == ((one,), passages(one), 0)
        again.close()
        if process.returncode == 0:
            break
    assert left > 5, "it was killed at every statement"


def test_not_a_database_and_a_newer_one(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(Fixable, match="cannot be read") as broken:
        Material(tmp_path / "a.sqlite")
    assert broken.value.place.endswith("a.sqlite")
    with sqlite3.connect(tmp_path / "b.sqlite") as db:
        db.execute("pragma user_version = 99")
    with pytest.raises(Fixable, match="newer Shuyuan"):
        Material(tmp_path / "b.sqlite")


def test_workspace(tmp_path: Path) -> None:
    made = Workspace.create(tmp_path / "书院", Choices(model="smollm2-135m"))
    assert Workspace.open(tmp_path / "书院").choices == made.choices
    assert Workspace.create(tmp_path / "书院", Choices(model="smollm2-135m")).choices == made.choices
    with pytest.raises(Fixable, match="is a workspace already"):
        Workspace.create(tmp_path / "书院")
    with pytest.raises(Fixable, match="no workspace") as absent:
        Workspace.open(tmp_path / "none")
    assert "shuyuan new" in absent.value.hint
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(Fixable, match="not empty"):
        Workspace.create(tmp_path / "full")
    for name in ("..", "../x", "/x", "", "a/b", "-x", "a..b"):
        with pytest.raises(Fixable):
            made.run(name)
    assert made.run("lora+retrieve").folder == (tmp_path / "书院" / "runs" / "lora+retrieve").resolve()
    assert finished(made.run("lora")) is None
    assert (made.runs(), made.exams()) == ([], [])


@pytest.mark.parametrize(
    ("toml", "said"),
    [("model = ", "not valid TOML"), ('modle = "x"', "did you mean model?"), ("model = 3", "cannot be 3")],
)
def test_broken_workspace_file_names_itself(tmp_path: Path, toml: str, said: str) -> None:
    (tmp_path / "shuyuan.toml").write_text(toml)
    with pytest.raises(Fixable) as broken:
        Workspace.open(tmp_path)
    assert said in str(broken.value)
    assert "shuyuan.toml" in broken.value.place
