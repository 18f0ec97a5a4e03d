"""The exam: small assistants that really answer sit real papers in a real workspace."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from shuyuan.base.errors import Fixable
from shuyuan.base.files import append_jsonl, read_json, read_jsonl, write_json
from shuyuan.base.material import File
from shuyuan.base.progress import width_of
from shuyuan.base.records import (
    GREEDY,
    Answer,
    Citation,
    Conversation,
    Decoding,
    Document,
    Example,
    Message,
    Passage,
    Question,
)
from shuyuan.base.shelf import choices, choose
from shuyuan.base.workspace import Workspace
from shuyuan.examine.exam import candidate, hold
from shuyuan.examine.forgetting import Forgetting
from shuyuan.examine.knowledge import Knowledge
from shuyuan.examine.page import disagreements
from shuyuan.examine.papers import USUAL, Paper, Text, pick
from shuyuan.examine.relevance import relevant_passages
from shuyuan.examine.report import html, markdown
from shuyuan.examine.results import BASE, BITS, MAIN, Exam, read_exam
from shuyuan.examine.sitting import Candidate, Cost, sit
from shuyuan.examine.tables import table
from shuyuan.examine.unanswerable import Unanswerable

PAPERS = (Knowledge(k=2), Unanswerable(), Forgetting(items=8))
GENERAL = {item.text: item for item in Forgetting().questions(())}


class LooksUp:
    """Knows some facts by heart, looks others up, and says so when it finds nothing; counts what it was asked."""

    def __init__(self, name: str, questions: Sequence[Question], knows: range, slow: float = 1.0) -> None:
        self._name, self.slow = name, slow
        self.book = {q.text: q for at, q in enumerate(questions) if at in knows}
        self.asked: list[str] = []

    @property
    def name(self) -> str:
        return self._name

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        return [self._one(conversation[-1].content) for conversation in conversations]

    def _one(self, text: str) -> Answer:
        self.asked.append(text)
        found = self.book.get(text) or (GENERAL.get(text) if self.slow > 1 else None)
        if found is None or not found.answers:
            return Answer("资料里没有答案。", refused=True, prompt_tokens=9, answer_tokens=5, seconds=self.slow)
        cited = (Citation("书.md", 0, 2, "<b>&", 3),)
        return Answer(f"是 {found.answers[0]}。", cited, ("p1", "p0"), False, False, 20, 4, self.slow)

    def nats(self, texts: Sequence[str]) -> list[float]:
        self.asked += texts
        return [self.slow * len(text.encode()) for text in texts]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace.create(tmp_path / "house")
    text = "\n".join(map(evidence, range(12)))
    document = Document("d", "书.md", "书", text, "0", "zh")
    cut = text.index("第6件")
    passages = [
        Passage("p0", "d", "书.md", 0, cut, text[:cut]),
        Passage("p1", "d", "书.md", cut, len(text), text[cut:]),
    ]
    workspace.material.put_document(File("书.md", "0", len(text), 0.0), document, passages)
    workspace.material.put_questions("q.jsonl", [], questions())
    return workspace


def evidence(n: int) -> str:
    return f"第{n}件事的数目是 {100 + n}。"


def questions() -> list[Question]:
    words = (("zh", "第{}件事的数目是几？"), ("en", "What is the count of thing {}?"))
    known = [
        Question(f"{n}-{language}", text.format(n), (f"{100 + n}",), language, f"fact{n}", "书.md", evidence(n))
        for n in range(12)
        for language, text in words
    ]
    return known + [Question(f"none{n}", f"第{n}件事是谁做的？", (), "zh", f"none{n}") for n in range(4)]


def people() -> list[LooksUp]:
    everything = questions()
    return [
        LooksUp("bare", everything, range(2)),
        LooksUp("lora", everything, range(12), slow=1.5),
        LooksUp("retrieve", everything, range(24)),
    ]


def seated(assistants: Sequence[LooksUp]) -> list[Candidate]:
    return [seat(assistant) for assistant in assistants]


def seat(assistant: LooksUp) -> Candidate:
    cost = Cost(60, 100, 10**9, 5000, ("lora",)) if assistant.name == "lora" else Cost()
    return Candidate(assistant.name, f"key of {assistant.name}", lambda: assistant, cost)


def held(workspace: Workspace, assistants: Sequence[LooksUp], name: str = "exam") -> Exam:
    return hold(workspace, seated(assistants), PAPERS, name)


def test_scores_are_what_the_answers_deserve(workspace: Workspace) -> None:
    found = held(workspace, people())
    assert [sheet.name for sheet in found.sheets] == ["retrieve", "lora", "bare"]
    retrieve, lora, bare = found.sheets
    assert [sheet.value(MAIN) for sheet in found.sheets] == [1.0, 0.5, pytest.approx(2 / 24)]
    assert retrieve.value("unanswerable/refusal-recall") == 1.0
    assert retrieve.value("unanswerable/refusal-precision") == 1.0
    assert lora.value("unanswerable/refusal-precision") == pytest.approx(4 / 16)
    assert retrieve.value("knowledge/exact-match") == 0.0
    assert retrieve.value("knowledge/recall-at-k") == 1.0
    assert lora.value("knowledge/seconds") == 1.5
    assert lora.value("forgetting/accuracy") == 1.0
    assert lora.changes["forgetting/accuracy"].value == 1.0
    assert lora.changes[BITS].value == pytest.approx(0.5 / 0.6931, abs=1e-3)
    assert bare.changes[BITS].value == 0.0
    assert set(retrieve.by_language) == {"en", "zh"}
    assert found.verdict.winner == "retrieve"
    assert lora.cost.seconds == 60
    assert all(score.signature for sheet in found.sheets for score in sheet.scores.values())
    assert found.facts_about["with_evidence"] == 24


def test_neither_order_nor_a_second_sitting_changes_a_byte(workspace: Workspace) -> None:
    file = held(workspace, people(), "one").folder / "scores.json"
    other = held(workspace, people()[::-1], "two").folder / "scores.json"
    same = file.read_text(encoding="utf-8")
    assert other.read_text(encoding="utf-8").replace('"two"', '"one"') == same
    again = people()
    held(workspace, again, "one")
    assert file.read_text(encoding="utf-8") == same
    assert [assistant.asked for assistant in again] == [[], [], []]
    record = json.loads(same)
    assert {"version", "seed", "settings", "paper"} <= set(record)


def test_identical_assistants_tie(workspace: Workspace) -> None:
    twins = [LooksUp(name, questions(), range(20)) for name in ("a", "b")]
    found = held(workspace, twins)
    assert found.verdict.winner == ""
    assert found.verdict.leaders == ("a", "b")
    assert found.sheets[0].scores == found.sheets[1].scores
    assert disagreements(found) == []
    assert "No clear winner" in table(found)


def test_a_killed_sitting_goes_on_and_a_new_assistant_is_asked_anew(tmp_path: Path) -> None:
    asked = questions()
    file = tmp_path / "answers.jsonl"
    first = LooksUp("a", asked, range(24))
    whole = sit(seat(first), asked, (), file, batch=3)
    rows = file.read_bytes().splitlines(keepends=True)
    half = rows[5][: rows[5].index("资料".encode()) + 1 if "资料".encode() in rows[5] else -9]
    file.write_bytes(b"".join(rows[:5]) + half)
    second = LooksUp("a", asked, range(24))
    assert sit(seat(second), asked, (), file, batch=3) == whole
    assert second.asked == [question.text for question in asked[5:]]
    reworded = [replace(asked[0], text="另问：第0件事的数目？"), *asked[1:]]
    third = LooksUp("a", reworded, range(24))
    sit(seat(third), reworded, (), file)
    assert third.asked == [reworded[0].text]
    taught_again = LooksUp("a", asked, range(24))
    sit(replace(seat(taught_again), key="other"), asked, (), file)
    assert len(taught_again.asked) == len(asked)


def test_kill_minus_nine_loses_only_the_batch_at_hand(tmp_path: Path) -> None:
    script = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import test_examine as t
class Dies(t.LooksUp):
    def answer(self, conversations, decoding=t.GREEDY):
        if len(self.asked) >= 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(conversations, decoding)
t.sit(t.seat(Dies("a", t.questions(), range(24))), t.questions(), (), Path(sys.argv[1]), batch=3)
"""
    file = tmp_path / "answers.jsonl"
    command = [sys.executable, "-c", script, str(file), str(Path(__file__).parent)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -9
    assert len(read_jsonl(file)) == 9
    after = LooksUp("a", questions(), range(24))
    sit(seat(after), questions(), (), file, batch=3)
    assert after.asked == [question.text for question in questions()[9:]]


def test_texts_are_measured_once_for_those_of_the_same_weights(workspace: Workspace, tmp_path: Path) -> None:
    texts = [Text(f"t{n}", "en", length * "a") for n, length in enumerate((10, 20, 5000, 30))]
    bare, _, books = people()
    file = tmp_path / "bare.jsonl"
    nats = sit(seat(bare), (), texts, file).nats
    assert bare.asked == [text.text for text in texts]
    assert sit(seat(books), (), texts, tmp_path / "books.jsonl", alike={seat(bare).key: file}).nats == nats
    assert sit(seat(books), (), texts, tmp_path / "books.jsonl").nats == nats, "its file is whole"
    assert books.asked == []
    seats = [replace(seat(one), weights=one.name.removeprefix("retrieve") or "bare") for one in people()]
    general = {text.text for text in PAPERS[2].texts()}
    hold(workspace, seats, PAPERS, "exam")
    read = [general.intersection(one.open().asked) for one in seats]
    assert read == [general, general, set()]


def test_a_library_and_a_prompt_leave_the_weights_alone(workspace: Workspace) -> None:
    for name, route, on in (
        ("prompt", "prompt", BASE),
        ("lora", "lora", BASE),
        ("lora+prompt", "prompt", "lora"),
        ("gone", "of-another-package", BASE),
    ):
        run = workspace.run(name)
        run.folder.mkdir(parents=True)
        done = {"route": route, "on": on, "settings": {}, "seed": 0, "fingerprint": name}
        write_json(run.folder / "done.json", done)
    weights = {name: candidate(workspace, name).weights for name in (BASE, "prompt", "lora", "lora+prompt", "gone")}
    assert weights[BASE] == weights["prompt"] != weights["lora"] == weights["lora+prompt"]
    assert weights["gone"] not in {weights[BASE], weights["lora"]}, "who knows what it changed"
    assert len({candidate(workspace, name).key for name in weights}) == 5


def test_a_subset_is_seeded_stratified_and_keeps_facts_whole() -> None:
    everything = questions()
    some = pick(everything, 14, seed=3)
    assert some == pick(everything[::-1], 14, seed=3)[::-1]
    assert len(some) == 14
    assert sum(not q.answers for q in some) == 2
    assert sum(q.language == "en" for q in some) == 6
    assert pick(everything, 14, seed=4) != some
    assert pick(everything, 0) == pick(everything, 999) == tuple(everything)
    wordings = [replace(q, id=f"{q.id}{w}") for q in everything[:24:2] for w in "abc"]
    facts = [q.fact for q in pick(wordings, 9)]
    assert sorted(facts.count(fact) for fact in set(facts)) == [3, 3, 3]


def test_evidence_is_found_by_overlap() -> None:
    text = "甲乙丙。One  two\nthree. 丁戊己。"
    document = Document("d", "a.md", "", text, "0", "zh")
    cuts = [(0, 5), (3, 14), (13, len(text))]
    passages = [Passage(f"p{n}", "d", "a.md", start, end, text[start:end]) for n, (start, end) in enumerate(cuts)]

    def relevant(evidence: str, source: str = "a.md") -> tuple[str, ...]:
        question = Question("q", "?", ("x",), "zh", "f", source, evidence)
        return tuple(relevant_passages([question], [document], passages).get("q", ()))

    assert relevant("甲乙丙。") == ("p0",)
    assert relevant("One two three.") == ("p1",)
    assert relevant("丁戊己。") == ("p2",)
    assert relevant("not there") == relevant("") == relevant("甲乙丙。", "b.md") == ()


def test_leaked_questions_stop_the_exam(workspace: Workspace) -> None:
    leaked = (Message("user", questions()[0].text), Message("assistant", "100"))
    workspace.material.put_questions("learn.jsonl", [Example("e", leaked, "fact0", "learn.jsonl:1")], [])
    with pytest.raises(Fixable, match="lessons"):
        held(workspace, people())


def test_what_cannot_be_examined_is_said(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(Fixable, match="there is no assistant 'brae'") as unknown:
        candidate(workspace, "brae")
    assert "did you mean bare" in unknown.value.hint
    with pytest.raises(Fixable, match="no exam questions"):
        held(Workspace.create(tmp_path / "empty"), people())
    with pytest.raises(Fixable, match="no finished exam"):
        read_exam(workspace.exam("never"))


def test_the_cost_of_a_chain_is_summed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"route": "lora", "seconds": 60, "cpu_seconds": 100, "peak_bytes": 5, "trained_tokens": 7, "on": "bare"}
    for name, done in {
        "lora": made,
        "lora+retrieve": {**made, "route": "retrieve", "peak_bytes": 9, "on": "lora"},
    }.items():
        done |= {"settings": {}, "seed": 0, "fingerprint": name}
        folder = workspace.run(name).folder
        folder.mkdir(parents=True)
        (folder / "done.json").write_text(json.dumps(done), encoding="utf-8")
    both = candidate(workspace, "lora+retrieve")
    assert both.cost == Cost(120, 200, 9, 14, ("lora", "retrieve"))
    assert candidate(workspace, "bare").cost == Cost()
    assert len({candidate(workspace, name).key for name in ("bare", "lora", "lora+retrieve")}) == 3
    monkeypatch.setattr("shuyuan.examine.exam.__version__", "another")  # what it answered is asked anew
    assert candidate(workspace, "lora+retrieve").key != both.key


def test_the_general_material_is_sound() -> None:
    items = Forgetting().questions(())
    assert len(items) == 80
    assert len({item.text for item in items}) == len({item.id for item in items}) == 80
    accuracy = choose("measure", "accuracy")()
    assert all(accuracy.measure(Answer(gold), item) == 1 for item in items for gold in item.answers)
    assert all(accuracy.measure(Answer(item.text), item) == 0 for item in items), "parroting"
    for language, most_odd in (("en", 0.0), ("zh", 0.02)):
        prose = "".join(text.text for text in Forgetting().texts() if text.language == language)
        assert len(prose) > 2400
        ascii_letters = sum(char.isascii() and char.isalpha() for char in prose) / len(prose)
        assert ascii_letters > 0.7 if language == "en" else ascii_letters <= most_odd
    few = Forgetting(items=8).questions(())
    assert [item.language for item in few].count("zh") == 4


def test_every_paper_is_on_the_shelf_and_has_metrics() -> None:
    assert set(USUAL) == {"knowledge", "unanswerable", "forgetting"} < set(choices("examine"))
    for name in choices("examine"):
        paper = choose("examine", name)()
        assert paper.metrics() or type(paper).figures is not Paper.figures


def test_the_report_stands_alone_and_escapes_what_assistants_say(workspace: Workspace) -> None:
    found = held(workspace, people())
    page = (found.folder / "report.html").read_text(encoding="utf-8")
    for banned in ("<script", "http://", "https://", "url(", "@import", "<link", "<img", "src="):
        assert banned not in page, banned
    assert "&lt;b&gt;&amp;" in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert "<b>retrieve</b> answers best: 100\u00a0% of 24 questions right <i>(95 % interval" in page
    assert 'class="zh"' not in html(found, "en")
    assert "分歧最大的题" in html(found, "zh")
    assert "Scores" not in html(found, "zh")
    marked = (found.folder / "report.md").read_text(encoding="utf-8")
    assert markdown(found, "en") in marked
    assert markdown(found, "zh") in marked
    assert "| retrieve | 100 (" in marked


def test_a_lone_assistant_and_a_paper_without_answers_still_have_a_report(workspace: Workspace, tmp_path: Path) -> None:
    alone = held(workspace, people()[2:])
    assert "nothing to compare" in table(alone)
    assert html(alone)
    silent = Workspace.create(tmp_path / "silent")
    silent.material.put_questions("q.jsonl", [], [q for q in questions() if not q.answers])
    found = held(silent, people())
    assert "cannot say who answers best" in table(found)
    assert html(found)


def test_the_table_aligns_wide_characters(workspace: Workspace) -> None:
    assistants = [*people(), LooksUp("检索加微调", questions(), range(20))]
    for language in ("en", "zh"):
        lines = table(held(workspace, assistants, "wide"), language).split("\n\n")[0].splitlines()
        assert len({width_of(line) for line in lines}) == 1
    assert width_of("检索ab") == 6
    assert width_of("e\u0301") == 1


def test_a_log_cut_inside_a_character_is_mended(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    append_jsonl(log, [{"一": "二"}])
    log.write_bytes(log.read_bytes() + '{"三": "四'.encode()[:-1])
    assert read_jsonl(log) == [{"一": "二"}]
    append_jsonl(log, [{"五": "六"}])
    assert read_jsonl(log) == [{"一": "二"}, {"五": "六"}]


def test_paper_keeps_its_day_and_hash(workspace: Workspace) -> None:
    folder = held(workspace, people()).folder
    first = read_json(folder / "paper.json")
    held(workspace, people())
    assert read_json(folder / "paper.json") == first
    smaller = hold(workspace, seated(people()), PAPERS, "exam", questions=10)
    assert read_json(folder / "paper.json")["hash"] != first["hash"]
    assert len(smaller.questions) == 10
    assert smaller.facts_about["not_asked"] == 18
