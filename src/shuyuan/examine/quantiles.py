"""Quantiles that the intervals need: of the normal distribution and of Student's t, without scipy."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

NORMAL = NormalDist()
LEVEL = 0.05  # two-sided
Z = NORMAL.inv_cdf(1 - LEVEL / 2)
Z_POWER = NORMAL.inv_cdf(0.80)
_SERIES_FROM = 200  # degrees of freedom from which the expansion around the normal quantile is exact to 1e-9


@lru_cache(maxsize=1024)
def student(degrees: int) -> float:
    """The two-sided 95 % quantile of Student's t with `degrees` ≥ 1 degrees of freedom (2.262 at 9, 1.960 at ∞)."""
    if degrees >= _SERIES_FROM:  # Abramowitz & Stegun 26.7.5
        z, n = Z, degrees
        return (
            z
            + (z**3 + z) / (4 * n)
            + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
            + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        )
    low, high = 0.0, math.pi / 2  # of θ with t = √n · tan θ
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < 1 - LEVEL else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _within(theta: float, degrees: int) -> float:
    """P(|t| < √n · tan θ), Abramowitz & Stegun 26.7.3 and 26.7.4."""
    cosine2, odd = math.cos(theta) ** 2, degrees % 2
    term = total = 0.0 if degrees == 1 else math.cos(theta) if odd else 1.0
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine2 * (k - 1) / k
        total += term
    inside = math.sin(theta) * total
    return 2 / math.pi * (theta + inside) if odd else inside
