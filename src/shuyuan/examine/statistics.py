"""Intervals, paired comparisons and the verdict. Facts are resampled, not wordings; assistants are always paired.

Arrays: `scores_AN` is assistants × items, NaN where a metric does not apply; `clusters_N` names each item's fact.
Method: Miller 2024 (arXiv 2411.00640) for clusters and pairing; Holm 1979 for several comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 10_000
LEVEL = 0.05  # two-sided
_Z, _Z_POWER = 1.959964, 0.841621  # normal quantiles at .975 and at .80
_EXHAUSTIVE = 13  # clusters up to which all 2^C sign patterns are tried


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval (None where it cannot be estimated) from `n` items in `clusters` facts."""

    value: float
    low: float | None
    high: float | None
    n: int
    clusters: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """`one` minus `other` on the items both have: difference, 95 % interval, p, and p after Holm's correction.

    `detectable` is the smallest difference that this many facts would show 4 times of 5 (None: they never differed).
    """

    one: str
    other: str
    difference: float
    low: float | None
    high: float | None
    p: float
    p_holm: float
    n: int
    clusters: int
    detectable: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who is best. `winner` is empty unless the best beats every other at 5 % after Holm's correction.

    `leaders` are the best and all who are not shown to be worse; `comparisons` are best against each other, as ranked.
    """

    winner: str
    best: str
    leaders: tuple[str, ...]
    comparisons: tuple[Comparison, ...]


def intervals(scores_AN: Floats, clusters_N: Sequence[str], seed: int = 0) -> list[Interval]:
    """The mean of each row with its percentile interval over resampled clusters (10,000 times, seeded).

    A row of nothing but 0s or nothing but 1s never varies when resampled, so it gets Wilson's interval over its
    clusters. Fewer than two clusters: no interval. A row without items: value NaN, n 0.
    """
    sums_AC, counts_AC = _by_cluster(scores_AN, clusters_N)
    means_AB = _resampled_means(sums_AC, counts_AC, seed)
    found = []
    for row, sums, counts, means in zip(scores_AN, sums_AC, counts_AC, means_AB, strict=True):
        known = row[~np.isnan(row)]
        n, clusters = len(known), int((counts > 0).sum())
        if n == 0:
            found.append(Interval(math.nan, None, None, 0, 0))
            continue
        value = float(sums.sum() / n)
        low: float | None = None
        high: float | None = None
        if clusters > 1 and np.all(known == known[0]) and known[0] in (0.0, 1.0):
            low, high = wilson(clusters if known[0] else 0, clusters)
        elif clusters > 1:
            low, high = (float(q) for q in np.nanquantile(means, [LEVEL / 2, 1 - LEVEL / 2]))
        found.append(Interval(value, low, high, n, clusters))
    return found


def ratio(totals_N: Floats, sizes_N: Floats, seed: int = 0) -> Interval:
    """Σ totals / Σ sizes with its percentile interval over resampled items; bits per byte weighs items by size.

    Sizes are positive; fewer than two items have no interval.
    """
    n = len(totals_N)
    low: float | None = None
    high: float | None = None
    if n > 1:
        means = _resampled_means(totals_N[None], sizes_N[None], seed)[0]
        low, high = (float(q) for q in np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2]))
    return Interval(float(totals_N.sum() / sizes_N.sum()), low, high, n, n)


def compare(
    one: tuple[str, Floats], other: tuple[str, Floats], clusters_N: Sequence[str], seed: int = 0
) -> Comparison | None:
    """Two assistants on the same items; None where they share none.

    The interval resamples clusters. p is Fisher's randomisation test: in each cluster the two names may be swapped
    (exhaustively up to 13 clusters, 10,000 seeded draws beyond), so identical assistants have p = 1.
    """
    gaps_N = one[1] - other[1]
    both = ~np.isnan(gaps_N)
    n = int(both.sum())
    if n == 0:
        return None
    gaps_C, counts_C = _by_cluster(gaps_N[None, both], [c for c, b in zip(clusters_N, both, strict=True) if b])
    clusters = gaps_C.shape[1]
    difference = float(gaps_C.sum() / n)
    low: float | None = None
    high: float | None = None
    detectable: float | None = None
    if clusters > 1:
        means = _resampled_means(gaps_C, counts_C, seed)[0]
        low, high = (float(q) for q in np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2]))
        detectable = (_Z + _Z_POWER) * _cluster_error(gaps_C[0], counts_C[0]) or None
    p = _randomisation_p(gaps_C[0], seed)
    return Comparison(one[0], other[0], difference, low, high, p, p, n, clusters, detectable)


def verdict(scores: Mapping[str, Floats], clusters_N: Sequence[str], seed: int = 0) -> Verdict:
    """Compare the assistant with the highest mean to every other, correct by Holm, and decide by rule.

    Equal means are ranked by name, and the winner must have p ≤ .05 against all, so ties cannot win. Raises ValueError
    without assistants.
    """
    ranked = sorted(scores, key=lambda name: (-_mean(scores[name]), name))
    best, others = ranked[0], ranked[1:]
    raw = [compare((best, scores[best]), (name, scores[name]), clusters_N, seed) for name in others]
    found = [comparison for comparison in raw if comparison]
    corrected = holm([comparison.p for comparison in found])
    comparisons = tuple(
        Comparison(c.one, c.other, c.difference, c.low, c.high, c.p, p, c.n, c.clusters, c.detectable)
        for c, p in zip(found, corrected, strict=True)
    )
    beaten = {c.other for c in comparisons if c.p_holm <= LEVEL and c.difference > 0}
    leaders = tuple(name for name in ranked if name not in beaten)
    return Verdict(best if others and leaders == (best,) else "", best, leaders, comparisons)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values, in the given order, that keep the chance of any false claim at level."""
    corrected = [0.0] * len(ps)
    highest = 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, ps[at] * (len(ps) - rank)))
        corrected[at] = highest
    return corrected


