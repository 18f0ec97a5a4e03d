"""Learning curves while a run goes on: what is looked at, what the looks say, and the best weights kept."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from shuyuan.base.files import write_json
from shuyuan.base.guards import Guards
from shuyuan.base.progress import say
from shuyuan.measure.bits_per_byte import bits_per_byte
from shuyuan.prepare.pack import Row, tokens_of
from shuyuan.train.checkpoint import load_best, save_best
from shuyuan.train.supervised import Supervised

if TYPE_CHECKING:
    from shuyuan.train.loop import Loss

CURVE = "curve.json"
RISE = 0.02  # of the best held-out loss: more than this above it at the end is over-fitting
STILL_FALLING = 0.1  # of all that was gained: more than this in the last third is under-fitting
_LEVELS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Sample:
    """Fixed rows to look at; `size_bytes` is the UTF-8 length of what their learned tokens say, 0 for pairs."""

    rows: tuple[Row, ...] = ()
    size_bytes: int = 0

    @property
    def targets(self) -> int:
        """How many the loss counts."""
        return sum(sequence.targets for row in self.rows for sequence in row)

    @property
    def tokens(self) -> int:
        """How many tokens a look computes on."""
        return tokens_of(self.rows)


@dataclass(frozen=True)
class Watch:
    """What a run looks at, after which steps (0: before the first), and its guards."""

    held_out: Sample = field(default_factory=Sample)
    general: Sample = field(default_factory=Sample)
    moments: frozenset[int] = frozenset()
    guards: Guards = field(default_factory=Guards)


@dataclass(frozen=True)
class Look:
    """What was measured after a step: the held-out loss in nats a target, and bits a byte.

    `held_out_accuracy`: of pairs, the share in which the better ending has gained on the worse one.
    """

    step: int
    held_out_loss: float | None = None
    held_out_bits_per_byte: float | None = None
    general_bits_per_byte: float | None = None
    held_out_accuracy: float | None = None


@dataclass(frozen=True)
class Standing:
    """What the looks so far come to: the best one, the factor of the learning rate, and why to stop (or "")."""

    best: Look | None = None
    factor: float = 1.0
    stop: str = ""


def standing(looks: Sequence[Look], guards: Guards) -> Standing:
    """Judge the looks in order; it depends on nothing else, so a resumed run decides as an uninterrupted one.

    Best is the lowest held-out loss among the looks within the limit of forgetting (the latest of them, where nothing
    is held out); what was before the first step is never best. The first look over the limit halves the learning rate;
    a later one that has risen still further stops the run, and so do `patience` looks without a better held-out loss.
    """
    best, factor, halved, waited = None, 1.0, 0.0, 0
    for look in looks:
        risen = _risen(looks[0], look)
        over = bool(guards.forget_limit) and risen > guards.forget_limit
        if over and factor < 1 and risen > halved:
            stop = f"it has forgotten {risen:+.2f} bits a byte of general text; the limit is {guards.forget_limit:+.2f}"
            return Standing(best or look, factor, stop)
        if over and factor == 1:
            factor, halved = 0.5, risen
        if look.step == 0:
            continue
        if best is None or _rank(look, looks[0], guards) < _rank(best, looks[0], guards):
            best, waited = look, 0
        elif look.held_out_loss is not None:
            waited += 1
            if guards.patience and waited >= guards.patience:
                return Standing(best, factor, f"the held-out loss has not improved in {waited} looks")
    return Standing(best, factor)


def _rank(look: Look, first: Look, guards: Guards) -> tuple[bool, float]:
    risen = _risen(first, look)
    over = bool(guards.forget_limit) and risen > guards.forget_limit
    if look.held_out_loss is not None:
        return over, look.held_out_loss
    return over, risen if over else -float(look.step)


def _risen(first: Look, look: Look) -> float:
    if first.general_bits_per_byte is None or look.general_bits_per_byte is None:
        return 0.0
    return look.general_bits_per_byte - first.general_bits_per_byte


class Watcher:
    """Looks at a net while its weights learn, keeps the best ones on disk, and sums the run up at its end."""

    def __init__(
        self,
        net: torch.nn.Module,
        learned: Mapping[str, Tensor],
        loss: Loss,
        watch: Watch,
        folder: Path,
        *,
        mark: str,
        looks: Sequence[Look] = (),
    ) -> None:
        self._net, self._learned, self._loss, self._watch = net, learned, loss, watch
        self._folder, self._mark = folder, mark
        self.looks = list(looks)
        self.standing = standing(self.looks, watch.guards)

    def look(self, step: int) -> dict[str, float]:
        """Measure, if `step` is one of the moments; what was measured, for the log."""
        if step not in self._watch.moments:
            return {}
        began = time.monotonic()
        held, general = self._watch.held_out, self._watch.general
        held_nats = self._nats(self._loss, held) if held.rows else None
        look = Look(
            step,
            None if held_nats is None else held_nats / held.targets,
            None if held_nats is None or not held.size_bytes else bits_per_byte(held_nats, held.size_bytes),
            bits_per_byte(self._nats(Supervised(), general), general.size_bytes) if general.rows else None,
            self._loss.figures(held.rows).get("accuracy") if held.rows else None,
        )
        self.looks.append(look)
        before, self.standing = self.standing, standing(self.looks, self._watch.guards)
        if self.standing.factor < before.factor:
            limit = f"{_risen(self.looks[0], look):+.2f} bits a byte of general text are forgotten"
            say(f"step {step}: {limit}, more than the limit; the learning rate is halved from here on")
        if self.standing.stop:
            say(f"step {step}: stopped early: {self.standing.stop}")
        if self.standing.best is look and step < max(self._watch.moments):
            save_best(self._folder, step, self._learned, self._mark)
        found = {name: value for name, value in asdict(look).items() if name != "step" and value is not None}
        return found | {"look_seconds": round(time.monotonic() - began, 3)}

    @torch.no_grad()
    def _nats(self, loss: Loss, sample: Sample) -> float:
        return math.fsum(loss.loss(self._net, row).item() for row in sample.rows)

    @torch.no_grad()
    def finish(self, losses: Sequence[float], steps: int) -> dict[str, Any]:
        """Put the best weights back, say how it went, and keep it all in `curve.json`; one look alone says nothing."""
        if len(self.looks) < 2:
            return {}
        best = self.standing.best or self.looks[-1]
        if best.step != self.looks[-1].step:
            for name, tensor in load_best(self._folder, best.step, self._mark).items():
                self._learned[name].copy_(tensor)
            say(f"the weights of step {best.step} are kept: the best of {len(self.looks) - 1} looks")
        word, evidence = verdict(losses, self.looks, best)
        drawn = curves(losses, self.looks, best, self._loss.unit)
        say(f"{drawn}\nverdict: {word}: {evidence}")
        summary = {
            "verdict": word,
            "evidence": evidence,
            "best_step": best.step,
            "steps": steps,
            "stopped": self.standing.stop,
            "halved_rate": self.standing.factor < 1,
            "curves": drawn,
            "looks": [asdict(look) for look in self.looks],
        }
        write_json(self._folder.parent / CURVE, summary)
        return summary


def verdict(losses: Sequence[float], looks: Sequence[Look], best: Look) -> tuple[str, str]:
    """One word on how a run went, and the figures that say so.

    diverged: the training loss ended above where it began. over-fit: the held-out loss ended more than 2 % above its
    best, or never fell below where it began. under-fit: the last third of the run still brought more than a tenth of
    all that was gained, or nothing was gained. fit: none of these. unmeasured: nothing was held out.
    """
    few = max(1, len(losses) // 10)
    began, ended = sum(losses[:few]) / few, sum(losses[-few:]) / few
    trained = f"the training loss went from {began:.2f} to {ended:.2f}"
    if ended > began * (1 + RISE):
        return "diverged", f"{trained}; lower the learning rate"
    held = [(look.step, look.held_out_loss) for look in looks if look.held_out_loss is not None]
    if not held or best.held_out_loss is None:
        return "unmeasured", f"{trained}, and nothing was held out to compare with"
    first, last = held[0][1], held[-1][1]
    went = f"the held-out loss went from {first:.2f} to {last:.2f}"
    if best.held_out_loss >= first:
        return "over-fit" if ended < began else "under-fit", f"{trained}, but {went} and was never better"
    if last > best.held_out_loss * (1 + RISE):
        return "over-fit", f"{trained}, but {went}, after {best.held_out_loss:.2f} at step {best.step}"
    third = next(loss for step, loss in reversed(held) if step <= held[-1][0] * 2 / 3)
    if third - last > STILL_FALLING * (first - last):
        return "under-fit", f"{went} and was still falling: {third - last:.2f} of it in the last third"
    return "fit", f"{went} and has settled; {trained}"


def curves(losses: Sequence[float], looks: Sequence[Look], best: Look, unit: str = "token") -> str:
    """The run's curves as lines of text, one value a look; `unit` is what the loss counts."""
    spans = list(pairwise([look.step for look in looks])) or [(0, len(losses))]
    trained = [sum(losses[a:b]) / len(losses[a:b]) for a, b in spans if losses[a:b]]
    lines = [_line("training", trained, f"nats a {unit}")]
    held = [look.held_out_loss for look in looks if look.held_out_loss is not None]
    if held:
        more = f", {best.held_out_bits_per_byte:.2f} bits a byte" if best.held_out_bits_per_byte else ""
        if best.held_out_accuracy is not None:
            more = f", {best.held_out_accuracy:.0%} of the {unit}s right"
        lines.append(_line("held out", held, f"nats a {unit}; best {best.held_out_loss:.2f} at step {best.step}{more}"))
    general = [look.general_bits_per_byte for look in looks if look.general_bits_per_byte is not None]
    if general:
        lines.append(_line("general", general, "bits a byte of general text"))
    return "\n".join(lines)


def _line(name: str, values: Sequence[float], unit: str) -> str:
    return f"{name:<9} {sparkline(values)}  {values[0]:.2f} → {values[-1]:.2f} {unit}"


def sparkline(values: Sequence[float]) -> str:
    """A curve as text, one block a value, from the lowest ▁ to the highest █."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(_LEVELS[round((value - low) / span * (len(_LEVELS) - 1))] for value in values)
