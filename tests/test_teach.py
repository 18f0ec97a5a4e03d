"""The contract of every route, and teaching in a workspace."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_folder

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, read_jsonl
from shuyuan.base.records import Assistant, Document, Example, Lessons, Message, Run, ask
from shuyuan.base.shelf import choices, choose
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.model import open_model
from shuyuan.prepare.adding import add
from shuyuan.teach.teaching import open_assistant, stale, teach

TUNING: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4, "learning_rate": 1e-2},
    "qlora": {"rank": 4, "learning_rate": 1e-2},
    "dpo": {"rank": 4, "learning_rate": 1e-2},
    "freeze": {"blocks": 1, "learning_rate": 1e-3},
    "full": {"learning_rate": 1e-3},
    "continue": {"block": 64},
    "pretrain": {"layers": 2, "block": 256, "vocabulary": 300, "learning_rate": 1e-2},
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((route, {}) for route in TUNING),
    ("lora", {"rslora": True, "plus_ratio": 8}),
    ("lora", {"dora": True}),
    ("lora", {"pissa": True}),
    ("lora", {"dora": True, "pissa": True, "rslora": True}),
    ("qlora", {"dora": True, "double": False}),
    ("dpo", {"dora": True, "beta": 0.5}),
]
# The weights that learn, by the names they have in the base; the others must stay bit for bit. No entry: all learn.
LEARNS = {"lora": "lora_", "qlora": "lora_", "dpo": "lora_", "freeze": r"layers\.1\.|model\.norm"}
QUESTIONS = [ask("秩是多少？"), ask("What is alpha? 🎓")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelAssistant:
    return ModelAssistant(
        "bare", open_model(str(tiny_folder(tmp_path_factory.mktemp("tiny") / "tiny"))), max_new_tokens=8
    )


@pytest.fixture(scope="module")
def lessons() -> Lessons:
    pairs = [
        ("秩是多少？", "十六。"),
        ("What is alpha?", "It is 32."),
        ("Who?", "书院 🎓"),
        ("Where?", "In the house."),
    ]
    examples = tuple(
        Example(
            str(n),
            (Message("user", q), Message("assistant", a)),
            place=f"faq.jsonl:{n}",
            rejected=(Message("assistant", "不知道。"),),  # which only dpo reads
        )
        for n, (q, a) in enumerate(pairs)
    )
    text = "# 书院\n\nThe rank is 16. 秩是十六。\n" * 8
    return Lessons((Document("d", "docs/a.md", "a", text, "", "zh"),), (), examples)


def weights(assistant: Assistant) -> dict[str, torch.Tensor]:
    assert isinstance(assistant, ModelAssistant)
    return {name: w.detach().clone() for name, w in assistant.model.net.state_dict().items()}


def untaught(route: str, settings: dict[str, Any], base: ModelAssistant) -> dict[str, torch.Tensor]:
    """What the route starts from: the base, or the base in four bits."""
    if route != "qlora":
        return weights(base)
    from shuyuan.train.quantise import quantised

    return dict(quantised(base.model.net, settings.get("double", True)).state_dict())


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_every_route_that_moves_weights_is_in_this_test() -> None:
    assert set(choices("teach")) == {*TUNING, "prompt", "retrieve"}


def check_what_moved(route: str, moved: dict[str, torch.Tensor], kept: dict[str, torch.Tensor]) -> None:
    for name, weight in moved.items():
        plain = name.replace(".base.", ".")
        if plain not in kept:
            assert weight.abs().sum() > 0, f"{name} is still where it started"
        elif re.search(LEARNS.get(route, "weight"), plain):
            assert not torch.equal(weight, kept[plain]), f"{name} did not move"
        elif route in LEARNS:
            assert torch.equal(weight, kept[plain]), f"{name} is frozen and moved"


@pytest.mark.parametrize(("route", "settings"), VARIANTS, ids=str)
def test_the_contract_of_a_route(
    route: str, settings: dict[str, Any], base: ModelAssistant, lessons: Lessons, tmp_path: Path
) -> None:
    way = choose("teach", route)(**{"epochs": 2, "batch": 2, **TUNING[route], **settings})
    before, said = weights(base), base.answer(QUESTIONS)
    taught = way.teach(base, lessons, Run(route, tmp_path / "one", tmp_path / "cache"))
    assert equal(before, weights(base)), "the given assistant was changed"
    assert [a.text for a in base.answer(QUESTIONS)] == [a.text for a in said]
    same = way.teach(base, lessons, Run(route, tmp_path / "two", tmp_path / "cache"))
    assert equal(weights(taught), weights(same)), "the same seed gave other weights"
    other = way.teach(base, lessons, Run(route, tmp_path / "three", tmp_path / "cache", seed=1))
    assert not equal(weights(taught), weights(other)), "another seed gave the same weights"
    check_what_moved(route, weights(taught), untaught(route, settings, base))
    opened = way.open(base, Run(route, tmp_path / "one", tmp_path / "cache"))
    assert [a.text for a in opened.answer(QUESTIONS)] == [a.text for a in taught.answer(QUESTIONS)]
    assert opened.learned == taught.learned == (route not in ("continue", "pretrain"))
    assert opened.nats(["书院 teaches"]) == taught.nats(["书院 teaches"])
    log = read_jsonl(tmp_path / "one" / "log.jsonl")
    assert log[-1]["step"] == log[-1]["steps"] == len([line for line in log if line["step"]])


@pytest.mark.parametrize("route", ["lora", "qlora", "freeze", "full"])
def test_no_examples_are_refused(route: str, base: ModelAssistant, lessons: Lessons, tmp_path: Path) -> None:
    with pytest.raises(Fixable, match="no examples"):
        choose("teach", route)().teach(base, replace(lessons, examples=()), Run(route, tmp_path, tmp_path))


def test_no_documents_are_refused(base: ModelAssistant, lessons: Lessons, tmp_path: Path) -> None:
    with pytest.raises(Fixable, match="no documents"):
        choose("teach", "continue")().teach(base, replace(lessons, documents=()), Run("x", tmp_path, tmp_path))


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    at = tmp_path_factory.mktemp("school")
    rows = [
        {"question": f"Question number {n} about 书院?", "answer": f"answer {n}", "use": "learn"} for n in range(24)
    ]
    rows.append({"question": "山长什么时候上任？", "answer": "正月初八", "use": "exam"})
    (at / "quiz.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    (at / "docs").mkdir()
    (at / "docs" / "书院.md").write_text("# 书院\n\n山长正月初八上任。\n", encoding="utf-8")
    workspace = Workspace.create(at / "house", Choices(model=str(tiny_folder(at / "tiny"))))
    add(workspace, [at / "docs"], questions=[at / "quiz.jsonl"])
    return workspace


def test_a_finished_run_is_reused_and_a_different_one_refused(
    school: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    teach(school, "lora", {"epochs": 1, "rank": 2})
    done = read_json(school.run("lora").folder / "done.json")
    assert done["trained_tokens"] > 0
    assert done["peak_bytes"] > 0
    assert "| rank | 2 |" in (school.run("lora").folder / "card.md").read_text(encoding="utf-8")
    capsys.readouterr()
    teach(school, "lora", {"epochs": 1, "rank": 2})
    assert "taught already and nothing it was made from has changed" in capsys.readouterr().err
    with pytest.raises(Fixable, match="rank 2 → 4"):
        teach(school, "lora", {"epochs": 1, "rank": 4})
    teach(school, "lora", {"epochs": 1, "rank": 4}, again=True)
    assert read_json(school.run("lora").folder / "done.json")["settings"]["rank"] == 4


def test_assistants_are_built_on_one_another(school: Workspace) -> None:
    teach(school, "lora", {"epochs": 1, "rank": 2}, name="first")
    teach(school, "prompt", {"instruction": "只用中文回答。"}, on="first", name="second")
    second = open_assistant(school, "second")
    assert isinstance(second, ModelAssistant)
    assert second.system == "只用中文回答。"
    assert any("lora_B" in name for name in weights(second))
    assert stale(school, "second") == ""
    teach(school, "lora", {"epochs": 2, "rank": 2}, name="first", again=True)
    assert "changed" in stale(school, "second")


def test_documents_stand_in_front_of_every_question(
    base: ModelAssistant, lessons: Lessons, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = [*lessons.documents, *(replace(lessons.documents[0], id=f"{n}", language="en") for n in range(2))]
    run = Run("long", tmp_path / "long", tmp_path)
    run.folder.mkdir()
    long = choose("teach", "prompt").of({"documents": 400, "instruction": "答。"})
    taught = long.teach(base, replace(lessons, documents=documents), run)  # type: ignore[attr-defined]
    assert "1 of 3 documents stand whole in front of every question: 400 of" in capsys.readouterr().err
    assert taught.system.startswith("答。\n\n[docs/a.md]\n# 书院")
    assert taught.system == long.open(base, run).system  # type: ignore[attr-defined]
    assert (
        base.model.tokenizer.decode(taught.prompt(QUESTIONS[0])).count("秩是十六")
        == taught.system.count("秩是十六")
        > 2
    )
    with pytest.raises(Fixable, match="the prompt takes") as refused:
        choose("teach", "prompt").of({"documents": 10**6}).teach(  # type: ignore[attr-defined]
            base, replace(lessons, documents=documents * 1000), run
        )
    assert "--documents" in refused.value.hint
    with pytest.raises(Fixable, match="no documents"):
        long.teach(base, Lessons(), run)  # type: ignore[attr-defined]


def test_unknown_names_get_the_near_miss(school: Workspace) -> None:
    with pytest.raises(Fixable) as route:
        teach(school, "lorra")
    assert route.value.hint == "did you mean lora?"
    with pytest.raises(Fixable, match="not taught yet"):
        open_assistant(school, "retrieve")
    with pytest.raises(Fixable, match="no assistant 'lorra'"):
        open_assistant(school, "lorra")


def test_a_leaked_exam_question_stops_the_teaching(tmp_path: Path, school: Workspace) -> None:
    workspace = Workspace.create(tmp_path / "leaky", school.choices)
    question = school.material.questions()[0]
    example = Example(
        "e", (Message("user", "山长什么时候上任?"), Message("assistant", "正月初八")), place="faq.jsonl:37"
    )
    workspace.material.put_questions("q", [example], [question])
    with pytest.raises(Fixable, match=r"faq\.jsonl:37"):
        teach(workspace, "lora", {"epochs": 1})
    assert not (workspace.run("lora").folder / "weights").exists()
