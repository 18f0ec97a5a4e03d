"""Intervals, paired comparisons and the verdict. Facts are what is drawn, not wordings; assistants are always paired.

Arrays: `scores_AN` is assistants × items, NaN where a metric does not apply; `clusters_N` names each item's fact.
Method: Miller 2024 (arXiv 2411.00640) for clusters and pairing; Holm 1979 for several comparisons. Which interval is
used where was decided by simulation: bench/exam_statistics.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shuyuan.examine.quantiles import LEVEL, Z_POWER, Z, student
from shuyuan.examine.resampling import RESAMPLES, Formula, bootstrap, jackknife_error, swap_p, swap_pooled_p
from shuyuan.measure.marking import Floats

__all__ = ["LEVEL", "RESAMPLES"]  # known to others by this module


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


def intervals(scores_AN: Floats, clusters_N: Sequence[str], seed: int = 0, bounded: bool = True) -> list[Interval]:
    """The mean of each row with its 95 % interval.

    Marks of 0 and 1, one a cluster, get Wilson's interval. Other scores from 0 to 1 (`bounded`) get it for as many
    independent items as the spread between clusters says they are worth, with Student's t for the number of clusters; a
    row of nothing but 0s or 1s is worth its clusters. Other scores are amounts, as in `pooled`. Fewer than two
    clusters: no interval. A row without items: value NaN, n 0.
    """
    found = []
    for sums_C, counts_C in zip(*_by_cluster(scores_AN, clusters_N), strict=True):
        known = counts_C > 0
        sums, counts = sums_C[known], counts_C[known]
        n, clusters = int(counts.sum()), len(counts)
        value = float(sums.sum() / n) if n else math.nan
        low: float | None = None
        high: float | None = None
        if clusters > 1 and bounded:
            low, high = _share(sums, counts)
        elif clusters > 1:
            low, high = _amount(np.stack([sums, counts], axis=1), _mean_of, seed)
        found.append(Interval(value, low, high, n, clusters))
    return found


def pooled(
    counts_ND: Floats, formula: Formula, clusters_N: Sequence[str], seed: int = 0, *, bounded: bool = True
) -> Interval:
    """`formula(Σ counts)` of a pooled metric with its 95 % interval over clusters; rows of NaN do not apply.

    Scores from 0 to 1 (`bounded`) get the bootstrap over clusters; amounts without an upper bound (perplexity, bits per
    byte) Student's t on a logarithmic scale. Fewer than two clusters, or a score that is undefined: no interval.
    """
    known = _complete(counts_ND)
    counts_CD = _sums(counts_ND[known], _of(clusters_N, known))
    value = float(formula(counts_CD.sum(axis=0))) if len(counts_CD) else math.nan
    low: float | None = None
    high: float | None = None
    if len(counts_CD) > 1 and not math.isnan(value):
        low, high = (bootstrap if bounded else _amount)(counts_CD, formula, seed)
    return Interval(value, low, high, int(known.sum()), len(counts_CD))


def ratio(totals_N: Floats, sizes_N: Floats, seed: int = 0) -> Interval:
    """Σ totals / Σ sizes with its interval over items; bits per byte weighs items by size. Sizes > 0."""
    items = [f"{at:09}" for at in range(len(totals_N))]
    return pooled(np.stack([totals_N, sizes_N], axis=1), _mean_of, items, seed, bounded=False)


def compare(
    one: tuple[str, Floats], other: tuple[str, Floats], clusters_N: Sequence[str], seed: int = 0
) -> Comparison | None:
    """Two assistants on the same items; None where they share none.

    The interval is Student's t over clusters. p is Fisher's randomisation test: in each cluster the two names may be
    swapped, so identical assistants have p = 1; for marks of 0 and 1 on independent items it is McNemar's exact test.
    """
    gaps_N = one[1] - other[1]
    both = ~np.isnan(gaps_N)
    n = int(both.sum())
    if n == 0:
        return None
    shared = _of(clusters_N, both)
    (gaps_C,), (counts_C,) = _by_cluster(gaps_N[None, both], shared)
    clusters = len(gaps_C)
    difference = float(gaps_C.sum() / n)
    low: float | None = None
    high: float | None = None
    detectable: float | None = None
    if clusters > 1:
        error, rows = _error(gaps_C, counts_C), np.stack([one[1][both], other[1][both]])
        half = student(clusters - 1) * error
        if error == 0 and np.isin(rows, (0.0, 1.0)).all():
            half = wilson(0, clusters)[1]  # they never differed, or always: Wilson's bound on what was not seen
        most = 1.0 if ((rows >= 0) & (rows <= 1)).all() else math.inf
        low, high = max(-most, difference - half), min(most, difference + half)
        detectable = (Z + Z_POWER) * error or None
    p = swap_p(gaps_C, seed)
    return Comparison(one[0], other[0], difference, low, high, p, p, n, clusters, detectable)


def compare_pooled(
    one: tuple[str, Floats], other: tuple[str, Floats], formula: Formula, clusters_N: Sequence[str], seed: int = 0
) -> Comparison | None:
    """Two assistants on a pooled metric, from their counts [N, D]; None where they share no item.

    The interval is the paired bootstrap's, both assistants seeing the same draws; p is Fisher's randomisation test.
    """
    both = _complete(one[1] - other[1])
    if not both.any():
        return None
    shared = _of(clusters_N, both)
    ones_CD, others_CD = _sums(one[1][both], shared), _sums(other[1][both], shared)
    both_CD, size, clusters = np.hstack([ones_CD, others_CD]), ones_CD.shape[1], len(ones_CD)

    def gap(sums: Floats) -> Floats:
        return formula(sums[..., :size]) - formula(sums[..., size:])

    difference = float(gap(both_CD.sum(axis=0)))
    low, high = bootstrap(both_CD, gap, seed) if clusters > 1 else (None, None)
    detectable = (Z + Z_POWER) * jackknife_error(both_CD, gap) or None if clusters > 1 else None
    p = swap_pooled_p(ones_CD, others_CD, formula, seed)
    return Comparison(one[0], other[0], difference, low, high, p, p, int(both.sum()), clusters, detectable)


def verdict(scores: Mapping[str, Floats], clusters_N: Sequence[str], seed: int = 0) -> Verdict:
    """Compare the assistant with the highest mean to every other, correct, and decide by rule.

    The best was chosen by looking, so Holm's steps count all pairs among those who are still in the running. Equal
    means are ranked by name, and the winner must have p ≤ .05 against all, so ties cannot win. Raises ValueError
    without assistants.
    """
    if not scores:
        raise ValueError("a verdict needs assistants")
    ranked = sorted(scores, key=lambda name: (-_mean(scores[name]), name))
    best, others = ranked[0], ranked[1:]
    raw = [compare((best, scores[best]), (name, scores[name]), clusters_N, seed) for name in others]
    comparisons = _corrected([one for one in raw if one], lambda left: left * (left + 1) // 2)
    beaten = {c.other for c in comparisons if c.p_holm <= LEVEL and c.difference > 0}
    leaders = tuple(name for name in ranked if name not in beaten)
    return Verdict(best if others and leaders == (best,) else "", best, leaders, comparisons)


def planned(
    base: str, scores: Mapping[str, Floats], clusters_N: Sequence[str], seed: int = 0
) -> tuple[Comparison, ...]:
    """Every other assistant against `base`, by name, p corrected by Holm: comparisons meant before looking."""
    names = sorted(name for name in scores if name != base)
    found = [compare((name, scores[name]), (base, scores[base]), clusters_N, seed) for name in names]
    return _corrected([one for one in found if one], lambda left: left)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values, in the given order, that keep the chance of any false claim at level."""
    return _step_down(ps, lambda left: left)


