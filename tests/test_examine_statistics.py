"""The statistics: golden numbers, and what they promise shown on simulated assistants."""

import importlib
import math
from types import ModuleType

import numpy as np
import pytest
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

from shuyuan.examine.power import detectable, foresight, power
from shuyuan.examine.quantiles import student
from shuyuan.examine.resampling import bootstrap, swap_p
from shuyuan.examine.statistics import (
    compare,
    compare_pooled,
    holm,
    intervals,
    mcnemar,
    planned,
    pooled,
    ratio,
    verdict,
    wilson,
)


def own(n: int) -> list[str]:
    """Every item its own cluster."""
    return [f"{at:04}" for at in range(n)]


def test_golden_numbers() -> None:
    assert wilson(7, 10) == pytest.approx((0.3968, 0.8922), abs=5e-5)
    assert wilson(0, 50)[1] == pytest.approx(0.071, abs=5e-4)
    assert mcnemar(12, 4) == pytest.approx(0.0768, abs=5e-5)
    assert mcnemar(0, 0) == 1
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_randomisation_agrees_with_exact_mcnemar() -> None:
    one = np.array([1.0] * 12 + [0.0] * 4 + [1.0] * 20)
    other = np.array([0.0] * 12 + [1.0] * 4 + [1.0] * 20)
    found = compare(("one", one), ("other", other), own(36))
    assert found is not None
    assert found.p == pytest.approx(mcnemar(12, 4), abs=0.008)
    few = compare(("one", one[8:18]), ("other", other[8:18]), own(10))
    assert few is not None
    assert few.p == pytest.approx(mcnemar(4, 4))
    all_better = compare(("one", np.ones(9)), ("other", np.zeros(9)), own(9))
    assert all_better is not None
    assert all_better.p == pytest.approx(mcnemar(9, 0))


@given(st.integers(0, 60), st.integers(0, 60))
def test_marks_of_0_and_1_get_mcnemars_exact_test(only_one: int, only_other: int) -> None:
    gaps = np.array([1.0] * only_one + [-1.0] * only_other + [0.0] * 5)
    assert swap_p(gaps) == pytest.approx(mcnemar(only_one, only_other), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_counting_whole_numbers_agrees_with_trying_all_swaps(gaps: list[int]) -> None:
    array = np.array(gaps, dtype=float)
    assert swap_p(array) == pytest.approx(swap_p(array / 3), abs=1e-12)  # thirds are tried one by one


def test_the_randomisation_test_agrees_with_scipy() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(9)
    for size in (6, 10, 40):
        one, other = random.beta(2, 1, size), random.beta(1, 1, size)
        theirs = scipy_stats.permutation_test(
            (one, other), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=20_000, rng=1
        )
        assert swap_p(one - other) == pytest.approx(theirs.pvalue, abs=1e-9 if size <= 10 else 0.01)


def test_quantiles_and_bootstrap_agree_with_scipy() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    for degrees in [*range(1, 40), 199, 200, 1000]:
        assert student(degrees) == pytest.approx(scipy_stats.t.ppf(0.975, degrees), rel=1e-9)
    values = np.random.default_rng(3).exponential(1, 400)
    ours = bootstrap(np.stack([values, np.ones(400)], axis=1), lambda sums: sums[..., 0] / sums[..., 1])
    theirs = scipy_stats.bootstrap((values,), np.mean, rng=1).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.01)


@pytest.mark.parametrize(
    ("better", "worse", "items"), [(25, 5, 61), (20, 5, 92), (16, 6, 183), (20, 10, 249), (10, 5, 498)]
)
def test_how_many_items_show_a_difference(better: int, worse: int, items: int) -> None:
    assert power(items - 1, better / 100, worse / 100) < 0.8 <= power(items, better / 100, worse / 100)
    assert detectable(items, worse / 100) == pytest.approx((better - worse) / 100, abs=0.002)


def test_what_can_be_seen_is_said_before() -> None:
    assert foresight(61).startswith("with 61 facts a difference under 20 points will probably not be seen")
    assert foresight(5) == "with 5 facts no difference can be shown: ask about more"
    assert detectable(1) is None


def test_a_share_gets_wilsons_interval_for_what_its_items_are_worth() -> None:
    right = np.array([[1.0] * 7 + [0.0] * 3])
    (found,) = intervals(right, own(10))
    assert (found.low, found.high) == pytest.approx(wilson(7, 10))
    (repeated,) = intervals(np.repeat(right, 5, axis=1), np.repeat(own(10), 5).tolist())
    assert (repeated.low, repeated.high) == pytest.approx(wilson(0.7 * 9, 9, student(9)))
    assert repeated.n == 50
    (even,) = intervals(np.array([[0.5] * 8]), own(8))
    assert even.low is not None
    assert even.low < 0.5


