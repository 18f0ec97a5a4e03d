"""When a run must not go on: a loss or gradient that is no number, and a loss that has left its course."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import say
from shuyuan.prepare.pack import Row

WINDOW = 64  # losses a new one is compared with
FEWEST = 16  # fewer say nothing
FAR = 10.0  # median absolute deviations above the median
IN_A_ROW = 3


class Diverged(Fixable):
    """A run that would only get worse."""


def check_step(losses: Sequence[float], loss: float, norm: float, rows: Sequence[Row]) -> None:
    """Raise before an update that would spoil the weights, naming the step's examples.

    A value that is no number stops at once. A spike (see `is_spike`) is named aloud and the run goes on, for one odd
    batch is harmless: its gradient is clipped to the length of any other. The third in a row is no odd batch.
    """
    step = len(losses) + 1
    if not math.isfinite(loss + norm):
        raise Diverged(
            f"the loss ({loss}) or the gradient ({norm}) is not a number at step {step}; the weights were not changed",
            f"look at these examples, or lower the learning rate: {_named(rows)}",
        )
    if not is_spike(losses, loss):
        return
    if all(is_spike(losses[:-back], losses[-back]) for back in range(1, IN_A_ROW)):
        raise Diverged(
            f"the loss has left its course: {loss:.2f} at step {step}, the third such step in a row, "
            f"after {median(losses[-WINDOW:]):.2f}; this update was not made",
            f"lower the learning rate, or look at these examples: {_named(rows)}",
        )
    say(f"step {step}: the loss {loss:.2f} is far above {median(losses[-WINDOW:]):.2f}; its examples: {_named(rows)}")


def is_spike(losses: Sequence[float], loss: float) -> bool:
    """Whether a loss is above all of the first 16, and 10 median absolute deviations above the median of the last 64.

    The first condition is what keeps healthy runs quiet: near the end of memorising, the usual loss and its spread are
    so small that an honest hard batch is hundreds of deviations away, yet still far below where the run began.
    """
    recent = losses[-WINDOW:]
    if len(recent) < FEWEST or loss <= max(losses[:FEWEST]):
        return False
    middle = median(recent)
    return loss > middle + FAR * median(abs(value - middle) for value in recent)


def _named(rows: Sequence[Row]) -> str:
    sources = sorted({sequence.source for row in rows for sequence in row})
    more = f" and {len(sources) - 8} more" if len(sources) > 8 else ""
    return ", ".join(sources[:8]) + more