def wilson(right: float, n: float, quantile: float = Z) -> tuple[float, float]:
    """Wilson's interval for `right` of `n` (n > 0), by default of 95 %; never of width 0, even at 0 or n."""
    share, q2 = right / n, quantile * quantile
    centre = (share + q2 / (2 * n)) / (1 + q2 / n)
    half = quantile * math.sqrt(max(0.0, share * (1 - share)) / n + q2 / (4 * n * n)) / (1 + q2 / n)
    return centre - half if right else 0.0, centre + half if right < n else 1.0


def mcnemar(only_one: int, only_other: int) -> float:
    """The exact two-sided p of McNemar's test, from the items that only one of two assistants got right."""
    n = only_one + only_other
    tail = sum(math.comb(n, k) for k in range(min(only_one, only_other) + 1))
    return min(1.0, 2 * tail / (1 << n))


def _share(sums_C: Floats, counts_C: Floats) -> tuple[float, float]:
    """Wilson's interval with effective n: value·(1 − value) / error² (Franco et al. 2019)."""
    clusters, n = len(sums_C), float(counts_C.sum())
    value = float(sums_C.sum() / n)
    spread, error = value * (1 - value), _error(sums_C, counts_C)
    if spread <= 0 or (n == clusters and np.isin(sums_C, (0.0, 1.0)).all()):
        return wilson(value * clusters, clusters)
    worth = spread / error**2 if error > 0 else n
    return wilson(value * worth, worth, student(clusters - 1))


