"""Drawing clusters again, and swapping two names: the bootstrap and the randomisation test, seeded and exact if small.

Array names: B draws, C clusters, D counts of a metric. Every assistant of an exam sees the same draws.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shuyuan.examine.quantiles import NORMAL, student
from shuyuan.measure.marking import Floats

Formula = Callable[[Floats], Floats]  # added counts [..., D] → a score [...]
RESAMPLES = 10_000
_CHUNK = 500  # draws handled at a time: 4 MB for a thousand clusters
_EXHAUSTIVE = 13  # clusters up to which all 2^C swaps are tried
_WHOLE = 20_000  # points of difference up to which swaps of whole numbers are counted exactly


def bootstrap(counts_CD: Floats, formula: Formula, seed: int = 0) -> tuple[float, float]:
    """A 95 % interval of `formula(Σ counts)` over C ≥ 2 clusters drawn with replacement: BCa, widened for few clusters.

    BCa (Efron 1987) corrects for bias and skew but is too narrow when clusters are few; its levels are moved outwards
    from z to √(C/(C−1))·t as in Hesterberg 2015. A resample whose score is undefined is left out.
    """
    clusters = len(counts_CD)
    value = float(formula(counts_CD.sum(axis=0)))
    draws = np.concatenate([formula(chunk @ counts_CD) for chunk in _draws(clusters, seed)])
    draws = np.sort(draws[~np.isnan(draws)])
    left_out = _left_out(counts_CD, formula)
    if not len(draws) or draws[0] == draws[-1] or np.isnan(left_out).all():
        return value, value
    tiny = 1e-12 * max(1.0, abs(value))
    below = np.searchsorted(draws, [value - tiny, value + tiny]).mean() / len(draws)
    bias = NORMAL.inv_cdf(min(max(below, 1 / len(draws)), 1 - 1 / len(draws)))
    away = np.nanmean(left_out) - left_out
    skew = float(np.nansum(away**3) / (6 * np.nansum(away**2) ** 1.5)) if np.nansum(away**2) > 0 else 0.0
    edge = min(6.0, math.sqrt(clusters / (clusters - 1)) * student(clusters - 1))
    ends = [bias + (bias + side) / max(1 - skew * (bias + side), 1e-3) for side in (-edge, edge)]
    low, high = np.quantile(draws, [NORMAL.cdf(end) for end in ends])
    return float(low), float(high)


def jackknife_error(counts_CD: Floats, formula: Formula) -> float:
    """The standard error of `formula(Σ counts)` over C ≥ 2 clusters, each left out once."""
    left_out = _left_out(counts_CD, formula)
    left_out, clusters = left_out[~np.isnan(left_out)], len(counts_CD)
    return (
        float(np.sqrt(((left_out - left_out.mean()) ** 2).sum() * (clusters - 1) / clusters)) if len(left_out) else 0.0
    )


def swap_p(gaps_C: Floats, seed: int = 0) -> float:
    """Fisher's two-sided randomisation test of paired differences summed by cluster.

    In each cluster the two names may be swapped; p is the share of all 2^C ways that differ at least as much as what
    was seen. Exact for whole numbers (marks of 0 and 1, where it is McNemar's exact test if every cluster is one item)
    and up to 13 clusters; beyond, 10,000 seeded draws. Identical assistants have p = 1.
    """
    gaps_C = gaps_C[gaps_C != 0]
    whole = np.rint(gaps_C)
    if len(gaps_C) == 0:
        return 1.0
    if np.abs(gaps_C - whole).max() < 1e-9 and np.abs(whole).sum() <= _WHOLE:
        return _whole_p(whole.astype(int))
    return _swapped(gaps_C.sum(), np.abs(gaps_C).sum(), len(gaps_C), lambda signs: signs @ gaps_C, seed)


def swap_pooled_p(one_CD: Floats, other_CD: Floats, formula: Formula, seed: int = 0) -> float:
    """The same test for a pooled metric: the counts of a cluster change sides, and the score is made anew."""
    middle, apart = (one_CD + other_CD).sum(axis=0) / 2, (one_CD - other_CD) / 2

    def gaps(signs: Floats) -> Floats:
        moved = signs @ apart
        return np.nan_to_num(formula(middle + moved) - formula(middle - moved))

    seen = float(gaps(np.ones((1, len(apart))))[0])
    return _swapped(seen, max(1.0, abs(seen)), len(apart), gaps, seed)


def _swapped(seen: float, scale: float, clusters: int, gaps: Formula, seed: int) -> float:
    """The share of swaps whose gap is as far from 0 as what was seen."""
    least = abs(seen) - 1e-9 * scale  # sums in another order differ in their last bits
    if clusters <= _EXHAUSTIVE:
        patterns = ((np.arange(2**clusters)[:, None] >> np.arange(clusters)) & 1).astype(np.float64)
        return float((np.abs(gaps(patterns * 2 - 1)) >= least).mean())
    extreme = sum(int((np.abs(gaps(signs)) >= least).sum()) for signs in _signs(clusters, seed))
    return (extreme + 1) / (RESAMPLES + 1)


def _whole_p(gaps_C: NDArray[np.int64]) -> float:
    """The exact share: the distribution of Σ ±gap, one convolution for each size of gap."""
    chances = np.ones(1)
    for size, times in sorted(Counter(np.abs(gaps_C).tolist()).items()):
        spread = np.zeros(size * times + 1)
        spread[::size] = _coin(times)
        chances = np.convolve(chances, spread)
    most = len(chances) - 1  # Σ |gap|; chances[w] is that of Σ ±gap = 2w − most
    extreme = np.abs(2 * np.arange(most + 1) - most) >= abs(int(gaps_C.sum()))
    return min(1.0, float(chances[extreme].sum()))


@lru_cache(maxsize=256)
def _coin(times: int) -> Floats:
    """The chances of 0, 1, … heads in `times` throws, each correctly rounded."""
    ways, found = 1, []
    for heads in range(times + 1):
        found.append(ways / (1 << times))
        ways = ways * (times - heads) // (heads + 1)
    return np.array(found)


def _left_out(counts_CD: Floats, formula: Formula) -> Floats:
    """The score without each of the clusters."""
    return formula(counts_CD.sum(axis=0) - counts_CD)


def _draws(clusters: int, seed: int) -> Iterator[Floats]:
    """How often each cluster is drawn in each resample, in chunks [b, C]."""
    drawn_BC = _drawn(clusters, seed)
    for start in range(0, RESAMPLES, _CHUNK):
        yield drawn_BC[start : start + _CHUNK].astype(np.float64)


def _signs(clusters: int, seed: int) -> Iterator[Floats]:
    signs_BC = _swaps(clusters, seed)
    for start in range(0, RESAMPLES, _CHUNK):
        yield signs_BC[start : start + _CHUNK].astype(np.float64)


@lru_cache(maxsize=4)
def _drawn(clusters: int, seed: int) -> NDArray[np.uint16]:
    random, found = np.random.default_rng(seed), np.empty((RESAMPLES, clusters), dtype=np.uint16)
    for start in range(0, RESAMPLES, _CHUNK):
        drawn = random.integers(0, clusters, (_CHUNK, clusters)) + np.arange(_CHUNK)[:, None] * clusters
        found[start : start + _CHUNK] = np.bincount(drawn.ravel(), minlength=_CHUNK * clusters).reshape(_CHUNK, -1)
    return found


@lru_cache(maxsize=4)
def _swaps(clusters: int, seed: int) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(0, 2, (RESAMPLES, clusters), dtype=np.int8) * 2 - 1
