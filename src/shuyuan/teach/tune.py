"""Learning rate and epochs chosen by measurement: short trials on held-out loss, the better half of them longer."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import human_seconds, say
from shuyuan.teach.watching import FEWEST_SEQUENCES
from shuyuan.train.alarm import Diverged
from shuyuan.train.loop import Loss, Plan, fit
from shuyuan.train.watch import Watch

if TYPE_CHECKING:
    from shuyuan.teach.course import Course

RATES = (0.1, 0.32, 1.0, 3.2, 10.0)  # factors of the given learning rate
EPOCHS = (1.0, 0.5, 2.0)  # factors of the given epochs, in the order they are tried
FEWEST_STEPS = 8  # a shorter trial says nothing
LONGER = 1.5  # at least so many times as long are the trials of the next round, up to the whole run
RATES_SHARE = 0.5  # of the budget; the rest goes to the epochs


@dataclass(frozen=True)
class Trial:
    """One trial: `loss` is held out, in nats a target, at its end; infinite where it ended in no number."""

    learning_rate: float
    steps: int
    epochs: float
    loss: float
    seconds: float


@dataclass(frozen=True)
class Tuning:
    """What was chosen, and every trial it was chosen from."""

    learning_rate: float
    epochs: float
    budget_seconds: float
    trials: tuple[Trial, ...]

    def __str__(self) -> str:
        rows = ["     rate  steps epochs  held-out loss  time"]
        for trial in self.trials:
            shown = f"{trial.learning_rate:9.1e} {trial.steps:6,} {trial.epochs:6.1f}  {trial.loss:<13.4f}"
            rows.append(f"{shown}  {human_seconds(trial.seconds)}")
        return "\n".join(rows)


def choose_rate_and_epochs(
    course: Course, plan: Plan, net: torch.nn.Module, learned: Mapping[str, Tensor], loss: Loss, *, seconds: float
) -> Tuning:
    """Try learning rates, then epochs, within a budget; the learned weights are afterwards as they were.

    Rates: successive halving (Jamieson & Talwalkar, arXiv 1502.07943). Five rates around the plan's have equally long
    trials; the better half goes on to longer ones, each from the start and with a whole schedule of its own, until one
    is left. Epochs: the winner is taught for the plan's, half and twice as many epochs, as far as the budget holds such
    trials; each is a rehearsal of the very run.
    """
    if not plan.watch.held_out.rows:
        raise Fixable(
            "nothing is held out to compare learning rates on",
            f"at least {FEWEST_SEQUENCES} sequences are needed, and --hold-out above 0",
        )
    bench = _Bench(course, plan, net, learned, loss)
    try:
        rate = _best_rate(bench, seconds * RATES_SHARE)
        epochs = _best_epochs(bench, rate, seconds - bench.spent)
    finally:
        bench.restore()
    tuning = Tuning(rate, epochs, seconds, tuple(bench.trials))
    say(f"{tuning}\nchosen: learning rate {rate:.2g}, {epochs:.3g} epochs, in {human_seconds(bench.spent)}")
    return tuning


class _Bench:
    """Trials from one and the same start."""

    def __init__(self, course: Course, plan: Plan, net: torch.nn.Module, learned: Mapping[str, Tensor], loss: Loss):
        self.course, self.plan, self._net, self._learned, self._loss = course, plan, net, learned, loss
        self._start = {name: weight.detach().clone() for name, weight in learned.items()}
        self._began = time.monotonic()
        self.trials: list[Trial] = []

    @property
    def spent(self) -> float:
        return time.monotonic() - self._began

    @property
    def seconds_a_step(self) -> float:
        return sum(t.seconds for t in self.trials) / sum(t.steps for t in self.trials)

    def run(self, rate: float, steps: int) -> Trial:
        """Teach from the start for so many steps, and look at the held-out sequences once; never the same twice."""
        if known := self.known(rate, steps):
            return known
        self.restore()
        began = time.monotonic()
        watch = Watch(self.plan.watch.held_out, moments=frozenset({steps}), guards=self.plan.watch.guards)
        title = f"trying {rate:.1e} for {steps} steps"
        plan = replace(
            self.plan, title=title, steps=steps, learning_rate=rate, watch=watch, before=None, checkpoint_every=steps
        )
        try:
            loss = fit(self._net, self._learned, self._loss, plan).looks[-1].held_out_loss
        except Diverged as stopped:
            say(f"{title}: {stopped.what}")
            loss = math.inf
        epochs = steps / self.course.steps_an_epoch
        seconds = round(time.monotonic() - began, 2)
        trial = Trial(rate, steps, round(epochs, 2), loss if loss is not None else math.inf, seconds)
        self.trials.append(trial)
        return trial

    def known(self, rate: float, steps: int) -> Trial | None:
        """The trial of this rate and length, if it was made."""
        return next((t for t in self.trials if (t.learning_rate, t.steps) == (rate, steps)), None)

    @torch.no_grad()
    def restore(self) -> None:
        for name, weight in self._learned.items():
            weight.copy_(self._start[name])


def _best_rate(bench: _Bench, budget_seconds: float) -> float:
    """The rate that is left after the rounds, each of which gets an even share of the budget."""
    rates = [bench.plan.learning_rate * factor for factor in RATES]
    rungs = list(_halvings(len(rates)))
    warm = bench.run(bench.plan.learning_rate, FEWEST_STEPS)
    bench.trials.clear()  # it was for its time
    a_step = warm.seconds / warm.steps
    for number, count in enumerate(rungs):
        left = (budget_seconds - bench.spent) / (len(rungs) - number)
        steps = min(bench.plan.steps, int(left / count / a_step))
        if number == 0 and steps < FEWEST_STEPS:
            least = a_step * FEWEST_STEPS * sum(rungs) / RATES_SHARE
            raise Fixable(
                f"{human_seconds(budget_seconds / RATES_SHARE)} is too short: a step takes {a_step:.1f} s",
                f"give it at least {human_seconds(least * 1.5)}, or name --learning-rate and --epochs yourself",
            )
        longer = math.ceil(bench.trials[-1].steps * LONGER) if bench.trials else FEWEST_STEPS
        steps = min(bench.plan.steps, max(steps, longer))
        tried = [bench.run(rate, steps) for rate in rates[:count]]
        a_step = bench.seconds_a_step
        rates = [trial.learning_rate for trial in sorted(tried, key=lambda t: (t.loss, t.learning_rate))]
    if not math.isfinite(min(trial.loss for trial in tried)):
        raise Fixable(
            "no learning rate tried gave a loss that is a number", "give a lower --learning-rate to start from"
        )
    return rates[0]


def _best_epochs(bench: _Bench, rate: float, budget_seconds: float) -> float:
    """The number of epochs with the lowest held-out loss among those the budget holds; the plan's, if it holds none."""
    began = bench.spent
    asked = bench.course.epochs
    if asked != round(asked):
        say(f"{asked:.2g} epochs are kept, for the material is not read a whole number of times")
        return asked
    tried: dict[int, float] = {}
    for epochs in dict.fromkeys(max(1, round(asked * factor)) for factor in EPOCHS):
        steps = epochs * bench.course.steps_an_epoch
        needed = 0.0 if bench.known(rate, steps) else steps * bench.seconds_a_step
        if bench.spent - began + needed > budget_seconds:
            say(f"{epochs} epochs are not tried: {human_seconds(needed)} is more than is left")
        else:
            tried[epochs] = bench.run(rate, steps).loss
    return min(tried, key=lambda epochs: tried[epochs]) if len(tried) > 1 else asked


def _halvings(count: int) -> Iterator[int]:
    """5, 3, 2: how many are tried in each round, until one would be left."""
    while count > 1:
        yield count
        count = -(-count // 2)


def as_plain(tuning: Tuning) -> dict[str, Any]:
    """For JSON, which has no infinity."""
    trials = [asdict(t) | ({} if math.isfinite(t.loss) else {"loss": None}) for t in tuning.trials]
    return {**asdict(tuning), "trials": trials}
