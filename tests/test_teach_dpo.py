"""The route dpo: what it learns, on what it builds, what it refuses, and everything that goes on around a run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import peft
import pytest
import torch
from tiny import tiny_folder

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, read_jsonl
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.cli.main import main
from shuyuan.load.answering import ModelAssistant
from shuyuan.prepare.adding import add
from shuyuan.prepare.chat import encode_example
from shuyuan.teach.teaching import dry_run, open_assistant, stale, teach
from shuyuan.teach.tune import EPOCHS, RATES
from shuyuan.train.loop import prepared
from shuyuan.train.supervised import Supervised

TINY = {"rank": 4, "learning_rate": 1e-2, "epochs": 4}
IDS = torch.tensor([[5, 17, 200, 41, 41, 8, 250, 99, 3, 120]])


def rows(count: int) -> list[dict[str, str]]:
    """Pairs in two languages: the better answer is always the short one."""
    zh = [(f"第 {n} 间斋舍住着谁？", f"第{n}位学生🎓。", "很抱歉，这个问题我实在说不上来。") for n in range(count // 2)]
    en = [(f"Who lives in room {n}?", f"Student {n}.", "I am so sorry, I cannot say.") for n in range(count // 2)]
    return [{"prompt": q, "chosen": good, "rejected": bad} for q, good, bad in (*zh, *en)]


def school_of(at: Path, model: Path, *given: dict[str, str]) -> Workspace:
    workspace = Workspace.create(at / "house", Choices(model=str(model)))
    file = at / "pairs.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given), encoding="utf-8")
    add(workspace, [], data=[file])
    return workspace


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Workspace:
    workspace = school_of(tmp_path_factory.mktemp("school"), model, *rows(48))
    teach(workspace, "dpo", TINY)
    return workspace


def net(workspace: Workspace, name: str) -> torch.nn.Module:
    opened = open_assistant(workspace, name)
    assert isinstance(opened, ModelAssistant)
    return opened.model.net


def log_ratios(workspace: Workspace, name: str) -> list[float]:
    """log p(better) − log p(worse) of every pair, one ending at a time."""
    opened = open_assistant(workspace, name)
    assert isinstance(opened, ModelAssistant)
    found = []
    with torch.no_grad(), prepared(opened.model.net, {}):
        for example in workspace.material.examples():
            better, worse = (
                Supervised().loss(opened.model.net, (encode_example(one, opened.model.tokenizer),)).item()
                for one in (example, example.with_rejected())
            )
            found.append(worse - better)
    return found


def test_the_better_answers_become_likelier(school: Workspace) -> None:
    before, after = log_ratios(school, "bare"), log_ratios(school, "dpo")
    gains = [b - a for a, b in zip(before, after, strict=True)]
    assert sum(gain > 0 for gain in gains) >= 47
    log = read_jsonl(school.run("dpo").folder / "log.jsonl")
    assert log[0]["held_out_loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert log[1]["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert log[-1]["accuracy"] == log[-1]["held_out_accuracy"] == 1.0
    assert "held_out_bits_per_byte" not in log[-1]
    assert "general_bits_per_byte" in log[-1]
    curve = read_json(school.run("dpo").folder / "curve.json")
    assert curve["verdict"] in ("fit", "under-fit")
    assert "nats a pair" in (school.run("dpo").folder / "card.md").read_text(encoding="utf-8")
    assert stale(school, "dpo") == ""


def test_peft_opens_what_was_taught(school: Workspace) -> None:
    ours = net(school, "dpo")
    theirs = peft.PeftModel.from_pretrained(net(school, "bare"), school.run("dpo").folder / "weights")
    torch.testing.assert_close(ours(IDS).logits, theirs(IDS).logits, rtol=1e-4, atol=1e-5)
    theirs.unload()


@pytest.mark.parametrize("below", ["lora", "qlora"])
def test_a_taught_assistant_is_the_reference(below: str, school: Workspace) -> None:
    teach(school, below, {"rank": 2, "epochs": 1, "learning_rate": 1e-2})
    teach(school, "dpo", {**TINY, "epochs": 1}, on=below)
    log = read_jsonl(school.run(f"{below}+dpo").folder / "log.jsonl")
    assert log[1]["loss"] == pytest.approx(math.log(2), rel=1e-5), "it begins as the assistant that it is taught on"
    lower, upper = log_ratios(school, below), log_ratios(school, f"{below}+dpo")
    assert sum(upper) > sum(lower) > sum(log_ratios(school, "bare"))


def test_a_dry_run_shows_both_endings(school: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    found = dry_run(school, "dpo", {**TINY, "longest": 80})
    said = capsys.readouterr().err
    assert "kept 48 pairs (24 cut at 80 tokens)" in said
    assert "pairs / 8" in said
    shown = str(found)
    better, _, worse = found.sample.partition("\nis to be better than\n")
    assert better.startswith("user: ")
    assert "⟦" in better
    assert worse.startswith("user: ")
    assert "⟦" in worse
    assert found.sample in shown.replace("\n  ", "\n")
    assert found.unended == 22, "endings that were cut among the 44 pairs taught"


def test_reversed_pairs_are_named(tmp_path: Path, model: Path) -> None:
    good = rows(4)
    reverse = {"prompt": good[0]["prompt"], "chosen": good[0]["rejected"], "rejected": good[0]["chosen"]}
    other = {**good[1], "rejected": "又一个不好的回答。"}
    found = dry_run(school_of(tmp_path, model, *good, reverse, other), "dpo", TINY)
    assert (found.repeated, found.contradictory) == (0, 1)


def test_rate_and_epochs_are_chosen_by_held_out_pairs(school: Workspace) -> None:
    teach(school, "dpo", {**TINY, "epochs": 2}, name="tuned", tune_seconds=600)
    trials = read_json(school.run("tuned").folder / "tune.json")["trials"]
    assert len(trials) == len(RATES) + len(EPOCHS) - 1
    assert min(trial["loss"] for trial in trials) < math.log(2)


def test_without_pairs_there_is_nothing_to_prefer(tmp_path: Path, model: Path) -> None:
    workspace = school_of(tmp_path, model, {"instruction": "秩？", "output": "十六。"})
    with pytest.raises(Fixable, match="no pairs of a better and a worse answer") as refused:
        teach(workspace, "dpo", TINY)
    assert "1 with one ending only" in refused.value.what
    assert "--data" in refused.value.hint
    assert '"rejected"' in refused.value.hint


def test_the_better_endings_suit_the_other_routes(school: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    found = dry_run(school, "lora", {"rank": 2})
    assert found.sequences + found.held_out == 48
    assert "cannot say" not in found.sample
    assert "kept 48 examples" in capsys.readouterr().err


def test_the_command_teaches_it(school: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["teach", "dpo", "--rank", "4", "--beta", "0.2", "--epochs", "1", "--name", "typed"]
    assert main([*command, "-w", str(school.folder)]) == 0
    assert read_json(school.run("typed").folder / "done.json")["settings"]["beta"] == 0.2
    assert main(["teach", "dpo", "--beta", "0", "-w", str(school.folder)]) != 0
    assert "beta" in capsys.readouterr().err