def wilson(right: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval for `right` of `n` (n ≥ 1); never of width 0, even at 0 or n."""
    share, z2 = right / n, _Z * _Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return centre - half if right else 0.0, centre + half if right < n else 1.0


def mcnemar(only_one: int, only_other: int) -> float:
    """The exact two-sided p of McNemar's test, from the items that only one of two assistants got right."""
    n = only_one + only_other
    tail = sum(math.comb(n, k) for k in range(min(only_one, only_other) + 1))
    return min(1.0, 2 * tail / (1 << n))


def _mean(row_N: Floats) -> float:
    return -1.0 if np.isnan(row_N).all() else float(np.nanmean(row_N))


def _by_cluster(scores_AN: Floats, clusters_N: Sequence[str]) -> tuple[Floats, Floats]:
    """Sums and counts of each row in each cluster [A, C]; clusters sorted by name, so the items' order is no matter."""
    names, index_N = np.unique(np.asarray(clusters_N, dtype=str), return_inverse=True)
    member_NC = np.zeros((len(index_N), len(names)))
    member_NC[np.arange(len(index_N)), index_N] = 1
    return np.nan_to_num(scores_AN) @ member_NC, (~np.isnan(scores_AN)).astype(float) @ member_NC


def _resampled_means(sums_AC: Floats, counts_AC: Floats, seed: int) -> Floats:
    """Means over clusters drawn with replacement [A, RESAMPLES]; every row sees the same draws, which pairs them."""
    clusters = sums_AC.shape[1]
    if clusters == 0:
        return np.full((len(sums_AC), RESAMPLES), np.nan)
    draws_CB = _draws(clusters, seed)
    with np.errstate(invalid="ignore"):
        means: Floats = (sums_AC @ draws_CB) / (counts_AC @ draws_CB)
    return means


@lru_cache(maxsize=4)
def _draws(clusters: int, seed: int) -> Floats:
    """How often each cluster is drawn in each resample [C, RESAMPLES]; an exam asks for the same draws many times."""
    random = np.random.default_rng(seed)
    return random.multinomial(clusters, np.full(clusters, 1 / clusters), RESAMPLES).T.astype(np.float64)


def _cluster_error(gaps_C: Floats, counts_C: Floats) -> float:
    """The standard error of Σ gaps / Σ counts over C ≥ 2 clusters."""
    clusters, n = len(gaps_C), counts_C.sum()
    residuals = gaps_C - counts_C * (gaps_C.sum() / n)
    return float(np.sqrt((residuals**2).sum() * clusters / (clusters - 1)) / n)


def _randomisation_p(gaps_C: Floats, seed: int) -> float:
    clusters = len(gaps_C)
    if clusters <= _EXHAUSTIVE:
        patterns = (np.arange(2**clusters)[:, None] >> np.arange(clusters)) & 1
    else:
        patterns = np.random.default_rng(seed).integers(0, 2, (RESAMPLES, clusters))
    totals = np.abs((patterns * 2 - 1) @ gaps_C)
    # Sums of the same gaps in another order differ in their last bits; such totals are as extreme as what was seen.
    extreme = int((totals >= abs(gaps_C.sum()) - 1e-9).sum())
    return extreme / len(patterns) if clusters <= _EXHAUSTIVE else (extreme + 1) / (len(patterns) + 1)
