"""What can be looked into after an exam: every answer, the ledger of facts, and marks made again from what was kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import test_examine as sitters
from test_examine import LooksUp, held, people, questions, seat
from tiny import tiny_folder

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, read_jsonl
from shuyuan.base.records import GREEDY, Answer, Conversation, Decoding, Message
from shuyuan.base.workspace import Workspace
from shuyuan.cli.main import main
from shuyuan.examine.exam import hold
from shuyuan.examine.ledger import ledger, tally
from shuyuan.examine.marking import mark
from shuyuan.examine.results import MAIN
from shuyuan.examine.showing import items
from shuyuan.examine.sitting import Asking, sit

workspace = sitters.workspace
WARM = Asking(Decoding(temperature=0.7, seed=3), samples=4)


class Wavers(LooksUp):
    """Answers right with every second seed."""

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        sure = super().answer(conversations, decoding)
        return [replace(answer, text="是 0。") if decoding.seed % 2 else answer for answer in sure]


class Invents(LooksUp):
    """Never declines: says 0 where it knows nothing."""

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        return [replace(a, text="是 0。", refused=False) if a.refused else a for a in super().answer(conversations)]


def test_samples_are_drawn_by_seed_and_an_item_is_their_mean(workspace: Workspace) -> None:
    wavers = Wavers("a", questions(), range(24))
    found = hold(workspace, [seat(wavers)], sitters.PAPERS, "warm", asking=WARM)
    (sheet,) = found.sheets
    assert sheet.value(MAIN) == 0.5
    assert sheet.scores[MAIN].n == 24, "samples are no items"
    assert set(sheet.marks[MAIN].values()) == {0.5}
    first = questions()[0].id
    assert [a.text == "是 0。" for a in sheet.samples[first]] == [True, False, True, False], "seeds 3, 4, 5, 6"
    assert sheet.answers[first] == sheet.samples[first][0]
    assert found.settings["decoding"] == "temperature 0.7, seed 3, 4 samples"
    asked = len(wavers.asked)
    hold(workspace, [seat(wavers)], sitters.PAPERS, "warm", asking=replace(WARM, samples=5))
    texts = sum(len(paper.texts()) for paper in sitters.PAPERS)
    assert len(wavers.asked) - asked == (asked - texts) / 4, "only the fifth sample is new"


def test_more_greedy_samples_are_refused() -> None:
    with pytest.raises(Fixable, match="all the same"):
        Asking(samples=2)


def test_another_exam_takes_up_the_answers_that_were_given(workspace: Workspace, tmp_path: Path) -> None:
    held(workspace, people(), "one")
    again = people()
    other = hold(workspace, [seat(one) for one in again], sitters.PAPERS[:2], "two")
    assert [one.asked for one in again] == [[], [], []]
    assert len(read_jsonl(other.folder / "answers" / "lora.jsonl")) == len(questions()), "the folder is whole"
    changed = LooksUp("lora", questions(), range(3))
    hold(workspace, [replace(seat(changed), key="taught again")], sitters.PAPERS[:2], "three")
    assert len(changed.asked) == len(questions())
    twin = LooksUp("twin", questions(), range(3))
    sit(replace(seat(twin), key="key of lora"), questions(), (), tmp_path / "twin.jsonl")
    assert len(twin.asked) == len(questions()), "another name's answers are its own"


def test_marking_again_asks_nobody_and_changes_nothing(workspace: Workspace) -> None:
    folder = held(workspace, people()).folder
    before = {file: (folder / file).read_bytes() for file in ("scores.json", "report.html", "report.md")}
    for file in before:
        (folder / file).unlink()
    assert mark(folder).verdict.winner == "retrieve"
    assert {file: (folder / file).read_bytes() for file in before} == before


def test_marking_follows_the_answers_of_those_who_sat(workspace: Workspace) -> None:
    """A later row of an assistant that was taught otherwise is another's answer."""
    folder = held(workspace, people()).folder
    better = replace(seat(LooksUp("bare", questions(), range(24))), key="later")
    sit(better, questions(), (), folder / "answers" / "bare.jsonl")
    bare = next(sheet for sheet in mark(folder).sheets if sheet.name == "bare")
    assert bare.value(MAIN) == pytest.approx(2 / 24)


def test_an_answer_that_is_gone_is_missed(workspace: Workspace) -> None:
    folder = held(workspace, people()).folder
    file = folder / "answers" / "lora.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[1:]))
    with pytest.raises(Fixable, match="an answer is missing"):
        mark(folder)


