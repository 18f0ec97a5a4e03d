"""What is checked before a teaching, what is held out of it, and what is chosen by trials."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, SHUYUAN
from test_train import sequences
from tiny import tiny_folder, tiny_net
from transformers import AutoModelForCausalLM, Gemma2Config, GraniteConfig

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, read_jsonl
from shuyuan.base.guards import Guards
from shuyuan.base.progress import seconds_of
from shuyuan.base.records import Example, Message
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.cli.main import main
from shuyuan.examine.forgetting import Forgetting
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.model import open_model
from shuyuan.prepare.chat import Encoded, encode_examples
from shuyuan.prepare.leak import near_duplicates
from shuyuan.prepare.pack import Pack
from shuyuan.teach import preflight, watching
from shuyuan.teach.cost import measured
from shuyuan.teach.course import Course, Part
from shuyuan.teach.preflight import check_loss
from shuyuan.teach.teaching import dry_run, stale, teach
from shuyuan.teach.tune import EPOCHS, RATES, _halvings
from shuyuan.teach.watching import general_text, held_out
from shuyuan.train import alarm, watch
from shuyuan.train.supervised import Supervised
from shuyuan.train.watch import standing


def filled(folder: Path, count: int, model: Path) -> Workspace:
    """A workspace with so many examples in two languages and one exam question."""
    workspace = Workspace.create(folder, Choices(model=str(model)))
    rows = [(f"第 {n} 间斋舍住着谁？", f"住着第 {n} 位学生 🎓。") for n in range(count // 2)]
    rows += [(f"Who lives in room number {n}?", f"Student {n}.") for n in range(count - len(rows))]
    examples = [
        Example(str(n), (Message("user", q), Message("assistant", a)), place=f"faq.jsonl:{n + 1}")
        for n, (q, a) in enumerate(rows)
    ]
    workspace.material.put_questions("faq.jsonl", examples, [])
    return workspace


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Workspace:
    return filled(tmp_path_factory.mktemp("school") / "house", 60, model)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and "sqlite-" not in path.name}


# what is held out


@pytest.mark.parametrize(("count", "held"), [(39, 0), (40, 4), (100, 5), (400, 20), (5000, 64)])
def test_how_many_are_held_out(count: int, held: int) -> None:
    made = [Encoded((1, n), (False, True)) for n in range(count)]
    chosen = held_out(made, Guards(), seed=0, tokens=2 * count * 6)
    assert len(chosen) == held
    assert chosen == held_out(made, Guards(), seed=0, tokens=2 * count * 6)
    assert not held or chosen != held_out(made, Guards(), seed=1, tokens=2 * count * 6)
    assert held_out(made, Guards(hold_out=0), seed=0, tokens=2 * count * 6) == ()


def test_what_is_held_out_is_not_taught_and_the_rest_is() -> None:
    made = tuple(Encoded((7, n, 9), (False, True, True), f"row {n}") for n in range(50))
    aside = held_out(made, Guards(), seed=3, tokens=3 * 50 * 4)
    course = Course(made, 4, 8, 3, Pack()).without(aside)
    for epoch in range(4):
        steps = range(epoch * course.steps_an_epoch, (epoch + 1) * course.steps_an_epoch)
        seen = sorted(s.source for step in steps for row in course.rows(step) for s in row)
        assert seen == sorted(s.source for n, s in enumerate(made) if n not in aside)
    part = course.sequences
    assert isinstance(part, Part)
    assert [s.source for s in part[:3]] == [s.source for s in part][:3]


def test_general_text_is_in_both_languages_and_not_the_exams() -> None:
    own = general_text()
    han = [sum("\u4e00" <= c <= "\u9fff" for c in text) > len(text) / 2 for text in own]
    assert han == [n % 2 == 1 for n in range(len(own))]
    assert 5_000 < sum(len(text.encode()) for text in own) < 10_000
    exam = [text.text for text in Forgetting().texts()]
    assert near_duplicates([*own, *exam], 0.1) == []


def test_general_bits_are_what_the_exam_would_measure(model: Path) -> None:
    opened = open_model(str(model))
    seen = watching.watch_over((), opened, Pack(), Guards(), steps=24, tokens=10**6)
    assert len(seen.general.rows) >= 1
    text = general_text()
    shown = text[: sum(len(row) for row in seen.general.rows)]
    assert seen.general.size_bytes == sum(len(t.encode()) for t in shown)
    nats = sum(ModelAssistant("x", opened).nats(shown))
    opened.net.set_attn_implementation("packed")
    with torch.no_grad():
        ours = sum(Supervised().loss(opened.net, row).item() for row in seen.general.rows)
    assert ours == pytest.approx(nats, rel=1e-5)


@pytest.mark.parametrize("tokens", [100, 10_000, 100_000, 10**7])
def test_looking_stays_cheap(model: Path, tokens: int) -> None:
    held = sequences(20)
    seen = watching.watch_over(held, open_model(str(model)), Pack(), Guards(), steps=1000, tokens=tokens)
    looks = len(seen.moments) - 1
    assert {0, 1000} <= seen.moments
    assert sum(len(row) for row in seen.general.rows) >= 2, "one paragraph of each language"
    assert 4 <= looks <= 12
    if looks > 4:
        assert looks * (seen.held_out.tokens + seen.general.tokens) <= watching.LOOKING_SHARE * tokens


# the pre-flight check


def test_a_dry_run_shows_everything_and_changes_nothing(school: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(school.folder)
    found = dry_run(school, "lora", {"rank": 2, "longest": 128})
    assert snapshot(school.folder) == before
    assert sum(count for _, count in found.lengths) == found.sequences == 56
    assert (found.held_out, found.steps) == (4, 42)
    assert found.difference < 1e-4
    assert found.seconds > 0
    assert found.peak_bytes > 10**7
    assert "kept 60 examples" in capsys.readouterr().err
    page = str(found)
    assert "user: " in page
    assert "⟦" in page
    question, _, answer = found.sample.partition("⟦")
    assert question.endswith("assistant: ")
    assert "<|end|>⟧" in answer
    assert "�" not in page
    assert "none of 0 exam questions" in page
    assert "█" in page


def test_cut_and_dropped_examples_are_said(school: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    found = dry_run(school, "full", {"longest": 70})
    said = capsys.readouterr().err
    assert "cut at 70 tokens" in said
    assert found.unended > 0
    assert f"{found.unended} cut before their end" in str(found)


def test_the_command_shows_it_too(school: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["teach", "lora", "--rank", "2", "--dry-run", "-w", str(school.folder)]) == 0
    assert "⟦" in capsys.readouterr().out
    assert main(["teach", "lora", "--rank", "2", "--dry-run", "--json", "-w", str(school.folder)]) == 0
    assert json.loads(capsys.readouterr().out)["held_out"] == 4
    assert main(["teach", "lora", "--dry-run", "--tune", "10m", "-w", str(school.folder)]) == 1
    assert "leave one of them out" in capsys.readouterr().err
    assert main(["teach", "lora", "--tune", "soon", "-w", str(school.folder)]) == 2


@pytest.mark.parametrize(
    "flags", [["--dry-run"], ["--tune", "10m"], ["--patience", "2"], ["--hold-out", "0"], ["--forget-limit", "1"]]
)
def test_a_route_that_moves_no_weights_has_nothing_to_guard(
    flags: list[str], school: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["teach", "prompt", *flags, "-w", str(school.folder)]) == 1
    assert "prompt moves no weights" in capsys.readouterr().err


def test_repeated_and_contradictory_examples_are_counted(tmp_path: Path, model: Path) -> None:
    workspace = Workspace.create(tmp_path / "house", Choices(model=str(model)))
    pairs = [
        ("几点开门？", "九点。"),
        ("几点开门？", "九点。"),
        ("几点开门？", "十点。"),
        ("Who?", "I."),
        ("Who?", "I."),
    ]
    examples = [Example(str(n), (Message("user", q), Message("assistant", a))) for n, (q, a) in enumerate(pairs)]
    workspace.material.put_questions("faq", examples, [])
    found = dry_run(workspace, "lora", {"rank": 2})
    assert (found.repeated, found.contradictory) == (2, 1)
    assert "2 the same as another" in found.short()
    assert "1 with the same question as another and a different answer" in found.short()


def test_an_answer_that_would_never_stop_is_refused(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    settings = folder / "generation_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "eos_token_id": 5}))
    workspace = filled(tmp_path / "house", 6, folder)
    with pytest.raises(Fixable, match="would never learn to stop") as refused:
        dry_run(workspace, "lora", {"rank": 2})
    assert "eos_token_id" in refused.value.hint
    with pytest.raises(Fixable, match="would never learn to stop"):
        teach(workspace, "full", {"epochs": 1})
    assert not (workspace.run("full").folder / "done.json").exists()


SPECIAL = {
    "vocab_size": 320, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        GraniteConfig(**SPECIAL, logits_scaling=8.0),
        Gemma2Config(**SPECIAL, head_dim=12, final_logit_softcapping=0.2),
    ],
    ids=["scaled logits", "capped logits"],
)
def test_a_loss_of_the_models_own_is_refused(config: object) -> None:
    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        net.get_output_embeddings().weight.mul_(20)  # far from the uniform guess of a fresh model, where all agree
    weights = dict(net.named_parameters())
    with pytest.raises(Fixable, match="in a way of its own"):
        check_loss(net, weights, sequences(3))


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_an_ordinary_loss_is_the_models_own(family: str) -> None:
    net = tiny_net(family)
    assert check_loss(net, dict(net.named_parameters()), sequences(3)) < 1e-5
    long = Encoded(tuple(range(250)), (False,) * 200 + (True,) * 50)
    assert check_loss(net, dict(net.named_parameters()), [long]) < 1e-5
    half = tiny_net(family).bfloat16()
    assert check_loss(half, dict(half.named_parameters()), sequences(3)) < 0.03


def test_the_probe_leaves_no_trace(model: Path) -> None:
    opened = open_model(str(model))
    made = tuple(sequences(50, longest=60))
    course = Course(made, 2, 8, 0, Pack(), opened)
    from shuyuan.base.records import Run
    from shuyuan.teach.full import Full

    plan = course.plan(Full(), Run("full", Path("/nowhere"), Path("/nowhere")), 1e-3, "examples")
    learned = dict(opened.net.named_parameters())
    before = {name: w.detach().clone() for name, w in learned.items()}
    torch.manual_seed(5)
    drawn = torch.random.get_rng_state()
    ends_with = replace(opened, net=opened.net)
    assert ends_with.end_tokens
    found = preflight.look_over(replace(course, model=None), plan, opened.net, learned, Supervised())
    assert torch.equal(drawn, torch.random.get_rng_state())
    assert all(torch.equal(w, before[name]) and w.grad is None for name, w in learned.items())
    assert opened.net.config._attn_implementation != "packed"
    assert found.longest_batch == sum(sorted((len(s.ids) for s in made), reverse=True)[:8])


def test_memory_that_does_not_suffice_is_explained() -> None:
    with pytest.raises(RuntimeError) as real:
        torch.empty(1 << 50, dtype=torch.uint8)
    explained = preflight._too_large(real.value, 123)
    assert isinstance(explained, Fixable)
    assert "--batch" in explained.hint
    other = RuntimeError("shapes do not match")
    assert preflight._too_large(other, 123) is other


def test_measured_blocks_may_be_nested() -> None:
    with measured() as outer:
        large = torch.ones(40_000_000)
        del large
        with measured() as inner:
            pass
    assert outer["peak_bytes"] >= inner["peak_bytes"]
    if sys.platform == "linux":
        assert outer["peak_bytes"] - inner["peak_bytes"] > 100_000_000


# a whole teaching


def test_done_and_card_tell_how_it_went(school: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    teach(school, "lora", {"rank": 2, "epochs": 4, "learning_rate": 3e-3}, name="told")
    said = capsys.readouterr().err
    run = school.run("told")
    done, curve = read_json(run.folder / "done.json"), read_json(run.folder / "curve.json")
    assert done["curve"] == curve
    assert done["curve"]["verdict"] in {"fit", "under-fit", "over-fit"}
    assert done["guards"] == Guards().model_dump()
    estimate = done["estimate"]
    assert estimate["seconds"] > 0
    assert estimate["true_seconds"] == read_jsonl(run.folder / "log.jsonl")[-1]["seconds"]
    assert estimate["true_peak_bytes"] == done["peak_bytes"]
    assert 0.3 < estimate["peak_bytes"] / done["peak_bytes"] < 3
    assert "estimated " in said
    assert "verdict: " in said
    card = (run.folder / "card.md").read_text(encoding="utf-8")
    assert f"Verdict: **{curve['verdict']}**" in card
    assert curve["curves"] in card
    assert "| patience | 4 |" in card
    assert stale(school, "told") == ""
    assert not (run.folder / "checkpoints").exists()


def test_other_guards_make_another_assistant(school: Workspace) -> None:
    teach(school, "lora", {"rank": 2, "epochs": 1}, name="guarded", guards=Guards(hold_out=0.2))
    with pytest.raises(Fixable, match=r"hold_out 0\.2 → 0\.05"):
        teach(school, "lora", {"rank": 2, "epochs": 1}, name="guarded")


def test_few_examples_are_all_taught_and_it_is_said(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = filled(tmp_path / "house", 10, model)
    teach(workspace, "lora", {"rank": 2, "epochs": 2})
    assert "nothing is held out of fewer than 40" in capsys.readouterr().err
    done = read_json(workspace.run("lora").folder / "done.json")
    assert done["curve"]["verdict"] == "unmeasured"
    assert done["curve"]["best_step"] == done["curve"]["steps"] == 4


# tuning


def test_rounds_of_halving() -> None:
    assert list(_halvings(len(RATES))) == [5, 3, 2]
    assert 1.0 in RATES
    assert EPOCHS[0] == 1.0


TUNE = {"rank": 2, "epochs": 2, "batch": 8, "learning_rate": 1e-3}  # so few steps that every trial is a whole run
LONGER = {**TUNE, "epochs": 16, "batch": 2}


def test_tuning_chooses_by_held_out_loss_and_only_once(school: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    teach(school, "lora", LONGER, name="tuned", tune_seconds=16)
    run = school.run("tuned")
    said = capsys.readouterr().err
    tuned = read_json(run.folder / "tune.json")
    rounds = [tuned["trials"][:5], tuned["trials"][5:8], tuned["trials"][8:10]]
    assert sorted(t["learning_rate"] for t in rounds[0]) == pytest.approx(sorted(1e-3 * r for r in RATES))
    for before, after in pairwise(rounds):
        best = sorted(before, key=lambda t: t["loss"])[: len(after)]
        assert {t["learning_rate"] for t in after} == {t["learning_rate"] for t in best}
        assert {t["steps"] for t in before} < {t["steps"] for t in before + after}, "the next round is longer"
    assert tuned["chosen"]["learning_rate"] == min(rounds[2], key=lambda t: t["loss"])["learning_rate"]
    assert "held-out loss" in said
    assert "chosen: learning rate" in said
    done = read_json(run.folder / "done.json")
    assert done["settings"]["learning_rate"] == tuned["chosen"]["learning_rate"]
    assert done["settings"]["epochs"] == tuned["chosen"]["epochs"]
    assert "What was tried first" in (run.folder / "card.md").read_text(encoding="utf-8")
    assert stale(school, "tuned") == ""
    teach(school, "lora", LONGER, name="tuned", tune_seconds=16)
    said = capsys.readouterr().err
    assert "as chosen before" in said
    assert "is taught already" in said
    assert list(run.folder.parent.glob(".tuned.tune*")) == []
    with pytest.raises(Fixable, match="taught already"):
        teach(school, "lora", {**LONGER, "rank": 4}, name="tuned", tune_seconds=16)


def test_a_resumed_main_run_does_not_tune_again(school: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    teach(school, "lora", TUNE, name="again", tune_seconds=600)
    run = school.run("again")
    chosen = read_json(run.folder / "tune.json")["chosen"]
    (run.folder / "done.json").unlink()  # as if it had been killed at its end
    capsys.readouterr()
    teach(school, "lora", TUNE, name="again", tune_seconds=600)
    assert "as chosen before" in capsys.readouterr().err
    assert read_json(run.folder / "done.json")["settings"]["learning_rate"] == chosen["learning_rate"]


def test_the_trials_leave_the_weights_as_they_were(school: Workspace) -> None:
    """The chosen settings given by hand teach the very same weights."""
    teach(school, "lora", TUNE, name="tried", tune_seconds=600)
    tuned = read_json(school.run("tried").folder / "tune.json")
    assert len(tuned["trials"]) == len(RATES) + len(EPOCHS) - 1, "no trial is made twice"
    settings = {**TUNE, **tuned["chosen"]}
    teach(school, "lora", settings, name="by-hand")
    files = [school.run(name).folder / "weights" / "adapter_model.safetensors" for name in ("tried", "by-hand")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_budget_too_short_says_how_much_is_needed(school: Workspace) -> None:
    with pytest.raises(Fixable, match="is too short") as refused:
        teach(school, "lora", TUNE, name="hurried", tune_seconds=0.05)
    assert "at least" in refused.value.hint
    assert not school.run("hurried").folder.exists()


def test_nothing_held_out_cannot_be_tuned_on(tmp_path: Path, model: Path) -> None:
    workspace = filled(tmp_path / "house", 10, model)
    with pytest.raises(Fixable, match="nothing is held out") as refused:
        teach(workspace, "lora", {"rank": 2}, tune_seconds=60)
    assert "at least 40" in refused.value.hint


def test_ctrl_c_while_tuning_leaves_things_clean(school: Workspace) -> None:
    command = [*SHUYUAN, "teach", "lora", "--rank", "2", "--name", "stopped", "--tune", "1h", "-w", str(school.folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr
        scratch = school.folder / "runs" / ".stopped.tune"
        deadline = time.monotonic() + 120
        while not (scratch / "log.jsonl").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        assert "stopped; the same command goes on" in process.stderr.read()
    assert process.returncode == 130
    assert not scratch.exists()
    assert not school.run("stopped").folder.exists()


def test_durations() -> None:
    assert [seconds_of(text) for text in ("90s", "10m", "1h")] == [90.0, 600.0, 3600.0]


def test_the_standing_of_the_default_guards_is_calm_on_a_healthy_curve(school: Workspace) -> None:
    from shuyuan.train.watch import Look

    teach(school, "lora", {"rank": 4, "epochs": 12, "learning_rate": 3e-3}, name="healthy")
    looks = [Look(**look) for look in read_json(school.run("healthy").folder / "curve.json")["looks"]]
    assert looks[-1].step > 0
    assert standing(looks, Guards()).factor == 1.0


def test_examples_are_encoded_with_their_end(model: Path) -> None:
    """The end of the turn is learned, for one turn and for several, in two languages."""
    opened = open_model(str(model))
    turns = (Message("user", "甲？"), Message("assistant", "乙。"), Message("user", "C?"), Message("assistant", "D 🎓"))
    encoded, _ = encode_examples([Example("1", turns)], opened.tokenizer, 512)
    assert preflight._unended(encoded, opened.end_tokens) == 0
    cut = Encoded(encoded[0].ids[:-2], encoded[0].learned[:-2])
    assert preflight._unended([cut], opened.end_tokens) == 1
    raw = Encoded((1, 2, 3), (True, True, True))
    assert preflight._unended([raw], opened.end_tokens) == 0


@pytest.mark.parametrize("page", ["docs/teach.md", "docs/zh/teach.md"])
def test_the_handbook_tells_the_limits_of_the_code(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    part = text.split("--dry-run\n```\n")[1]
    for figure in (
        f"{Guards().hold_out:.0%}".replace("%", " %"),
        str(watching.FEWEST_HELD),
        str(watching.MOST_HELD),
        str(watching.FEWEST_SEQUENCES),
        str(watching.MOST_LOOKS),
        str(Guards().patience),
        str(Guards().forget_limit),
        f"{watch.RISE:.0%}".replace("%", " %"),
        str(alarm.FEWEST),
        str(round(alarm.FAR)),
        str(alarm.WINDOW),
        *preflight.LEARNED,
    ):
        assert figure in part, figure
    assert (len(RATES), RATES[0], RATES[-1], sorted(EPOCHS)) == (5, 0.1, 10.0, [0.5, 1.0, 2.0])
    assert (watch.STILL_FALLING, alarm.IN_A_ROW) == (0.1, 3)
    for word in ("fit", "under-fit", "over-fit", "diverged", "unmeasured"):
        assert f"| {word}" in part