def test_assistants_that_never_differed_may_still_differ() -> None:
    same = np.array([1.0, 0.0] * 20)
    found = compare(("a", same), ("b", same.copy()), own(40))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((-wilson(0, 40)[1], wilson(0, 40)[1]))


def test_a_difference_of_shares_stays_between_minus_one_and_one() -> None:
    found = compare(("a", np.array([1.0, 1.0])), ("b", np.array([1.0, 0.0])), own(2))
    assert found is not None
    assert (found.low, found.high) == (-1, 1)
    slow = compare(("a", np.array([10.0, 20.0])), ("b", np.array([1.0, 3.0])), own(2))
    assert slow is not None
    assert slow.high is not None
    assert slow.high > 17


def test_pooled_scores_are_paired_too() -> None:
    random = np.random.default_rng(6)
    counts = np.stack([random.integers(0, 5, 60), random.integers(5, 9, 60)], axis=1).astype(float)
    better = counts + np.array([2.0, 0.0])

    def formula(sums):  # type: ignore[no-untyped-def]
        return sums[..., 0] / sums[..., 1]

    found = pooled(counts, formula, own(60))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value == counts[:, 0].sum() / counts[:, 1].sum() < found.high
    amount = ratio(counts[:, 0], counts[:, 1])
    assert amount.low is not None
    assert amount.high is not None
    assert (amount.value, amount.n) == (found.value, 60)
    assert math.sqrt(amount.low * amount.high) == pytest.approx(found.value), "a log scale: the value is in the middle"
    change = ratio(counts[:, 0] - 2, counts[:, 1])
    assert change.low is not None
    assert change.low < change.value
    assert ratio(np.zeros(4), np.ones(4)).high == 0
    gap = compare_pooled(("better", better), ("plain", counts), formula, own(60))
    assert gap is not None
    assert gap.low is not None
    assert gap.low > 0
    assert gap.p < 0.001
    same = compare_pooled(("a", counts), ("b", counts.copy()), formula, own(60))
    assert same is not None
    assert (same.difference, same.p) == (0, 1)
    counts[:] = np.nan
    assert pooled(counts, formula, own(60)).n == 0
    assert compare_pooled(("a", counts), ("b", counts), formula, own(60)) is None


def test_seconds_are_not_shares() -> None:
    values = np.random.default_rng(8).lognormal(0, 1, (1, 50)) * 10
    (found,) = intervals(values, own(50), bounded=False)
    assert found.low is not None
    assert found.high is not None
    assert found.value - found.low < found.high - found.value, "skewed to the right"


def test_more_assistants_need_more_evidence_and_plans_need_less() -> None:
    random = np.random.default_rng(10)
    base = (random.random(60) < 0.5).astype(float)
    rows = {f"a{at}": np.where(random.random(60) < 0.3, random.random(60) < 0.5, base).astype(float) for at in range(4)}
    rows["base"] = base
    found = verdict(rows, own(60))
    by_p = sorted(found.comparisons, key=lambda c: c.p)
    assert [c.p_holm for c in by_p] == pytest.approx(
        np.maximum.accumulate([min(1, c.p * factor) for c, factor in zip(by_p, (10, 6, 3, 1), strict=True)])
    )
    meant = planned("base", rows, own(60))
    assert [c.one for c in meant] == ["a0", "a1", "a2", "a3"]
    assert all(c.other == "base" for c in meant)
    assert [c.p_holm for c in meant] == pytest.approx(holm([c.p for c in meant]))
    with pytest.raises(ValueError, match="needs assistants"):
        verdict({}, [])


def test_identical_assistants_tie() -> None:
    same = np.random.default_rng(1).integers(0, 2, 60).astype(float)
    found = verdict({"a": same, "b": same.copy(), "c": same.copy()}, own(60))
    assert found.winner == ""
    assert found.leaders == ("a", "b", "c")
    assert all(c.difference == 0 and c.p_holm == 1 and c.detectable is None for c in found.comparisons)


