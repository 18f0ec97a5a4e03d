"""Questions made from documents: every maker, every gate, both languages, hostile text; and a draft that comes back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Answer, Conversation, Document, Passage
from shuyuan.base.workspace import Workspace
from shuyuan.cli.main import main
from shuyuan.examine.drafting import Draft, draft
from shuyuan.examine.teacher import Teacher, is_address
from shuyuan.prepare.adding import add
from shuyuan.prepare.asking import WORKED, judged, written
from shuyuan.prepare.blocks import blocks, plain, sentences
from shuyuan.prepare.chunk import Chunk
from shuyuan.prepare.distract import swapped, with_choices
from shuyuan.prepare.gates import gated, gives_away
from shuyuan.prepare.making import Item, items
from shuyuan.prepare.normal import normal, units
from shuyuan.prepare.questions import read_questions
from shuyuan.prepare.quiz import Quiz
from shuyuan.prepare.spans import spans
from shuyuan.read.formats import make_document
from shuyuan.read.markdown import find_headings
from shuyuan.recall.leaks import refuse_leaks

ZH = """# 窑炉手册

## 烧成

**还原焰**是指窑内氧气不足时的火焰。釉料入窑之前要过筛 3 遍，否则表面会有颗粒。
本窑的最高温度是 1280 度，由李师傅在 2019 年测定。升温到 600 度以前，每小时不能超过 90 度。

- 素烧：900 度
- 釉烧：1280 度
- 保温：20 分钟

| 釉料 | 温度 | 颜色 |
|---|---|---|
| 青釉 | 1260 | 淡青 |
| 黑釉 | 1280 | 乌黑 |
| 白釉 | 1240 | 乳白 |
| 红釉 | 1300 | 朱红 |

## 步骤

1. 清理窑膛。
2. 装入坯件。
3. 关闭窑门。

它要过筛 5 遍。下面的表列出 7 种釉料。
"""
EN = """# Kiln handbook

## Firing

A pyrometric cone is a small pyramid of clay that bends at a known temperature. The log is kept in `kiln.log`.
The small kiln holds at most 24 bowls on two shelves. The first kiln of the house was lit by Ada Brown.

- Bisque: 900 degrees
- Glaze: 1280 degrees

| glaze | heat | colour |
|---|---|---|
| celadon | 1260 | pale green |
| tenmoku | 1280 | deep black |
| shino | 1240 | milk white |
| copper | 1300 | ox blood |

```
the code says 42 times
```

