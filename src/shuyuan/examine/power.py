"""What an exam could show, told before anybody sits it: the smallest difference that it would probably see."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from shuyuan.examine.quantiles import LEVEL
from shuyuan.measure.marking import Floats

POWER = 0.80
AGAINST = 0.05  # share of the items that the worse assistant alone has right
_FINE = 1e-4


def power(n: int, better: float, worse: float) -> float:
    """How likely McNemar's exact test tells two assistants apart (p ≤ .05, two-sided) on `n` independent items.

    `better` and `worse`: shares of the items that only the one, and only the other, has right.
    """
    differing, share = better + worse, better / (better + worse)
    chances = _binomial(n, differing)
    found = 0.0
    for size in np.flatnonzero(chances > 1e-12).tolist():
        allowed = _allowed(size)
        if allowed >= 0:
            tails = _binomial(size, share)
            found += chances[size] * (tails[: allowed + 1].sum() + tails[size - allowed :].sum())
    return float(found)


@lru_cache(maxsize=256)
def detectable(n: int, against: float = AGAINST) -> float | None:
    """The smallest difference that `n` independent items (facts, documents) would show 4 times of 5; None if none.

    `against` is the share of items on which the worse assistant alone is right: the more it has, the more is needed.
    """
    low, high = 0.0, 1 - 2 * against
    if power(n, against + high, against) < POWER:
        return None
    while high - low > _FINE:
        middle = (low + high) / 2
        low, high = (low, middle) if power(n, against + middle, against) >= POWER else (middle, high)
    return high


def foresight(facts: int) -> str:
    """The sentence that is said before a sitting."""
    points = detectable(facts)
    if points is None:
        return f"with {facts:,} facts no difference can be shown: ask about more"
    return (
        f"with {facts:,} facts a difference under {100 * points:.0f} points will probably not be seen (p ≤ {LEVEL:g}, "
        f"4 times of 5, if the worse one alone is right on {100 * AGAINST:.0f} %)"
    )


@lru_cache(maxsize=4096)
def _allowed(size: int) -> int:
    """How many of `size` differing items may speak for the worse one at p ≤ .05; −1 if not even none is enough."""
    return int((2 * np.cumsum(_binomial(size, 0.5)) <= LEVEL).sum()) - 1


def _binomial(n: int, chance: float) -> Floats:
    if chance in (0.0, 1.0):
        return np.asarray(np.eye(1, n + 1, n if chance else 0)[0])
    logs = _log_factorials(n)
    k = np.arange(n + 1)
    return np.asarray(np.exp(logs[n] - logs - logs[::-1] + k * math.log(chance) + (n - k) * math.log1p(-chance)))


@lru_cache(maxsize=512)
def _log_factorials(n: int) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
