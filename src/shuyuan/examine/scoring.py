"""From what assistants handed in to marks, scores with intervals, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from shuyuan import __version__
from shuyuan.base.records import Question, Score
from shuyuan.base.shelf import kebab_name
from shuyuan.examine.papers import Paper, Text
from shuyuan.examine.results import BASE, BITS, MAIN, Sheet
from shuyuan.examine.sitting import Cost, Sat
from shuyuan.examine.statistics import (
    Comparison,
    Interval,
    Verdict,
    compare,
    compare_pooled,
    intervals,
    pooled,
    ratio,
    verdict,
)
from shuyuan.measure.bits_per_byte import bits_per_byte
from shuyuan.measure.marking import Floats, Metric, PooledMetric

Marks = dict[str, dict[str, float]]  # paper/metric → question id → value


def score(
    papers: Sequence[Paper],
    pools: Mapping[str, Sequence[Question]],
    sat: Mapping[str, Sat],
    *,
    relevant: Mapping[str, Sequence[str]],
    costs: Mapping[str, Cost],
    seed: int = 0,
) -> tuple[list[Sheet], Verdict]:
    """Mark everything and compare. `pools`: the questions of each `Paper.pool`; `sat`: by assistant.

    Every interval resamples facts with the same draws for every assistant, so scores are paired and their order is no
    matter.
    """
    names = sorted(sat)
    signatures: dict[str, str] = {}
    marks: dict[str, Marks] = {name: {} for name in names}
    scores: dict[str, dict[str, Score]] = {name: {} for name in names}
    changes: dict[str, dict[str, Score]] = {name: {} for name in names}
    for paper in papers:
        asked = pools[paper.pool]
        clusters = [question.fact or question.id for question in asked]
        for metric in paper.metrics():
            key = f"{kebab_name(type(paper))}/{kebab_name(type(metric))}"
            signatures[key] = f"{metric.signature}|by:fact|seed:{seed}"
            rows: dict[str, Floats] = {}
            for name in names:
                counts = [metric.tally(sat[name].samples[q.id], q, relevant.get(q.id, ())) for q in asked]
                rows[name], interval = _marked(metric, counts, clusters, seed)
                marks[name][key] = _by_item(metric, asked, rows[name])
                if not math.isnan(interval.value):
                    scores[name][key] = _score(key, interval, signatures[key])
            if paper.pool == "general" and BASE in names:
                for name, row in rows.items():
                    change = _change(metric, (name, row), (BASE, rows[BASE]), clusters, seed)
                    if change:
                        changes[name][key] = Score(
                            key, change.difference, change.n, change.low, change.high, signatures[key]
                        )
        if texts := paper.texts():
            _add_bits(texts, sat, scores, changes, seed)
    answerable = [question for question in pools["material"] if question.answers]
    sheets = [
        Sheet(
            name,
            scores[name],
            marks[name],
            _by_language(answerable, marks[name].get(MAIN, {}), signatures.get(MAIN, ""), seed),
            changes[name],
            costs[name],
            sat[name].answers,
            sat[name].samples,
        )
        for name in names
    ]
    main = {name: _row(answerable, marks[name].get(MAIN, {})) for name in names}
    return sheets, verdict(main, [question.fact or question.id for question in answerable], seed)


def _marked(
    metric: Metric, counts: Sequence[tuple[float, ...] | None], clusters: Sequence[str], seed: int
) -> tuple[Floats, Interval]:
    """The counts of each item [N, D], NaN where the metric does not apply, and the score of them all."""
    size = max((len(row) for row in counts if row), default=0)
    if not size:
        return np.full((len(counts), 2), math.nan), Interval(math.nan, None, None, 0, 0)
    rows_ND = np.array([row or (math.nan,) * size for row in counts], dtype=float)
    if isinstance(metric, PooledMetric):
        return rows_ND, pooled(rows_ND, metric.pooled, clusters, seed, bounded=metric.bounded)
    return rows_ND, intervals(metric.pooled(rows_ND)[None], clusters, seed, metric.bounded)[0]


def _by_item(metric: Metric, asked: Sequence[Question], rows_ND: Floats) -> dict[str, float]:
    """Question id → the item's own value, where the metric applies."""
    known = np.flatnonzero(~np.isnan(rows_ND).any(axis=1))
    values = metric.pooled(rows_ND[known]) if len(known) else ()
    return {
        asked[at].id: float(value) for at, value in zip(known.tolist(), values, strict=True) if not math.isnan(value)
    }


def _change(
    metric: Metric, one: tuple[str, Floats], other: tuple[str, Floats], clusters: Sequence[str], seed: int
) -> Comparison | None:
    if isinstance(metric, PooledMetric):
        return compare_pooled(one, other, metric.pooled, clusters, seed)
    return compare((one[0], metric.pooled(one[1])), (other[0], metric.pooled(other[1])), clusters, seed)


def _add_bits(
    texts: Sequence[Text],
    sat: Mapping[str, Sat],
    scores: Mapping[str, dict[str, Score]],
    changes: Mapping[str, dict[str, Score]],
    seed: int,
) -> None:
    signature = f"bits-per-byte|texts:{len(texts)}|v:{__version__}|by:text|seed:{seed}"
    bytes_N = np.array([len(text.text.encode()) for text in texts], dtype=float)
    bits = {
        name: np.array([bits_per_byte(handed.nats[text.id], 1) for text in texts], dtype=float)
        for name, handed in sat.items()
    }
    for name, bits_N in bits.items():
        scores[name][BITS] = _score(BITS, ratio(bits_N, bytes_N, seed), signature)
        if BASE in bits:
            changes[name][BITS] = _score(BITS, ratio(bits_N - bits[BASE], bytes_N, seed), signature)


def _by_language(
    answerable: Sequence[Question], marks: Mapping[str, float], signature: str, seed: int
) -> dict[str, Score]:
    found = {}
    for language in sorted({question.language for question in answerable}):
        own = [question for question in answerable if question.language == language]
        (interval,) = intervals(_row(own, marks)[None], [question.fact or question.id for question in own], seed)
        found[language] = _score(MAIN, interval, signature)
    return found


def _row(questions: Sequence[Question], marks: Mapping[str, float]) -> Floats:
    return np.array([marks.get(question.id, np.nan) for question in questions], dtype=float)


def _score(name: str, interval: Interval, signature: str) -> Score:
    return Score(name, interval.value, interval.n, interval.low, interval.high, signature)
