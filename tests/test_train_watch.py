"""Learning curves, early stopping, the best weights, the limit of forgetting and the alarm, on a tiny real model."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_train import StopAt, reference_loss, sequences
from tiny import tiny_net

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, read_jsonl
from shuyuan.base.guards import Guards
from shuyuan.prepare.chat import Encoded
from shuyuan.prepare.pack import Row
from shuyuan.train.alarm import FEWEST, check_step, is_spike
from shuyuan.train.checkpoint import load_best
from shuyuan.train.loop import Fitted, Loss, Plan, fit
from shuyuan.train.supervised import Supervised
from shuyuan.train.watch import Look, Sample, Watch, curves, sparkline, standing, verdict

NEVER = Guards(patience=0, forget_limit=0)


def looks(held: Sequence[float | None], general: Sequence[float | None] | None = None) -> list[Look]:
    return [
        Look(10 * n, loss, None, bits)
        for n, (loss, bits) in enumerate(zip(held, general or [None] * len(held), strict=True))
    ]


def test_patience_counts_looks_without_a_better_loss() -> None:
    seen = looks([3.0, 2.0, 2.1, 2.2])
    guards = Guards(patience=2)
    assert standing(seen[:3], guards).stop == ""
    assert standing(seen, guards) == replace(
        standing(seen[:3], guards), stop="the held-out loss has not improved in 2 looks"
    )
    assert standing(seen, guards).best == seen[1]
    assert standing(looks([3.0, 2.0, 2.1, 1.9, 2.2]), guards).stop == "", "a better loss begins the count anew"
    assert standing(seen, Guards(patience=0)).stop == ""


def test_the_untaught_weights_are_never_the_best() -> None:
    seen = looks([1.0, 2.0, 1.5, 1.8])
    assert standing(seen, NEVER).best == seen[2]


def test_the_limit_of_forgetting_halves_the_rate_once_and_then_stops() -> None:
    guards = Guards(forget_limit=0.5, patience=0)
    seen = looks([3.0, 2.0, 1.5, 1.2, 1.0], [1.0, 1.3, 1.6, 1.55, 1.7])
    assert [standing(seen[: n + 1], guards).factor for n in range(5)] == [1.0, 1.0, 0.5, 0.5, 0.5]
    assert standing(seen[:4], guards).stop == "", "still over the limit, but no further than before"
    final = standing(seen, guards)
    assert "+0.70 bits a byte" in final.stop
    assert final.best == seen[1], "looks over the limit are not kept, however low their loss"
    assert standing(seen, Guards(forget_limit=0, patience=0)).best == seen[4]
    back = looks([3.0, 2.0, 1.5, 1.2], [1.0, 1.3, 1.6, 1.4])
    assert standing(back, guards).best == back[3], "it came back under the limit"


def test_where_nothing_is_held_out_the_latest_within_the_limit_is_kept() -> None:
    seen = looks([None] * 4, [1.0, 1.1, 1.2, 1.9])
    assert standing(seen, Guards()).best == seen[2]
    assert standing(looks([None, None], [1.0, 9.0]), Guards()).best == Look(10, None, None, 9.0)


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 3)), min_size=1, max_size=12), st.integers(0, 4))
def test_a_resumed_run_decides_as_an_uninterrupted_one(seen: list[tuple[float, float]], patience: int) -> None:
    """The standing after each look is a function of the looks: nothing is forgotten with the process."""
    all_looks = looks([held for held, _ in seen], [general for _, general in seen])
    guards = Guards(patience=patience)
    stands = [standing(all_looks[: n + 1], guards) for n in range(len(all_looks))]
    factors = [stand.factor for stand in stands]
    assert factors == sorted(factors, reverse=True)
    assert set(factors) <= {1.0, 0.5}
    for n, stand in enumerate(stands):
        assert stand.best is None or stand.best in all_looks[: n + 1]
        assert n == 0 or stand.best is not None


@pytest.mark.parametrize(
    ("word", "losses", "held"),
    [
        ("fit", np.geomspace(3, 0.1, 100), [3.0, 1.0, 0.6, 0.5, 0.48, 0.48]),
        ("under-fit", np.linspace(3, 2, 100), [3.0, 2.8, 2.6, 2.4, 2.2, 2.0]),
        ("over-fit", np.geomspace(3, 0.01, 100), [3.0, 2.0, 1.8, 1.9, 2.2, 2.5]),
        ("over-fit", np.geomspace(3, 0.01, 100), [2.0, 2.1, 2.2, 2.3, 2.4, 2.5]),
        ("diverged", np.linspace(3, 8, 100), [3.0, 3.5, 4.0, 5.0, 6.0, 7.0]),
        ("unmeasured", np.geomspace(3, 0.1, 100), [None] * 6),
    ],
)
def test_verdicts(word: str, losses: np.ndarray, held: list[float | None]) -> None:
    seen = looks(held)
    best = standing(seen, NEVER).best
    assert best
    said, evidence = verdict([float(x) for x in losses], seen, best)
    assert said == word
    assert f"{losses[-10:].mean():.2f}" in evidence or f"{held[-1]:.2f}" in evidence


def test_curves_are_text() -> None:
    assert sparkline([1, 2, 3]) == "▁▅█"
    assert sparkline([2.0, 2.0]) == "▁▁"
    seen = looks([3.0, 2.0, 1.0], [1.0, 1.1, 1.2])
    drawn = curves([3.0] * 10 + [1.5] * 10, seen, seen[2])
    assert drawn.splitlines() == [
        "training  █▁  3.00 → 1.50 nats a token",
        "held out  █▅▁  3.00 → 1.00 nats a token; best 1.00 at step 20",
        "general   ▁▅█  1.00 → 1.20 bits a byte of general text",
    ]


# on a real net


def order(folder: Path, steps: int, guards: Guards = NEVER, held: int = 5, **more: object) -> Plan:
    """Teach three conversations over and over, and look at others every ten steps."""
    rows = [(s,) for s in sequences(3)]
    aside = tuple(sequences(held, seed=1)), tuple(sequences(4, seed=2))
    watch = Watch(Sample((aside[0],), 500), Sample((aside[1],), 400), frozenset(range(0, steps + 1, 10)), guards)
    plan = Plan("teaching", steps, lambda step: [rows[step % 3]], 3e-3, folder, "a", watch=watch)
    return replace(plan, **more)  # type: ignore[arg-type]


def taught(plan: Plan, loss: Loss | None = None) -> tuple[torch.nn.Module, Fitted]:
    net = tiny_net()
    return net, fit(net, dict(net.named_parameters()), loss or Supervised(), plan)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def held_loss(net: torch.nn.Module, plan: Plan) -> float:
    rows = plan.watch.held_out.rows
    with torch.no_grad():
        return sum(reference_loss(net, row).item() for row in rows) / plan.watch.held_out.targets


def test_what_is_looked_at_is_what_transformers_computes(tmp_path: Path) -> None:
    plan = order(tmp_path, 20)
    _, fitted = taught(plan)
    first = fitted.looks[0]
    assert first.held_out_loss == pytest.approx(held_loss(tiny_net(), plan), rel=1e-5)
    nats = first.held_out_loss * plan.watch.held_out.targets
    assert first.held_out_bits_per_byte == pytest.approx(nats / np.log(2) / 500)
    with torch.no_grad():
        general = reference_loss(tiny_net(), plan.watch.general.rows[0]).item()
    assert first.general_bits_per_byte == pytest.approx(general / np.log(2) / 400, rel=1e-5)
    log = read_jsonl(tmp_path / "log.jsonl")
    assert [line["step"] for line in log if "held_out_loss" in line] == [0, 10, 20]
    assert len(log) == 21


def test_looking_changes_nothing(tmp_path: Path) -> None:
    looked, fitted = taught(order(tmp_path / "a", 60))
    not_looked, other = taught(order(tmp_path / "b", 60, watch=Watch()))
    assert fitted.losses == other.losses
    best = min(fitted.looks[1:], key=lambda look: look.held_out_loss or 0)
    assert best.step < 60, "random conversations cannot be generalised from: this run over-fits"
    assert not same(looked, not_looked), "the best weights were not put back"


def test_the_best_weights_are_put_back_and_the_verdict_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = order(tmp_path, 60)
    net, fitted = taught(plan)
    best = min(fitted.looks[1:], key=lambda look: look.held_out_loss or 0)
    assert held_loss(net, plan) == pytest.approx(best.held_out_loss, rel=1e-5)
    said = capsys.readouterr().err
    curve = read_json(tmp_path / "curve.json")
    assert curve["best_step"] == best.step
    assert curve["verdict"] == "over-fit"
    assert f"the weights of step {best.step} are kept" in said
    assert f"verdict: over-fit: {curve['evidence']}" in said
    assert len(curve["looks"]) == 7


def test_patience_ends_a_run_that_learns_nothing_general(tmp_path: Path) -> None:
    plan = order(tmp_path, 200, Guards(patience=2, forget_limit=0))
    net, fitted = taught(plan)
    assert len(fitted.losses) < 200
    assert len(fitted.losses) == fitted.looks[-1].step
    curve = read_json(tmp_path / "curve.json")
    assert "has not improved in 2 looks" in curve["stopped"]
    assert held_loss(net, plan) == pytest.approx(min(look.held_out_loss or 9 for look in fitted.looks[1:]), rel=1e-5)


def test_forgetting_halves_the_rate_and_then_stops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = order(tmp_path, 200, Guards(patience=0, forget_limit=0.05))
    _, fitted = taught(plan)
    free_plan = order(tmp_path / "free", 200)
    _, free = taught(free_plan)
    rates = [
        {line["step"]: line["learning_rate"] for line in read_jsonl(folder / "log.jsonl") if line["step"]}
        for folder in (tmp_path, tmp_path / "free")
    ]
    over = next(
        look.step for look in free.looks if look.general_bits_per_byte > free.looks[0].general_bits_per_byte + 0.05
    )
    assert rates[0][over] == rates[1][over]
    assert rates[0][over + 1] == pytest.approx(rates[1][over + 1] / 2)
    assert len(fitted.losses) < 200
    said = capsys.readouterr().err
    assert f"step {over}: +0." in said
    assert "the learning rate is halved" in said
    assert "stopped early: it has forgotten" in said


@pytest.mark.parametrize(("stop", "guards"), [(33, NEVER), (58, NEVER), (101, NEVER), (58, Guards(patience=6))])
def test_stopped_and_resumed_with_looks_equals_straight_through(tmp_path: Path, stop: int, guards: Guards) -> None:
    plans = [order(tmp_path / name, 110, guards, checkpoint_every=20) for name in ("straight", "stopped")]
    net, straight = taught(plans[0])
    with pytest.raises(KeyboardInterrupt):
        taught(plans[1], StopAt(stop + 2))
    resumed_net, resumed = taught(plans[1])
    assert resumed.losses == straight.losses
    assert resumed.looks == straight.looks
    assert same(net, resumed_net)
    assert read_json(tmp_path / "straight" / "curve.json") == read_json(tmp_path / "stopped" / "curve.json")
    logs = [
        [{k: v for k, v in line.items() if "seconds" not in k} for line in read_jsonl(tmp_path / name / "log.jsonl")]
        for name in ("straight", "stopped")
    ]
    assert logs[0] == logs[1]


def test_best_weights_that_are_cut_or_gone_are_refused(tmp_path: Path) -> None:
    taught(order(tmp_path, 60))
    best = tmp_path / "checkpoints"
    step = read_json(best / "best" / "checkpoint.json")["step"]
    assert load_best(best, step, "a")
    for wrong in ((step + 1, "a"), (step, "other")):
        with pytest.raises(Fixable, match="cannot be read back"):
            load_best(best, *wrong)
    state = best / "best" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-8])
    with pytest.raises(Fixable, match="does not match its hash"):
        load_best(best, step, "a")
    shutil.rmtree(best / "best")
    with pytest.raises(Fixable, match="cannot be read back"):
        load_best(best, step, "a")


# the alarm

# The losses of lora on this project's handbook: Qwen2.5-0.5B, 6 epochs, batch 8, 2026-11-22.
REAL = """
3.46 2.77 4.02 3.77 3.41 2.73 3.1 2.66 2.42 2.37 1.88 1.88 1.44 2.02 1.67 1.81 1.49 1.37 1.7 1.39 1.64 1.04
1.64 0.972 0.824 0.456 0.541 0.885 0.364 0.636 0.801 0.558 0.476 0.694 0.392 0.777 0.316 0.375 0.419 0.18
0.177 0.186 0.187 0.128 0.0712 0.216 0.0319 0.0315 0.0476 0.101 0.0896 0.0338 0.0742 0.0438 0.0179 0.0181
0.0749 0.0669 0.0439 0.0827 0.0333 0.101 0.114 0.0671 0.0701 0.0504 0.0314 0.018 0.00954 0.018 0.00291 0.0301
0.0133 0.00356 0.0402 0.00244 0.00343 0.0134 0.0711 0.0242 0.00443 0.0218 0.00235 0.00354 0.00471 0.00197
0.00941 0.012 0.0262 0.00239 0.00342 0.00274 0.00885 0.00128 0.00194 0.00101 0.00124 0.00163 0.00105 0.00156
0.000963 0.000938 0.00112 0.00748 0.0454 0.00203 0.00144 0.000992 0.0019 0.0511 0.00239 0.00238 0.00107
0.00273 0.000934 0.000742 0.000672 0.000482 0.000717 0.000854 0.000904 0.000586 0.000675 0.00103 0.000876
0.000718 0.000783 0.000702 0.00081 0.000757 0.00105 0.000857 0.000582 0.000878 0.000472 0.000993 0.000636
0.000561
"""


def test_a_real_run_raises_no_alarm_and_would_if_it_diverged() -> None:
    losses = [float(word) for word in REAL.split()]
    assert len(losses) == 138
    assert [step for step in range(len(losses)) if is_spike(losses[:step], losses[step])] == []
    row = (Encoded((1, 2), (False, True), "faq.jsonl:3"),)
    gone = [*losses[:80], 9.0, 9.5]
    with pytest.raises(Fixable, match=r"left its course: 10\.00 at step 83"):
        check_step(gone, 10.0, 1.0, [row])
    check_step(losses[:80], 9.0, 1.0, [row])


def test_healthy_runs_raise_no_alarm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Memorising to almost nothing, with one hard batch in eight: the usual loss is far below the hard one."""
    easy = [Encoded((5, 6, 7, 8), (False, True, True, True), f"easy {n}") for n in range(7)]
    hard = sequences(1, longest=30)[0]
    batches: list[Row] = [(s,) for s in (*easy, hard)]
    for rate in (1e-3, 1e-2):
        plan = Plan("teaching", 240, lambda step: [batches[step % 8]], rate, tmp_path / str(rate), "a")
        _, fitted = taught(plan)
        assert fitted.losses[-2] < 0.5
    assert "far above" not in capsys.readouterr().err