def test_a_clear_winner_wins_and_a_lucky_one_does_not() -> None:
    random = np.random.default_rng(2)
    weak = (random.random(120) < 0.4).astype(float)
    strong = np.maximum(weak, (random.random(120) < 0.7).astype(float))
    hardly = weak.copy()
    hardly[np.flatnonzero(weak == 0)[:2]] = 1
    clear = verdict({"strong": strong, "weak": weak, "hardly": hardly}, own(120))
    assert clear.winner == "strong"
    assert [c.other for c in clear.comparisons] == ["hardly", "weak"]
    unclear = verdict({"weak": weak, "hardly": hardly}, own(120))
    assert (unclear.winner, unclear.best, unclear.leaders) == ("", "hardly", ("hardly", "weak"))
    assert verdict({"alone": weak}, own(120)).winner == ""


def test_wordings_of_one_fact_do_not_count_as_evidence_five_times() -> None:
    random = np.random.default_rng(3)
    one, other = (random.random((2, 12)) < [[0.75], [0.4]]).astype(float)
    facts = [f"f{at:02}" for at in range(12)]
    single = compare(("one", one), ("other", other), facts)
    repeated = compare(("one", np.repeat(one, 5)), ("other", np.repeat(other, 5)), np.repeat(facts, 5).tolist())
    believed = compare(("one", np.repeat(one, 5)), ("other", np.repeat(other, 5)), own(60))
    assert single is not None
    assert repeated is not None
    assert believed is not None
    assert repeated.p == pytest.approx(single.p)
    assert (repeated.low, repeated.high) == pytest.approx((single.low, single.high))
    assert believed.p < single.p


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "bench")
    return importlib.import_module("exam_statistics")


def test_intervals_cover_the_truth_about_as_often_as_they_say(bench: ModuleType) -> None:
    one = [row["ours"] for row in (*bench.one_figure(100), *bench.pooled_figures(50))]
    two = list(bench.two_assistants(60))
    assert 0.94 <= np.mean(one) <= 0.965
    assert min(one) >= 0.85
    assert 0.93 <= np.mean([row["ours"] for row in two]) <= 0.97
    assert np.mean([row["told apart"] for row in two if row["truth"] == 0]) <= 0.05


def test_equals_do_not_win_and_are_not_called_worse(bench: ModuleType) -> None:
    rows = list(bench.verdicts(100))
    assert np.mean([row["false winner"] for row in rows]) <= 0.05
    assert np.mean([row["wrongly worse"] for row in rows]) <= 0.07
    assert all(row["worse wins"] <= 0.05 for row in bench.worse_ones(60))


def test_what_is_missing_is_left_out_and_said() -> None:
    nan = np.nan
    scores = np.array([[1, nan, 0, nan], [nan, nan, nan, nan], [1, 1, 1, 1]], dtype=float)
    some, none, full = intervals(scores, own(4))
    assert (some.value, some.n, some.clusters) == (0.5, 2, 2)
    assert (none.n, none.low) == (0, None)
    assert (full.value, full.high) == (1, 1)
    assert full.low == pytest.approx(wilson(4, 4)[0])
    (lonely,) = intervals(np.array([[1.0, 0.0]]), ["f", "f"])
    assert (lonely.value, lonely.low, lonely.high) == (0.5, None, None)
    assert compare(("a", scores[0]), ("b", scores[1]), own(4)) is None


def test_the_detectable_difference_is_detected_four_times_of_five() -> None:
    random = np.random.default_rng(5)
    found, planned = 0, []
    for _ in range(50):
        base = (random.random(180) < 0.5).astype(float)
        flip = random.random(180)
        better = np.where((base == 0) & (flip < 0.32), 1.0, np.where((base == 1) & (flip < 0.12), 0.0, base))
        comparison = compare(("better", better), ("base", base), own(180))
        assert comparison is not None
        assert comparison.detectable is not None
        planned.append(comparison.detectable)
        found += comparison.p <= 0.05
    assert float(np.mean(planned)) == pytest.approx(0.10, abs=0.01)  # the notes' 10 points at 183 items
    assert 0.68 <= found / 50 <= 0.92


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=1, max_size=30), st.randoms())
def test_neither_the_order_of_items_nor_of_assistants_matters(items: list[tuple[bool, bool, int]], random) -> None:  # type: ignore[no-untyped-def]
    def judged(rows: list[tuple[bool, bool, int]], names: tuple[str, str]) -> object:
        columns = {"a": np.array([r[0] for r in rows], float), "b": np.array([r[1] for r in rows], float)}
        return verdict({name: columns[name] for name in names}, [str(r[2]) for r in rows])

    shuffled = list(items)
    random.shuffle(shuffled)
    one, other = judged(items, ("a", "b")), judged(shuffled, ("b", "a"))
    assert repr(one) == repr(other)
