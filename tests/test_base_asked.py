"""Questions that were asked: counted, answered, withdrawn with their documents, whatever happens in between."""

from __future__ import annotations

import signal
import sqlite3
import time
from pathlib import Path

import pytest
from test_base_files import child
from test_base_material import document, file, passages

from shuyuan.base import asked
from shuyuan.base.asked import Asked, Wording, key_of, plain
from shuyuan.base.errors import Fixable
from shuyuan.base.material import Material
from shuyuan.base.records import Answer, Citation
from shuyuan.base.workspace import Workspace

QUOTE = "山长每年正月初八上任。"
QUESTION = "山长什么时候上任？🎓"


def wording(text: str, under: str = "") -> Wording:
    return Wording(under, text, "e", b"\0" * 8)


def answer(text: str = "正月初八。🎉", source: str = "手册/书院.md", quote: str = QUOTE) -> Answer:
    start = document().text.index(quote)
    cited = Citation(source, start, start + len(quote), quote, 1, "p", ((0, 5),))
    return Answer(text, (cited,), ("p", "secret"), unsupported=((1, 2),), prompt="all that was read")


@pytest.fixture
def material(workspace: Workspace) -> Material:
    for source in ("手册/书院.md", "other.md"):
        workspace.material.put_document(file(source), document(source), passages(document(source)))
    return workspace.material


def test_wordings_are_counted_under_one_question(material: Material) -> None:
    first = material.asked.put(wording(QUESTION), None, "retrieve", 10.0)
    assert material.asked.get(first) == Asked(first, (QUESTION,), 1, 10.0, 10.0, None, "", 0.0, 0.0, False)
    for at, text in enumerate(("  山长什么时候上任?🎓 ", "山长什么时候上任？🎓。", "谁来当山长，何时上任？"), 11):
        assert material.asked.put(wording(text, first), answer(), "lora+retrieve", float(at)) == first
    found = material.asked.get(first)
    assert found.wordings == (QUESTION, "谁来当山长，何时上任？")
    assert (found.times, found.first, found.last, found.answered, found.state) == (4, 10.0, 13.0, 13.0, "answered")
    assert found.answer == Answer(answer().text, answer().citations, unsupported=((1, 2),)), "no prompt, nothing found"
    assert found.assistant == "lora+retrieve"
    other = material.asked.put(wording("Ｗho opened the library?", "gone"), None, "retrieve", 20.0)
    assert other != first
    assert material.asked.wording("ＷＨＯ  OPENED the library").asked == other
    assert [one.asked for one in material.asked.wordings("e")] == [first, first, other]
    assert material.asked.wordings("another embedder") == material.asked.wordings("e", public=True) == []


@pytest.mark.parametrize(
    ("text", "same"),
    [("ＬｏＲＡ 是什么？", "lora 是什么"), ("a\n b?", "A B"), ("?", "？"), ("🎓？", "🎓"), ("a \ud800", "a ?")],
)
def test_what_counts_as_one_wording(text: str, same: str) -> None:
    assert key_of(text) == key_of(same)
    assert key_of("the rank 16") != key_of("the rank 1")
    assert plain("ＡＢＣ　x") == "abc x"


def test_a_refusal_takes_no_answer_away_and_a_page_keeps_its_own(material: Material) -> None:
    name = material.asked.put(wording(QUESTION), answer(), "retrieve", 1.0)
    material.asked.put(wording(QUESTION), None, "retrieve", 2.0)
    assert material.asked.get(name).answered == 1.0
    material.asked.put(wording(QUESTION), answer("newer"), "retrieve", 3.0)
    assert material.asked.get(name).answer.text == "newer"
    material.asked.publish(name)
    material.asked.put(wording(QUESTION), answer("worse"), "bad", 4.0)
    assert (material.asked.get(name).answer.text, material.asked.get(name).times) == ("newer", 4)
    material.asked.publish(name, public=False)
    assert not material.asked.get(name).public


def test_a_page_shows_the_wording_that_was_published(material: Material) -> None:
    name = material.asked.put(wording(QUESTION), answer(), "retrieve", 1.0)
    material.asked.publish(name)
    for at in (2.0, 3.0):
        material.asked.put(wording("我是张三，何时上任？", name), None, "retrieve", at)
    one = material.asked.get(name)
    assert (one.text, one.wordings[0], one.times) == (QUESTION, "我是张三，何时上任？", 3)
    assert material.asked.find("张三", public=True) == ([], 0), "nobody published that"
    assert material.asked.find("张三")[1] == material.asked.find("什么时候", public=True)[1] == 1
    material.asked.publish(name, public=False)
    assert material.asked.get(name).text == "我是张三，何时上任？"


