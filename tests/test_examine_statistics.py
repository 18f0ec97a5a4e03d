"""The statistics: golden numbers, and what they promise shown on simulated assistants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shuyuan.examine.statistics import compare, holm, intervals, mcnemar, verdict, wilson


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


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(4)
    covered = rejected = 0
    trials = 80
    for _ in range(trials):
        difficulty = random.beta(2, 2, 40)
        items = (random.random((2, 3, 40)) < difficulty).astype(float).transpose(0, 2, 1).reshape(2, 120)
        facts = [f"f{at // 3:02}" for at in range(120)]
        (found,) = intervals(items[:1], facts)
        covered += bool(found.low is not None and found.high is not None and found.low <= 0.5 <= found.high)
        comparison = compare(("a", items[0]), ("b", items[1]), facts)
        rejected += comparison is not None and comparison.p <= 0.05
    assert 0.87 <= covered / trials <= 0.99
    assert rejected / trials <= 0.10


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