def _amount(counts_CD: Floats, formula: Formula, seed: int) -> tuple[float, float]:
    """Student's t on the logarithm of what cannot be negative; the bootstrap for what can, such as a change."""
    value = float(formula(counts_CD.sum(axis=0)))
    if value <= 0 or (counts_CD < 0).any():
        return bootstrap(counts_CD, formula, seed)
    factor = math.exp(min(700.0, student(len(counts_CD) - 1) * jackknife_error(counts_CD, formula) / value))
    return value / factor, value * factor


def _corrected(found: Sequence[Comparison], factor: Callable[[int], int]) -> tuple[Comparison, ...]:
    ps = _step_down([comparison.p for comparison in found], factor)
    return tuple(replace(one, p_holm=p) for one, p in zip(found, ps, strict=True))


def _step_down(ps: Sequence[float], factor: Callable[[int], int]) -> list[float]:
    """From the smallest p on, each times `factor(how many are left)`, and none below the one before it."""
    corrected, highest = [0.0] * len(ps), 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, ps[at] * factor(len(ps) - rank)))
        corrected[at] = highest
    return corrected


def _mean(row_N: Floats) -> float:
    return -math.inf if np.isnan(row_N).all() else float(np.nanmean(row_N))


def _mean_of(sums: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return sums[..., 0] / sums[..., 1]


def _complete(values_ND: Floats) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(values_ND).any(axis=1))


def _of(clusters_N: Sequence[str], known_N: NDArray[np.bool_]) -> list[str]:
    return [cluster for cluster, known in zip(clusters_N, known_N, strict=True) if known]


def _by_cluster(scores_AN: Floats, clusters_N: Sequence[str]) -> tuple[Floats, Floats]:
    """Sums and counts of each row in each cluster [A, C]."""
    known = ~np.isnan(scores_AN)
    return _sums(np.where(known, scores_AN, 0.0).T, clusters_N).T, _sums(known.T.astype(float), clusters_N).T


def _sums(values_ND: Floats, clusters_N: Sequence[str]) -> Floats:
    """Rows added up by cluster [C, D]; clusters are sorted by name, so the items' order is no matter."""
    names, index_N = np.unique(np.asarray(clusters_N, dtype=str), return_inverse=True)
    sums_CD = np.zeros((len(names), values_ND.shape[1]))
    np.add.at(sums_CD, index_N, values_ND)
    return sums_CD


def _error(sums_C: Floats, counts_C: Floats) -> float:
    """The standard error of Σ sums / Σ counts over C ≥ 2 clusters."""
    clusters, n = len(sums_C), counts_C.sum()
    residuals = sums_C - counts_C * (sums_C.sum() / n)
    return float(np.sqrt((residuals**2).sum() * clusters / (clusters - 1)) / n)
