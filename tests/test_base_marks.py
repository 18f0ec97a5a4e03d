"""Marks of documents and folders, and which documents a view shows."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuyuan.base.errors import Fixable
from shuyuan.base.marks import EVERYONE, FOR_ALL, WHOLE, Mark, Marks, View, Within, above, joined
from shuyuan.base.material import File, Material
from shuyuan.base.records import Document
from shuyuan.base.workspace import Workspace
from shuyuan.prepare.adding import add

HR = View(frozenset({"hr"}))
SOURCES = ("手册/a.md", "手册/人事/薪酬 🎉.PDF", "手册/人事/menu.md", "notes.zip/ｂ.md", "data.jsonl:3")


def document(source: str) -> Document:
    return Document(f"id-{source}", source, source, f"text of {source}", "0", "en")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace.create(tmp_path / "school")
    for source in SOURCES:
        made.material.put_document(File(source, "0", 1, 0.0), document(source))
    return made


def shown(workspace: Workspace, view: View) -> list[str]:
    return sorted(name.removeprefix("id-") for name in workspace.marks.shown(view))


def test_a_mark_holds_for_what_lies_under_it() -> None:
    marks = {"手册": Mark(tags=("book",)), "手册/人事": Mark(pinned=True, tags=("旧",), group="hr")}
    assert joined(marks, "手册/a.md") == Mark(tags=("book",))
    assert joined(marks, "手册/人事/x/y.md") == Mark(True, ("book", "旧"), "hr")
    assert joined(marks, "手册/人事二.md") == Mark(tags=("book",)), "a name that begins alike is another one"
    assert joined(marks, "手册二/a.md") == joined({}, "手册/a.md") == Mark()
    assert joined({"a/b": Mark(group=EVERYONE), "a": Mark(group="hr")}, "a/b/c.md").group == ""
    assert joined({"data.jsonl": Mark(group="hr")}, "data.jsonl:3").group == "hr"


@given(st.text(alphabet="ab/:.人🎉", max_size=12))
def test_above_is_the_source_and_what_holds_it(source: str) -> None:
    found = list(above(source))
    assert found[0] == source
    assert all(source.startswith(name) and source[len(name)] in "/:" for name in found[1:])
    assert len(found) == len(set(found))


def test_a_view_shows_what_is_for_all_and_what_its_groups_may_see(workspace: Workspace) -> None:
    assert workspace.marks.within(FOR_ALL, []) is None
    workspace.mark("手册/人事/", group="hr")
    workspace.mark("notes.zip", group="审计")
    assert shown(workspace, FOR_ALL) == ["data.jsonl:3", "手册/a.md"]
    assert shown(workspace, HR) == sorted(["data.jsonl:3", "手册/a.md", *SOURCES[1:3]])
    assert shown(workspace, WHOLE) == sorted(SOURCES)
    assert workspace.marks.within(WHOLE, []) is None
    workspace.mark("手册/人事/menu.md", group=EVERYONE)
    assert "手册/人事/menu.md" in shown(workspace, FOR_ALL)
    assert workspace.material.hidden() == ["notes.zip/ｂ.md", "手册/人事/薪酬 🎉.PDF"]
    workspace.material.put_document(File("手册/人事/new.md", "0", 1, 0.0), document("手册/人事/new.md"))
    assert "手册/人事/new.md" not in shown(workspace, FOR_ALL), "what comes into the folder later is of the group, too"


def test_tags_folder_and_kind_narrow(workspace: Workspace) -> None:
    workspace.mark("手册", tags=("book", "２０２４"))
    workspace.mark("手册/a.md", tags=("旧",))
    assert shown(workspace, View(tags=("book",))) == sorted(SOURCES[:3])
    assert shown(workspace, View(tags=("旧", "２０２４"))) == ["手册/a.md"]
    assert shown(workspace, View(tags=("never",))) == []
    assert (
        shown(workspace, View(folder="手册/人事/"))
        == shown(workspace, View(folder="手册/人事"))
        == sorted(SOURCES[1:3])
    )
    assert shown(workspace, View(folder="手册/人")) == []
    assert shown(workspace, View(kind=".pdf")) == ["手册/人事/薪酬 🎉.PDF"]
    assert shown(workspace, View(folder="手册", kind="md", tags=("book",))) == ["手册/a.md", "手册/人事/menu.md"]
    workspace.mark("手册", group="hr")
    assert shown(workspace, View(tags=("book",))) == [], "nobody gets by a filter what they may not see"


def test_a_search_leaves_out_what_the_workspace_forgot(workspace: Workspace) -> None:
    workspace.mark("手册/人事", group="hr")
    known = [f"id-{source}" for source in SOURCES]
    hidden = {f"id-{source}" for source in SOURCES[1:3]}
    assert workspace.marks.within(FOR_ALL, known) == Within(frozenset(hidden), but=True)
    workspace.material.remove_files(["手册/人事/menu.md"])
    assert workspace.marks.within(FOR_ALL, known) == Within(frozenset(hidden), but=True), "an index may still hold it"
    assert workspace.marks.within(View(None, folder="notes.zip"), known) == Within(frozenset({"id-notes.zip/ｂ.md"}))


def test_other_processes_changes_are_seen_at_once(workspace: Workspace, tmp_path: Path) -> None:
    marks = Marks(workspace.folder / "material.sqlite")
    assert marks.shows(FOR_ALL, "手册/a.md")
    workspace.mark("手册/a.md", group="hr", pinned=True)
    assert not marks.shows(FOR_ALL, "手册/a.md")
    assert marks.pinned(FOR_ALL) == ()
    assert marks.pinned(HR) == ("id-手册/a.md",)
    workspace.mark("手册/a.md", pinned=False, group="")
    assert marks.shows(FOR_ALL, "手册/a.md")
    assert workspace.material.marks() == {}, "an empty mark is none"
    marks.close()
    assert marks.of("手册/a.md") == Mark()
    nowhere = Marks(tmp_path / "none.sqlite")
    assert nowhere.within(FOR_ALL, ["x"]) is None
    assert nowhere.within(View(tags=("x",)), ["x"]) == Within(frozenset())


def test_marks_are_set_one_by_one(workspace: Workspace) -> None:
    workspace.mark("手册", pinned=True)
    assert workspace.mark("手册/", tags=("b", "a", "b")) == Mark(True, ("a", "b"))
    assert workspace.mark("手册", group="hr") == Mark(True, ("a", "b"), "hr")
    assert workspace.mark("手册", tags=()) == Mark(True, (), "hr")
    for wrong in ({"tags": ("two words",)}, {"group": "../x"}):
        with pytest.raises(Fixable, match="cannot be a name"):
            workspace.mark("手册", **wrong)  # type: ignore[arg-type]
    with pytest.raises(Fixable, match="needs a document"):
        workspace.mark("/")


def test_nothing_learns_from_a_document_of_a_group(workspace: Workspace) -> None:
    workspace.mark("手册/人事", group="hr")
    learned = {document.source for document in workspace.material.lessons().documents}
    assert learned == set(SOURCES) - set(SOURCES[1:3])
    assert {one.source for one in workspace.material.documents(hidden=False)} == learned
    assert len(workspace.material.documents()) == len(SOURCES)


def test_an_older_workspace_gets_the_table(tmp_path: Path) -> None:
    file = tmp_path / "material.sqlite"
    Material(file).close()
    with sqlite3.connect(file) as db:
        db.execute("drop table marks")
    assert Marks(file).of("a.md") == Mark()
    material = Material(file)
    material.put_mark("a.md", Mark(True))
    assert material.marks() == {"a.md": Mark(True)}


def test_a_document_that_moves_keeps_its_mark(tmp_path: Path) -> None:
    folder = tmp_path / "手册"
    folder.mkdir()
    (folder / "薪酬.md").write_text("# 薪酬\n\n每月十日发放。\n", encoding="utf-8")
    workspace = Workspace.create(tmp_path / "school")
    add(workspace, [folder])
    workspace.mark("手册/薪酬.md", group="hr", tags=("旧",))
    (folder / "薪酬.md").rename(folder / "salaries.md")
    add(workspace, [folder])
    assert workspace.marks.of("手册/salaries.md") == Mark(tags=("旧",), group="hr")
    assert shown(workspace, FOR_ALL) == []


def test_a_reader_of_what_was_removed_is_waited_for(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    file = workspace.folder / "material.sqlite"
    held = (file, file.with_name("material.sqlite-wal"))
    reader = sqlite3.connect(file)
    reader.execute("begin")
    assert reader.execute("select count(*) from documents").fetchone() == (len(SOURCES),)
    workspace.material.remove_files(SOURCES)
    workspace.material._db.execute("pragma busy_timeout = 10")
    monkeypatch.setattr("shuyuan.base.wiping._PATIENCE_SECONDS", 0.2)
    with pytest.raises(Fixable, match="still reading"):
        workspace.material.purge()
    reader.close()
    workspace.material.purge()
    assert "薪酬".encode() not in b"".join(path.read_bytes() for path in held if path.exists())