It holds 99 plates. The following list has 12 entries.
"""


def document(text: str, name: str) -> Document:
    return make_document(Path(name), name, text.encode(), text, headings=find_headings(text))


DOCUMENTS = (document(ZH, "窑.md"), document(EN, "kiln.md"))
PASSAGES = tuple(passage for one in DOCUMENTS for passage in Chunk(characters=120).chunk(one))


def finds(words: str, k: int) -> Sequence[str]:
    """The passages that share the most words."""
    asked = set(units(words))
    shared = {passage.id: len(asked & set(units(passage.text))) for passage in PASSAGES}
    return sorted(shared, key=lambda name: -shared[name])[:k]


def made(**chosen: object) -> list[Item]:
    return list(Quiz(count=500, **chosen).make(DOCUMENTS, PASSAGES, finds).items)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("question", "answer", "kind"),
    [
        ("根据“窑炉手册, 烧成”：釉料入窑之前要过筛多少遍，否则表面会有颗粒？", "3", ""),
        ("According to “Kiln handbook, Firing”: The small kiln holds at most how many bowls on two shelves?", "24", ""),
        ("Fill in the blank (from “Kiln handbook, Firing”): The log is kept in ____.", "kiln.log", ""),
        (
            "Fill in the blank (from “Kiln handbook, Firing”): The first kiln of the house was lit by ____.",
            "Ada Brown",
            "",
        ),
        ("“窑炉手册, 烧成”的表里，黑釉 的“温度”是什么？", "1280", ""),
        ("In the table of “Kiln handbook, Firing”, which glaze has “ox blood” under “colour”?", "copper", "reversed"),
        ("“窑炉手册, 烧成”里，“素烧”是什么？", "900 度", ""),
        ("In “Kiln handbook, Firing”, what is given for “Glaze”?", "1280 degrees", ""),
        ("“窑炉手册, 步骤”的第 2 步是什么？", "装入坯件", ""),
        ("还原焰是什么？", "窑内氧气不足时的火焰", ""),
        ("“窑炉手册, 烧成”里，什么的意思是“窑内氧气不足时的火焰”？", "还原焰", "reversed"),
    ],
)
def test_each_maker_makes_what_a_person_would_ask(question: str, answer: str, kind: str) -> None:
    found = {item.text: item for item in items(DOCUMENTS)}
    assert question in found, sorted(found)
    assert found[question].answers[0] == answer
    assert found[question].kind == kind


def test_every_answer_is_a_span_of_its_document_and_not_in_its_question() -> None:
    found = made(unanswerable=0.0)
    assert len(found) > 40
    assert {item.language for item in found} == {"zh", "en"}
    for item in found:
        assert plain(item.document.text[item.start : item.end]) == item.answers[0]
        assert "".join(item.evidence.split()) in "".join(item.document.text.split())
        assert item.kind in ("choice", "two-passage") or not gives_away(item.text, item.answers), item.text
    assert len({normal(item.text) + str(item.choices) for item in found}) == len(found)


def test_the_gates_count_what_they_refuse() -> None:
    every = list(items(DOCUMENTS))
    kept, counts = gated(every, PASSAGES, finds)
    assert counts.came == len(every) == counts.kept + sum(counts.dropped.values())
    assert counts.kept == len(kept)
    assert counts.dropped["leans on another sentence"] >= 3
    texts = " ".join(item.text for item in kept)
    assert not any(word in texts for word in ("99", "过筛多少遍。", "多少种釉料", "12 entries", "42 times"))
    assert "leans on another sentence" in str(counts)


def test_a_question_that_another_sentence_answers_too_is_refused() -> None:
    said = "The small kiln of the house holds at most {} bowls.\n"
    text = f"# A\n\n{said.format(24)}\n# B\n\n{said.format(36)}"
    twice = document(text, "twice.md")
    cut = [
        Passage("a", twice.id, twice.source, 0, text.index("# B"), text[: text.index("# B")]),
        Passage("b", twice.id, twice.source, text.index("# B"), len(text), text[text.index("# B") :]),
    ]
    _, counts = gated(list(items([twice], ["cloze"])), cut, lambda words, k: ["a", "b"])
    assert counts.dropped == {"another sentence says the same": 2}
    single = document(text[: text.index("# B")], "once.md")
    kept, _ = gated(list(items([single], ["cloze"])), Chunk().chunk(single), lambda words, k: [])
    assert kept == []  # a search for its own words does not find it


def test_choices_are_alike_and_the_right_one_stands_at_every_place() -> None:
    twins = with_choices(gated(list(items(DOCUMENTS)), PASSAGES, finds)[0])
    places = [twin.choices.index(twin.answers[0]) for twin in twins]
    assert len(twins) >= 4
    assert max(places.count(at) for at in range(4)) - min(places.count(at) for at in range(4)) <= len(twins) // 2
    for twin in twins:
        assert len(set(map(normal, twin.choices))) == 4
        assert all(choice not in twin.evidence for choice in twin.choices if choice != twin.answers[0])
        digits = {any(character.isdigit() for character in choice) for choice in twin.choices}
        assert len(digits) == 1, twin.choices


def test_swapped_questions_have_no_answer_anywhere() -> None:
    text = EN + "\n## Tools\n\n| glaze | brush |\n|---|---|\n| mason | soft |\n| slip | wide |\n"
    one = document(text, "tools.md")
    cut = Chunk(characters=300).chunk(one)
    kept, _ = gated(list(items([one])), cut, lambda words, k: [passage.id for passage in cut])
    none = list(swapped(kept, cut))
    assert none
    for item in none:
        assert item.answers == ()
        assert item.kind == "unanswerable"
    asked = {item.text for item in none}
    assert any("“heat” of mason" in text or "“colour” of mason" in text or "of slip" in text for text in asked), asked


def test_numbers_dates_names_and_terms_in_both_languages() -> None:
    def found(text: str) -> list[tuple[str, str, str]]:
        return [(span.kind, span.text, span.unit) for span in spans(text)]

    assert found("用《论语》和 LoRA 教 16 轮，2023年3月5日写 `done.json`。") == [
        ("name", "论语", ""), ("term", "LoRA", ""), ("number", "16", "轮"), ("date", "2023年3月5日", ""),
        ("term", "done.json", ""),
    ]  # fmt: skip
    assert found("It needs 1,024.50 MB, said Ada Brown in 2019.") == [
        ("number", "1,024.50", "MB"), ("name", "Ada Brown", ""), ("date", "2019", ""),
    ]  # fmt: skip
    assert found("bf16 is 2x, x=3, at 10:30, v1.2, qwen2.5") == []
    assert found("书院的人都来了") == []  # without marks no Chinese name is guessed


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="窑炉是 3个年。，；|-#*`\n()（）“”aB1.:🙂\u3000", max_size=200))
def test_hostile_text_makes_no_broken_question(text: str) -> None:
    if not text.strip():
        return
    one = document(text, "x.md")
    for block in blocks(one):
        assert one.text[block.start : block.end].strip()
        for start, end in sentences(one, block):
            assert block.start <= start < end <= block.end
    cut = Chunk().chunk(one)
    kept, counts = gated(list(items([one])), cut, lambda words, k: [passage.id for passage in cut])
    assert counts.came == counts.kept + sum(counts.dropped.values())
    for item in kept:
        assert plain(one.text[item.start : item.end]) == item.answers[0]


class Pupil:
    """Answers from a book of prompts; what is not in it, with nothing."""

    name = "pupil"

    def __init__(self, book: dict[str, str]) -> None:
        self.book = book

    def answer(self, conversations: Sequence[Conversation]) -> list[Answer]:
        asked = [conversation[-1].content for conversation in conversations]
        return [Answer(next((reply for part, reply in self.book.items() if part in text), "")) for text in asked]


def test_a_model_writes_questions_and_weak_replies_are_counted() -> None:
    book = {
        "釉料入窑": "问：釉料要过筛几遍？\n答：3 遍",
        "清理窑膛": "好的，这是一道题。",
        "pyrometric": "Q: What bends at a known temperature?\nA: A pyrometric cone",
        "holds at most": "Q: 小窑装多少只碗？\nA: 24",
        "celadon": "Q: Which glaze is green?\nA: jade",
    }
    found, kept = written(Pupil(book), PASSAGES, DOCUMENTS)  # type: ignore[arg-type]
    assert {item.text for item in found} == {"釉料要过筛几遍？", "What bends at a known temperature?"}
    assert all(plain(item.document.text[item.start : item.end]) == item.answers[0] for item in found)
    assert "not in two lines" in kept.dropped
    assert kept.came == kept.kept + sum(kept.dropped.values())


@pytest.mark.parametrize("spoken", ["zh", "en"])
def test_the_worked_questions_keep_the_rules_they_show(spoken: str) -> None:
    shown = WORKED[spoken]
    documents = [Document(f"d{n}", f"{n}.md", f"{n}", text, "0", spoken) for n, (text, _) in enumerate(shown)]
    passages = [Passage(f"p{n}", d.id, d.source, 0, len(d.text), d.text) for n, d in enumerate(documents)]
    found, kept = written(Pupil(dict(shown)), passages, documents)  # type: ignore[arg-type]
    assert [item.document for item in found] == documents
    assert not kept.dropped


def test_the_judge_keeps_what_needs_the_passage() -> None:
    known, needed, lost = made(choices=0.0, unanswerable=0.0)[:3]
    book = {f"Material:\n{'x' * 99}": "", known.text: known.answers[0]}
    pupil = Pupil(book)

    def right(reply: str, item: Item) -> bool:
        return reply == item.answers[0]

    def answer(conversations: Sequence[Conversation]) -> list[Answer]:
        said = []
        for conversation in conversations:
            text = conversation[-1].content
            opened = text.startswith(("资料：", "Material:"))
            item = next(one for one in (known, needed, lost) if one.text in text)
            said.append(Answer(item.answers[0] if item is known or (opened and item is needed) else "?"))
        return said

    pupil.answer = answer  # type: ignore[method-assign]
    kept, counts = judged(pupil, [known, needed, lost], PASSAGES, right)  # type: ignore[arg-type]
    assert kept == [needed]
    assert counts.dropped == {"known without the documents": 1, "not answered from its passage": 1}


@pytest.fixture
def school(workspace: Workspace, tmp_path: Path) -> Workspace:
    folder = tmp_path / "books"
    folder.mkdir()
    (folder / "窑.md").write_text(ZH)
    (folder / "kiln.md").write_text(EN)
    add(workspace, [folder])
    return workspace


def test_a_draft_is_edited_and_comes_back(school: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "quiz.jsonl"
    found = draft(school, out, Quiz(count=30))
    assert isinstance(found, Draft)
    assert len(found.rows) >= 20
    rows, kept = read_questions(out)
    assert kept.kept == len(rows) == len(found.rows)
    assert {row.made for row in rows} >= {"table", "cloze"}
    with pytest.raises(Fixable, match="there already"):
        draft(school, out)
    lines = out.read_text().splitlines()
    edited = [json.dumps({**json.loads(lines[0]), "question": "多少？"}, ensure_ascii=False), *lines[1:]]
    out.write_text("\n".join(edited) + "\n")
    added = add(school, [], questions=[out])
    assert added.questions == len(found.rows)
    kept_question = next(q for q in school.material.questions() if q.text == "多少？")
    assert kept_question.made
    again = draft(school, tmp_path / "more.jsonl", Quiz(count=30))
    assert not {row.question for row in again.rows if not row.choices} & {q.text for q in school.material.questions()}


def test_a_bad_edit_names_file_and_line(school: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "quiz.jsonl"
    draft(school, out, Quiz(count=10))
    lines = out.read_text().splitlines()
    for bad, why in (
        ({"kind": "revresed"}, "did you mean reversed"),
        ({"choices": ["1", "2"]}, "exactly one of 'choices'"),
        ({"choices": ["3"]}, "at least two"),
        ({"answer": {"a": 1}}, "'answer' must be"),
    ):
        wrong = json.dumps({**json.loads(lines[4]), **bad}, ensure_ascii=False)
        out.write_text("\n".join([*lines[:4], wrong, *lines[5:]]) + "\n")
        with pytest.raises(Fixable) as error:
            add(school, [], questions=[out])
        assert f"{out}:5" in str(error.value)
        assert why in str(error.value)
    assert school.material.questions() == ()


def test_the_same_draft_for_the_same_seed(school: Workspace, tmp_path: Path) -> None:
    one, other = (draft(school, tmp_path / f"{n}.jsonl", Quiz(count=15, seed=4)) for n in (1, 2))
    third = draft(school, tmp_path / "3.jsonl", Quiz(count=15, seed=5))
    assert one.paper == other.paper != third.paper


def test_held_out_documents_are_looked_up_and_not_learned(school: Workspace, tmp_path: Path) -> None:
    for seed in range(9):  # one document of the two, in one of these
        try:
            found = draft(school, tmp_path / f"h{seed}.jsonl", Quiz(count=10, seed=seed), hold_out=0.5)
        except Fixable:
            continue
        break
    (held,) = found.held_out
    lessons = school.material.lessons()
    assert held not in {one.source for one in lessons.documents}
    assert held in {passage.source for passage in lessons.passages}
    row = {"question": "谁点的火？", "answer": "李师傅", "use": "learn", "source": held}
    (tmp_path / "learn.jsonl").write_text(json.dumps(row, ensure_ascii=False))
    with pytest.raises(Fixable, match="held out"):
        add(school, [], questions=[tmp_path / "learn.jsonl"])


def test_a_share_goes_to_the_lessons_without_giving_the_exam_away(school: Workspace, tmp_path: Path) -> None:
    found = draft(school, tmp_path / "quiz.jsonl", Quiz(count=24), share=0.5)
    uses = [row.use for row in found.rows]
    assert set(uses) == {"learn", "exam"}
    facts = {use: {row.fact for row in found.rows if row.use == use} for use in ("learn", "exam")}
    assert not facts["learn"] & facts["exam"]
    add(school, [], questions=[tmp_path / "quiz.jsonl"])  # the leak check by words has nothing to say, nor by meaning:
    refuse_leaks(school, school.material.lessons().examples)


def test_absent_documents_give_questions_to_decline(school: Workspace, tmp_path: Path) -> None:
    other = tmp_path / "bees.md"
    other.write_text(
        "# Bees\n\nA healthy hive of the valley holds about 50,000 bees in summer.\n\n"
        "- Smoke: 3 puffs\n- Sugar: 2 kilos\n"
    )
    found = draft(school, tmp_path / "quiz.jsonl", Quiz(count=20), absent=[other])
    none = [row for row in found.rows if "hive" in row.question or "Bees" in row.question]
    assert none
    assert all(row.answers == () and row.source == "" for row in none)


def test_the_command_writes_the_file(school: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "q.jsonl"
    where = ["-w", str(school.folder)]
    assert main(["exam", "make", *where, "--out", str(out), "--count", "8"]) == 0
    assert "made from" in capsys.readouterr().out
    assert main(["exam", "make", *where, "--out", str(tmp_path / "r.jsonl"), "--makers", "tabel"]) == 1
    assert "did you mean table" in capsys.readouterr().err


def test_addresses_are_told_from_assistants() -> None:
    assert not is_address("bare")
    assert is_address("http://127.0.0.1:9/v1#tiny")
    with pytest.raises(Fixable, match="names no model"):
        is_address("http://127.0.0.1:9/v1")
    with pytest.raises(Fixable, match="gave no answer"):
        Teacher("http://127.0.0.1:9/v1#tiny").answer([()])