def test_the_ledger_says_who_knows_lost_and_invents(workspace: Workspace) -> None:
    everything = questions()
    bare = LooksUp("bare", everything, range(2))
    lora = Invents("lora", everything, range(5, 24))
    facts = ledger(held(workspace, [bare, lora]))
    assert len(facts) == 16
    assert [fact.source for fact in facts] == ["书.md"] * 12 + [""] * 4
    by_name = {fact.fact: fact for fact in facts}
    first = by_name["fact0"].standings
    assert (first["bare"].state, first["lora"].state, first["lora"].lost) == ("knows", "invents", True)
    assert not first["bare"].lost
    third = by_name["fact2"].standings["lora"]
    assert (third.state, third.share) == ("partly", 0.5)
    assert third.marks == {"2-zh": 0.0, "2-en": 1.0}
    assert by_name["fact5"].standings["bare"].state == "declines"
    assert by_name["none0"].standings["bare"].state == "knows", "to decline is right there"
    assert by_name["none0"].standings["lora"].state == "invents"
    assert tally(facts) == {
        "bare": {"knows": 5, "partly": 0, "declines": 11, "invents": 0, "lost": 0},
        "lora": {"knows": 9, "partly": 1, "declines": 0, "invents": 6, "lost": 1},
    }


def test_questions_are_found_by_id_words_and_outcome(workspace: Workspace) -> None:
    found = held(workspace, people())
    assert len(items(found)) == len(questions()) + 8
    assert [item.question.id for item in items(found, "3-zh")] == ["3-zh"]
    assert {item.question.id for item in items(found, "THING 1")} == {"1-en", "10-en", "11-en"}
    wrong = items(found, assistants=["lora"], wrong=True)
    assert {item.question.id for item in wrong if item.question.fact.startswith("fact")} == {
        question.id for question in questions()[12:24]
    }
    assert items(found, assistants=["retrieve"], disagree=True) == ()
    divided = items(found, disagree=True)
    assert all(0 < item.split <= 0.25 for item in divided)
    assert [item.split for item in divided] == sorted((item.split for item in divided), reverse=True)
    for wanted, said in ((("", ["loar"]), "did not sit"), (("no such words", []), "holds")):
        with pytest.raises(Fixable, match=said):
            items(found, *wanted)


def test_the_commands_show_it(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    held(workspace, people())

    def said(*line: str) -> str:
        capsys.readouterr()
        assert main([*line, "-w", str(workspace.folder)]) == 0
        return capsys.readouterr().out

    listed = said("exam", "show")
    assert "第0件事的数目是几？" in listed
    assert "✓" in listed
    assert "36 of 36 questions" in listed
    shown = said("exam", "show", "3-zh", "--prompts")
    assert "expected: 103" in shown
    assert "↳ 书.md [0–2]: <b>&" in shown
    assert "(not known)" in shown
    rows = json.loads(said("exam", "show", "3-zh", "--json"))
    assert rows[0]["replies"][0]["answers"][0]["citations"][0]["quote"] == "<b>&"
    book = said("ledger")
    assert "书.md" in book
    assert "第0件事的数目是几？ → 100" in book
    kept = json.loads(said("ledger", "--assistant", "lora", "--state", "declines", "--json"))
    assert {fact["fact"] for fact in kept["facts"]} == {f"fact{n}" for n in range(6, 12)}
    assert kept["counts"]["lora"]["knows"] == 10
    before = read_json(workspace.exam("exam") / "scores.json")
    assert "report: " in said("exam", "mark")
    assert read_json(workspace.exam("exam") / "scores.json") == before


def test_a_model_keeps_the_text_it_read(tmp_path: Path) -> None:
    from shuyuan.load.answering import ModelAssistant
    from shuyuan.load.model import open_model

    model = open_model(str(tiny_folder(tmp_path)))
    (answer,) = ModelAssistant("bare", model).answer([[Message("user", "书院几点开门？🏫")]])
    assert answer.prompt == "user: 书院几点开门？🏫<|end|>assistant: "
    assert len(model.tokenizer(answer.prompt, add_special_tokens=False)["input_ids"]) == answer.prompt_tokens


def test_every_paper_can_be_marked_again_and_looked_into(workspace: Workspace) -> None:
    from shuyuan.base.shelf import choices
    from shuyuan.examine.exam import chosen_papers

    papers = chosen_papers(workspace, list(choices("examine")), general=4)
    found = hold(workspace, [seat(assistant) for assistant in people()], papers, "all")
    before = (found.folder / "scores.json").read_bytes()
    assert mark(found.folder).sheets == found.sheets
    assert (found.folder / "scores.json").read_bytes() == before
    assert found.others
    shown = items(found)
    assert {item.question.id for item in shown} >= {question.id for question in found.others}
    asked = {question.id for question in (*found.questions, *found.general, *found.others)}
    assert set(found.sheets[0].answers) == asked