def test_a_run_that_leaves_its_course_is_stopped_before_the_update(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Drifting(Supervised):
        """The real loss; from row 40 on the net's output layer is spoilt, as a divergence would."""

        def loss(self, net: torch.nn.Module, row: Row) -> torch.Tensor:
            seen.append(row)
            if len(seen) > 40:
                with torch.no_grad():
                    net.get_input_embeddings().weight.mul_(1.5)  # type: ignore[operator]
            if len(seen) == 43:
                before.update(copy.deepcopy(net.state_dict()))
            return super().loss(net, row)

    seen: list[Row] = []
    before: dict[str, torch.Tensor] = {}
    rows = [(s,) for s in sequences(3)]
    net = tiny_net()
    plan = Plan("teaching", 90, lambda step: [rows[step % 3]], 1e-3, tmp_path, "a")
    with pytest.raises(Fixable, match="left its course") as stopped:
        fit(net, dict(net.named_parameters()), Drifting(), plan)
    assert "row " in stopped.value.hint
    assert "far above" in capsys.readouterr().err, "the first spikes are named and the run goes on"
    assert len(read_jsonl(tmp_path / "log.jsonl")) == len(seen) - 1
    if len(seen) == 43:
        assert all(torch.equal(w, before[name]) for name, w in net.state_dict().items())


def test_one_odd_batch_is_named_and_survived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Odd(Supervised):
        def loss(self, net: torch.nn.Module, row: Row) -> torch.Tensor:
            return super().loss(net, row) * (50.0 if row[0].source == "odd.jsonl:7" else 1.0)

    usual = sequences(1)[0]
    odd = replace(sequences(1, seed=9)[0], source="odd.jsonl:7")
    plan = Plan("teaching", 60, lambda step: [(odd if step == 40 else usual,)], 1e-3, tmp_path, "a")
    _, fitted = taught(plan, Odd())
    assert len(fitted.losses) == 60
    assert "step 41: the loss" in (said := capsys.readouterr().err)
    assert "odd.jsonl:7" in said


@given(st.lists(st.floats(0.001, 12), min_size=FEWEST, max_size=80), st.floats(0.001, 12))
def test_a_loss_no_higher_than_the_first_ones_is_never_a_spike(losses: list[float], loss: float) -> None:
    assert not is_spike(losses, min(loss, max(losses[:FEWEST])))
    assert is_spike(losses, 1e6)
    assert not is_spike(losses[: FEWEST - 1], 1e6)


def test_no_number_is_refused_at_once() -> None:
    row = (Encoded((1, 2), (False, True), "一行.jsonl:3 🎓"),)
    for loss, norm in ((float("nan"), 1.0), (1.0, float("inf"))):
        with pytest.raises(Fixable, match="not a number at step 1") as stopped:
            check_step([], loss, norm, [row])
        assert "一行.jsonl:3 🎓" in stopped.value.hint


def test_curve_json_is_plain(tmp_path: Path) -> None:
    taught(order(tmp_path, 20))
    assert "NaN" not in json.dumps(read_json(tmp_path / "curve.json"))