def test_only_what_has_an_answer_becomes_a_page(material: Material) -> None:
    name = material.asked.put(wording(QUESTION), None, "retrieve", 1.0)
    with pytest.raises(Fixable, match="no answer"):
        material.asked.publish(name)
    for call in (material.asked.publish, material.asked.remove, material.asked.get):
        with pytest.raises(Fixable, match="there is no question 'none'"):
            call("none")
    assert material.asked.keeping() == "private"
    with pytest.raises(Fixable, match="off, private, public"):
        material.asked.keep("everything")
    material.asked.keep("public")
    material.asked.put(wording(QUESTION), answer(), "retrieve", 2.0)
    assert (material.asked.get(name).public, material.asked.keeping()) == (True, "public")


@pytest.mark.parametrize("how", ["removed", "changed", "unreadable", "data"])
def test_no_answer_outlives_the_text_it_cites(material: Material, how: str) -> None:
    source = "d.jsonl:3" if how == "data" else "手册/书院.md"
    if how == "data":
        material.put_data([("d.jsonl", [(document(source, document().text + "."), ())])])
    name = material.asked.put(wording(QUESTION), answer(source=source), "retrieve", 1.0)
    beside = material.asked.put(wording("Another?"), answer(source="other.md"), "retrieve", 1.0)
    for one in (name, beside):
        material.asked.publish(one)
    if how == "removed":
        material.remove_files([source])
    elif how == "changed":
        material.put_document(file(source), document(source, "山长每年正月初九上任。"))
    elif how == "unreadable":
        material.put_document(file(source, "not a PDF"), None)
    else:
        material.put_data([("d.jsonl", [])])
    gone = material.asked.get(name)
    assert (gone.answer, gone.public, gone.state, gone.times) == (None, False, "withdrawn", 1)
    assert gone.withdrawn > 1e9
    assert material.asked.get(beside).public
    assert material.asked.find("正月初八", public=True)[0] == [material.asked.get(beside)]
    kept = [row for line in material._db.iterdump() for row in [line] if "asked" in line]
    assert sum("初八" in row for row in kept) == 1, "the other's alone"
    material.asked.put(wording(QUESTION), answer(source="other.md"), "retrieve", 2.0)
    assert (material.asked.get(name).state, material.asked.get(name).public) == ("answered", False), (
        "seen by no one yet"
    )


def test_an_answer_written_while_its_document_went_is_not_kept(material: Material) -> None:
    gone = answer()
    material.remove_files(["手册/书院.md"])
    name = material.asked.put(wording(QUESTION), gone, "retrieve", 5.0)
    assert (material.asked.get(name).answer, material.asked.get(name).withdrawn) == (None, 5.0)
    material.put_document(file("手册/书院.md"), document(text="moved " + document().text))
    material.asked.put(wording(QUESTION), gone, "retrieve", 6.0)
    assert material.asked.get(name).state == "withdrawn", "the place must be the very place"


def test_the_same_text_cut_anew_keeps_its_answers(material: Material) -> None:
    name, one = material.asked.put(wording(QUESTION), answer(), "retrieve", 1.0), document()
    material.put_document(file(one.source), one, passages(one, 5))
    assert len(material.passages()) == 7
    assert material.asked.get(name).answer
    assert material.counts()["documents"] == 2


def test_questions_are_no_change_of_the_material(material: Material) -> None:
    before = material.changes()
    name = material.asked.put(wording(QUESTION), answer(), "retrieve", 1.0)
    material.asked.publish(name)
    material.asked.remove(name)
    assert material.changes() == before > 0
    material.remove_files(["other.md"])
    assert material.changes() == before + 1


