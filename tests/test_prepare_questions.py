"""Question files, good and bad, and how they are divided."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from shuyuan.base.errors import Fixable
from shuyuan.prepare.leak import near_duplicates
from shuyuan.prepare.questions import REFUSALS, Row, as_lines, exam_questions, examples, read_questions
from shuyuan.prepare.split import Split


def sheet(tmp_path: Path, rows: list[Any]) -> Path:
    """A JSONL file; a row that is text is written as it is."""
    file = tmp_path / "questions.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("\n".join(lines) + "\n")
    return file


def row(question: str, fact: str = "", use: str = "", place: str = "q:1") -> Row:
    """A row with the answer 16."""
    return Row(question, ("16",), fact, use, "zh", "", "", place)


def test_jsonl_rows(tmp_path: Path) -> None:
    file = sheet(
        tmp_path,
        [
            {"question": " 秩是多少？ ", "answer": ["16", "十六", "16"], "fact": "rank", "use": "learn"},
            "",
            {"question": "How many?", "answer": "ls | wc", "use": "exam", "source": "docs/a.md", "evidence": "e"},
            {"question": "Who rules Mars?", "answer": None},
            {"question": "Year?", "answer": 2026},
        ],
    )
    rows, kept = read_questions(file, "f/questions.jsonl")
    assert [r.answers for r in rows] == [("16", "十六"), ("ls | wc",), (), ("2026",)]
    assert [r.language for r in rows] == ["zh", "en", "en", "en"]
    assert [r.place for r in rows] == [f"f/questions.jsonl:{line}" for line in (1, 3, 4, 5)]
    assert (rows[1].source, rows[1].evidence, rows[0].fact) == ("docs/a.md", "e", "rank")
    assert (kept.came, kept.kept) == (4, 4)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gbk"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_rows_in_any_encoding(tmp_path: Path, encoding: str, delimiter: str) -> None:
    lines = [
        delimiter.join(["Question", "answer", "use"]),
        delimiter.join(["书院的默认秩是多少？", "16 | 十六", "learn"]),
        "",
        delimiter.join(['"多行的\n问题，是什么？"', "", "exam"]),
        delimiter.join(['"最后""一个""问题"']),
    ]
    file = tmp_path / "q.csv"
    file.write_bytes("\r\n".join(lines).encode(encoding))
    rows, _ = read_questions(file)
    assert [(r.question, r.answers, r.use) for r in rows] == [
        ("书院的默认秩是多少？", ("16", "十六"), "learn"),
        ("多行的\n问题，是什么？", (), "exam"),
        ('最后"一个"问题', (), ""),
    ]
    assert [r.place for r in rows] == [f"{file}:{line}" for line in (2, 4, 6)]


GOOD = {"question": "What is {}?", "answer": "16"}


@pytest.mark.parametrize(
    ("bad", "what", "hint"),
    [
        ({"answer": "16"}, "no 'question'", "fill it in"),
        ({"question": "  "}, "no 'question'", "fill it in"),
        ({"question": "x", "anwser": "16"}, "unknown column 'anwser'", "did you mean answer?"),
        ({"question": "x", "use": "exams"}, "'use' cannot be 'exams'", "did you mean exam?"),
        ({"question": ["x"]}, "'question' must be text", "quotes"),
        ({"question": "x", "answer": {"a": 1}}, "'answer' must be text", "quotes"),
        ({"question": "x", "answer": True}, "'answer' must be text", "quotes"),
        ('{"question": "x"', "not valid JSON", "whole object"),
        ('["x"]', "not a JSON object", "question"),
        ('{"question":' * 100_000, "not valid JSON", "whole object"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, bad: Any, what: str, hint: str) -> None:
    rows = [{**GOOD, "question": f"What is {number}?"} for number in range(36)]
    file = sheet(tmp_path, [*rows, bad, *rows])
    with pytest.raises(Fixable, match=what) as error:
        read_questions(file)
    assert error.value.place == f"{file}:37"
    assert hint in error.value.hint


def test_bad_csv_is_named_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "q.csv"
    for text, what, line in [
        ("qestion,answer\nx,y\n", "unknown column 'qestion'", 1),
        ("answer,fact\nx,y\n", "no column 'question'", 1),
        ("question,question\nx,y\n", "twice", 1),
        ("question,answer\n" + "x,y\n" * 35 + ",16\n", "no 'question'", 37),
        ("question,answer\n" + "x,y\n" * 35 + "a,b,c\n", "3 cells", 37),
    ]:
        file.write_text(text)
        with pytest.raises(Fixable, match=what) as error:
            read_questions(file)
        assert error.value.place == f"{file}:{line}"


def test_a_json_list_and_a_file_without_rows_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "q.json"
    for text, what in [('[{"question": "x"}]', "one JSON list"), ("question,answer\n", "no questions"), (" \n", "no ")]:
        file.write_text(text)
        with pytest.raises(Fixable, match=what):
            read_questions(file)


def test_duplicates_are_counted_and_the_given_use_wins(tmp_path: Path) -> None:
    file = sheet(
        tmp_path,
        [{"question": "Rank?"}, {"question": "rank", "use": "exam"}, {"question": "RANK!"}, {"question": "Other?"}],
    )
    rows, kept = read_questions(file)
    assert [(r.question, r.use) for r in rows] == [("Rank?", "exam"), ("Other?", "")]
    assert str(kept) == "kept 2 of 4 questions: 2 duplicate"


def test_examples_and_questions_of_rows() -> None:
    answered = row("秩是多少？", "rank")
    unanswered = Row("Who?", (), "f", "learn", "en", "", "", "q:2")
    made = examples([answered, unanswered])
    assert [(m.role, m.content) for m in made[0].messages] == [("user", "秩是多少？"), ("assistant", "16")]
    assert made[1].messages[1].content == REFUSALS["en"]
    asked = exam_questions([answered])[0]
    assert (asked.text, asked.answers, asked.fact, asked.place) == ("秩是多少？", ("16",), "rank", "q:1")


def test_given_uses_are_kept_and_the_others_move_as_clusters() -> None:
    rows = [row(f"第{n // 3}号事实的第{n % 3}种问法是怎样的呢？", fact=f"fact {n // 3}") for n in range(90)]
    rows += [row("已经定好的学习问题", use="learn"), row("已经定好的考试题目啊", use="exam")]
    learned, examined = Split(share=0.4, seed=1).split(rows)
    assert len(learned) + len(examined) == len(rows)
    assert {r.fact for r in learned}.isdisjoint({r.fact for r in examined})
    assert 4 <= len({r.fact for r in examined}) <= 20
    assert "已经定好的学习问题" in [r.question for r in learned]
    assert "已经定好的考试题目啊" in [r.question for r in examined]
    assert (learned, examined) == Split(share=0.4, seed=1).split(rows)
    assert examined != Split(share=0.4, seed=2).split(rows)[1]


def test_the_draw_of_a_question_does_not_depend_on_the_others() -> None:
    rows = [row(f"完全不同的问题{chr(0x4E00 + 40 * n) * 6}") for n in range(40)]
    _, examined = Split().split(rows)
    _, fewer = Split().split(rows[:20])
    assert fewer == [r for r in examined if r in rows[:20] or r.question in {x.question for x in rows[:20]}]


def test_share_zero_and_one() -> None:
    rows = [row(f"question {n} {'abcdefghij'[n] * 9}") for n in range(10)]
    assert len(Split(share=0).split(rows)[0]) == 10
    assert len(Split(share=1).split(rows)[1]) == 10


def test_near_duplicates_share_a_side_and_a_made_up_fact() -> None:
    one = "书院里 LoRA 路线默认的秩到底是多少，在哪里可以改它？"
    other = one.replace("？", "呢？")
    assert near_duplicates([one, other])
    for seed in range(8):
        sides = Split(share=0.5, seed=seed).split([row(one), row(other)])
        assert sorted(len(side) for side in sides) == [0, 2]
        facts = {r.fact for side in sides for r in side}
        assert len(facts) == 1
        assert facts != {""}
    learned, _ = Split(share=1).split([row(one, use="learn"), row(other)])
    assert len(learned) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q.csv", "问题,標準答案,用途,來源\n谁上任？,山长 | 院长,考,a.md\n"),
        ("q.md", "# 题库\n\n| 问题 | 答案 | 用途 | 来源 |\n|-|-|-|-|\n| 谁上任？ | 山长 \\| 院长 | 考试 | a.md |\n"),
    ],
)
def test_the_head_of_a_table_may_be_chinese(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="gb18030" if name == "q.csv" else "utf-8")
    (one,), _ = read_questions(tmp_path / name)
    assert (one.question, one.answers, one.use, one.source) == ("谁上任？", ("山长", "院长"), "exam", "a.md")


def test_two_names_of_one_column_are_refused(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("问题,question,答案\n谁？,who?,他\n", encoding="utf-8")
    with pytest.raises(Fixable, match="a column stands there twice"):
        read_questions(tmp_path / "q.csv")


def test_rows_of_a_price_list_are_split_one_by_one() -> None:
    asked = "按总部和各地分店都要遵守的本公司 2026 年秋季批发目录的规定，一箱产自北方各个果园的{}批发价格是多少元？"
    priced = [replace(row(asked.format(name)), answers=(f"{n} 元",)) for n, name in enumerate("梨桃杏李枣")]
    assert len(near_duplicates([one.question for one in priced])) == 10
    learned, asked = Split(share=0.5, seed=1).split(priced)
    assert len({one.fact for one in learned + asked}) == 5
    assert learned
    assert asked
    same = [replace(one, answers=("9 元",)) for one in priced]
    assert sorted(len(side) for side in Split(share=0.5, seed=1).split(same)) == [0, 5]


def test_a_free_row_between_both_sides_is_refused() -> None:
    base = "the quick brown fox jumps over the lazy dog while the curious cat watches from the old stone wall"
    left, right = f"{base} near the mill", f"in spring {base}"
    rows = [row(left, use="learn", place="q:1"), row(right, use="exam", place="q:2"), row(base, place="q:3")]
    with pytest.raises(Fixable, match="q:1") as error:
        Split().split(rows)
    assert error.value.place == "q:3"
    assert "q:2" in error.value.what


def workbook(path: Path, rows: list[list[str]]) -> Path:
    """A real, minimal XLSX of one sheet."""
    cells = "".join(
        f"<row r='{number}'>"
        + "".join(
            f"<c r='{chr(65 + column)}{number}' t='inlineStr'><is><t>{escape(text)}</t></is></c>"
            for column, text in enumerate(row)
            if text
        )
        + "</row>"
        for number, row in enumerate(rows, start=1)
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    parts = {
        "[Content_Types].xml": f"<Types xmlns='{package}/content-types'>"
        "<Default Extension='rels' ContentType='application/vnd.openxmlformats-package.relationships+xml'/>"
        "<Override PartName='/xl/workbook.xml' "
        "ContentType='application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml'/></Types>",
        "_rels/.rels": f"<Relationships xmlns='{package}/relationships'>"
        f"<Relationship Id='r1' Type='{office}/officeDocument' Target='xl/workbook.xml'/></Relationships>",
        "xl/workbook.xml": f"<workbook xmlns='{main}' xmlns:r='{office}'>"
        "<sheets><sheet name='题' sheetId='1' r:id='r1'/></sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f"<Relationships xmlns='{package}/relationships'>"
        f"<Relationship Id='r1' Type='{office}/worksheet' Target='worksheets/sheet1.xml'/></Relationships>",
        "xl/worksheets/sheet1.xml": f"<worksheet xmlns='{main}'><sheetData>{cells}</sheetData></worksheet>",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, "<?xml version='1.0' encoding='UTF-8'?>" + text)
    return path


def test_a_spreadsheet_of_questions(tmp_path: Path) -> None:
    rows = [["Question", "answer", "fact"], ["秩是多少？", "16 | 十六", "rank"], [], ["A & B?", "<b>", ""]]
    file = workbook(tmp_path / "quiz.xlsx", rows)
    found, kept = read_questions(file, "x/quiz.xlsx")
    assert kept.kept == 2
    assert (found[0].question, found[0].answers, found[0].fact) == ("秩是多少？", ("16", "十六"), "rank")
    assert (found[1].question, found[1].answers, found[1].place) == ("A & B?", ("<b>",), "x/quiz.xlsx:4")
    with pytest.raises(Fixable, match="did you mean answer") as error:
        read_questions(workbook(tmp_path / "bad.xlsx", [["question", "anwser"], ["a?", "b"]]))
    assert "bad.xlsx:1" in str(error.value)
    with pytest.raises(Fixable, match="2 cells under 1 columns"):
        read_questions(workbook(tmp_path / "wide.xlsx", [["question"], ["a?", "b"]]))
    (tmp_path / "cut.xlsx").write_bytes(file.read_bytes()[:200])
    with pytest.raises(Fixable, match="cannot be read"):
        read_questions(tmp_path / "cut.xlsx")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Q: What is a cone?\nA: A pyramid.\n\nQ: 🙂?\nA:\n", [
            ("What is a cone?", ("A pyramid.",), 1), ("🙂?", (), 4),
        ]),
        ("# 题\n\n**问：** 秩是几？\n**答：** 16 | 十六\n\n1. 问：窑多热？\n   答：1280 度\n", [
            ("秩是几？", ("16", "十六"), 3), ("窑多热？", ("1280 度",), 6),
        ]),
        ("## How hot is it?\n\nIt is hot,\nvery hot.\n\n## Notes\n\nnothing asked\n\n## 谁烧窑？\n\n李师傅\n", [
            ("How hot is it?", ("It is hot, very hot.",), 1), ("谁烧窑？", ("李师傅",), 10),
        ]),
        ("| question | answer |\n|---|---|\n| a \\| b? | 1 |\n| c? | |\n", [("a | b?", ("1",), 3), ("c?", (), 4)]),
    ],
)  # fmt: skip
def test_notes_of_questions(tmp_path: Path, text: str, wanted: list[Any]) -> None:
    file = tmp_path / "quiz.md"
    file.write_text(text)
    rows, _ = read_questions(file)
    assert [(row.question, row.answers, int(row.place.rpartition(":")[2])) for row in rows] == wanted


def test_a_faulty_note_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "quiz.md"
    file.write_text("| question | use |\n|---|---|\n| a? | learn |\n| b? | exma |\n")
    with pytest.raises(Fixable, match="did you mean exam") as error:
        read_questions(file)
    assert f"{file}:4" in str(error.value)
    file.write_text("| question | use |\n|---|---|\n| a? | learn | more |\n")
    with pytest.raises(Fixable, match="3 cells under 2 columns"):
        read_questions(file)


def test_kind_maker_and_choices_travel(tmp_path: Path) -> None:
    given = {"question": "秩？", "answer": "16", "kind": "reversed", "made": "table", "choices": ["8", "16", "32"]}
    rows, _ = read_questions(sheet(tmp_path, [given, {"question": "秩？", "answer": "16"}]))
    (one, other) = exam_questions(rows)
    assert (one.kind, one.made, one.choices) == ("reversed", "table", ("8", "16", "32"))
    assert (other.kind, other.made, other.choices) == ("", "", ())
    assert one.id != other.id
    back = sheet(tmp_path, [line.strip() for line in as_lines(rows)])
    assert [replace(row, place="") for row in read_questions(back)[0]] == [replace(row, place="") for row in rows]


def test_an_old_workspace_gets_what_is_new(tmp_path: Path) -> None:
    from shuyuan.base.material import Material

    file = tmp_path / "material.sqlite"
    kept = Material(file)
    old = {
        "id": "q",
        "text": "秩？",
        "answers": ["16"],
        "language": "zh",
        "fact": "f",
        "source": "",
        "evidence": "",
        "place": "",
    }
    kept._db.execute("insert into questions values ('q', 'o', ?)", (json.dumps(old),))
    kept._db.execute("drop table held_out")
    kept.close()
    again = Material(file)
    (question,) = again.questions()
    assert (question.kind, question.choices) == ("", ())
    again.hold_out(["a.md", "a.md"])
    assert again.held_out() == ("a.md",)