def test_finding_in_any_width_case_and_script(material: Material) -> None:
    rows = [
        "What is the rank of LoRA? 🎓",
        "ＬｏＲＡ 的秩是多少？",
        "How does it work? 100%",
        "书院的藏书楼在哪里",
    ]
    names = [material.asked.put(wording(text), None, "r", float(at)) for at, text in enumerate(rows)]
    material.asked.put(wording(rows[0]), None, "r", 1.5)
    material.asked.put(wording(rows[3]), answer("在后山，名叫 Ｎine 楼。👨‍👩‍👧", "other.md"), "r", 3.0)

    def found(*given: object, **how: object) -> list[int]:
        rows_, count = material.asked.find(*given, **how)
        assert count >= len(rows_)
        return [names.index(one.id) for one in rows_]

    assert found() == [3, 2, 0, 1]
    assert found(order="most") == [3, 0, 2, 1]
    assert found("lora") == found("ＬＯＲＡ") == [0, 1]
    assert found("秩  LORA") == [1]
    assert found("🎓") == [0]
    assert found("nine 后山") == found("👨‍👩‍👧") == [3], "words of the answer"
    assert found("%") == [2]
    assert found("_") == found("citations") == found("other.md") == []
    assert found(state="answered") == [3]
    assert found(state="unanswered", most=1, skip=1) == [0]
    assert material.asked.find(most=1)[1] == 4
    assert found(public=True) == []
    material.asked.remove(names[3])
    assert found("楼") == []
    assert material._db.execute("select count(*) from asked_wordings").fetchone() == (3,)
    assert material._db.execute("select count(*) from asked_sources").fetchone() == (0,)


def test_answers_from_hidden_documents_are_hidden(material: Material) -> None:
    name = material.asked.put(wording(QUESTION), answer(), "retrieve", 1.0)
    beside = material.asked.put(wording("Another?"), None, "retrieve", 2.0)
    for hidden, seen in ((["手册/书院.md"], [beside]), (["other.md"], [beside, name])):
        found, count = material.asked.find(hidden=hidden)
        assert ([one.id for one in found], count) == (seen, len(seen))
        assert {one.asked for one in material.asked.wordings("e", hidden=hidden)} == set(seen)
    assert material.asked.find("山长", hidden=["手册/书院.md"]) == ([], 0)


def test_the_oldest_go_first_and_pages_last(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "MOST", 3)
    page = material.asked.put(wording("page"), answer(source="other.md"), "r", 0.0)
    material.asked.publish(page)
    names = [material.asked.put(wording(f"问题 {n}"), None, "r", float(n)) for n in range(1, 5)]
    assert [one.id for one in material.asked.find()[0]] == [names[3], names[2], page]


def test_an_older_workspace_gets_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "material.sqlite"
    Material(path).close()
    with sqlite3.connect(path) as db:
        for table in ("asked_wordings", "asked_sources", "asked_keeping", "asked", "changes"):
            db.execute(f"drop table {table}")
        db.execute("drop trigger answers_go_with_documents")
    db.close()
    material = Material(path)
    assert material.asked.find() == ([], 0)
    material.remove_files([])
    assert material.changes() == 1


def test_killed_while_asking_stays_sound(tmp_path: Path) -> None:
    path = tmp_path / "material.sqlite"
    script = """
import itertools
from shuyuan.base.asked import Wording
from shuyuan.base.records import Answer, Citation
material = Material(path)
print('begun', flush=True)
for turn in itertools.count():
    source = f'{turn % 2}.md'
    material.put_document(File(source, 'f', 1, 1.0), Document(source, source, '书', f'山长 {turn} 🎓', 'f', 'zh'))
    cited = Citation(source, 0, 2, '山长')
    name = material.asked.put(Wording('', f'问 {turn % 5}', 'e', b'v'), Answer('山长', (cited,)), 'r', 1.0)
    print(name, material.asked.get(name).times, flush=True)
"""
    acknowledged = 0
    for later in (0.0, 0.1, 0.3):
        process = child(script, path)
        assert process.stdout.readline() == "begun\n"
        time.sleep(later)
        process.send_signal(signal.SIGKILL)
        lines = process.communicate()[0].splitlines()[:-1]
        with sqlite3.connect(path) as db:
            assert db.execute("pragma integrity_check").fetchone() == ("ok",)
            assert db.execute("pragma foreign_key_check").fetchall() == []
        db.close()
        material = Material(path)
        acknowledged += len(lines)
        for name, times in (line.split() for line in lines):
            assert material.asked.get(name).times >= int(times), "what was acknowledged is there"
        for one in material.asked.find()[0]:
            cited = one.answer.citations if one.answer else ()
            assert all(material.document(place.source).text[:2] == place.quote for place in cited)
        material.close()
    assert acknowledged > 5
