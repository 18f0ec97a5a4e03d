"""Mixtures: the order depends on lengths and seed alone, and the shares come out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuyuan.base.errors import Fixable
from shuyuan.prepare.mixture import mix

A, B = [f"a{number}" for number in range(3)], [f"书{number}" for number in range(5)]


def test_one_after_the_other() -> None:
    mixed = mix({"a": A, "b": B})
    assert list(mixed) == A + B
    assert str(mixed) == "mixed 8: 3 (38%) from the 3 of a, 5 (62%) from the 5 of b"


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("interleave_under", "a0 书0 a1 书1 a2 书2"),
        ("interleave_over", "a0 书0 a1 书1 a2 书2 a0 书3 a1 书4"),
        ("interleave_once", "a0 书0 a1 书1 a2 书2 书3 书4"),
    ],
)
def test_taking_turns(strategy: str, expected: str) -> None:
    """The orders of `datasets.interleave_datasets` without probabilities."""
    assert list(mix({"a": A, "b": B}, strategy)) == expected.split()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        # datasets 4: interleave_datasets([a, b], probabilities=[0.3, 0.7], seed=7, stopping_strategy=…)
        ("interleave_under", "first_exhausted"),
        ("interleave_over", "all_exhausted"),
        ("interleave_once", "all_exhausted_without_replacement"),
    ],
)
def test_draws_follow_the_rule_of_datasets(strategy: str, expected: str) -> None:
    """Against the rule written down plainly: draw, take, mark what has run out, stop."""
    draws = np.random.default_rng(7).choice(2, size=1000, p=[0.3, 0.7])
    sources, at, gone, order = (A, B), [0, 0], [False, False], []
    for draw in draws:
        if (any if expected == "first_exhausted" else all)(gone):
            break
        if expected.endswith("replacement") and gone[draw]:
            continue
        order.append(sources[draw][at[draw] % len(sources[draw])])
        at[draw] += 1
        gone[draw] = gone[draw] or at[draw] >= len(sources[draw])
    assert list(mix({"a": A, "b": B}, strategy, (0.3, 0.7), seed=7)) == order  # type: ignore[arg-type]


def test_shares_come_out_and_the_seed_decides() -> None:
    many = {"own": range(20_000), "general": range(1000)}
    mixed = mix(many, "interleave_over", (9, 1), seed=1)
    again = mix(many, "interleave_over", (0.9, 0.1), seed=1)
    assert list(mixed) == list(again)
    assert list(mixed) != list(mix(many, "interleave_over", (9, 1), seed=2))
    assert "(90%) from the 20,000 of own" in str(mixed)
    assert mixed[-1] == list(mixed)[-1]
    assert mixed[2:5] == tuple(mixed)[2:5]
    with pytest.raises(IndexError):
        mixed[len(mixed)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 99), st.booleans())
def test_once_shows_everything_once(lengths: list[int], seed: int, shared: bool) -> None:
    sources = {str(number): [(number, at) for at in range(size)] for number, size in enumerate(lengths)}
    shares = tuple(range(1, len(lengths) + 1)) if shared else ()
    mixed = list(mix(sources, "interleave_once", shares, seed))
    assert sorted(mixed) == sorted(item for source in sources.values() for item in source)
    over = list(mix(sources, "interleave_over", shares, seed))
    assert set(over) == set(mixed)


def test_what_cannot_be_mixed_is_refused() -> None:
    for given_, what in [
        (({"a": A, "b": []}, "concat"), "'b' holds nothing"),
        (({"a": A}, "concat", (1.0,)), "no effect"),
        (({"a": A, "b": B}, "interleave_under", (1.0,)), "1 shares for 2 sources"),
        (({"a": A, "b": B}, "interleave_under", (1.0, 0.0)), "2 shares"),
        (({"a": A}, "interleave"), "no way 'interleave' to mix"),
    ]:
        with pytest.raises(Fixable, match=what):
            mix(*given_)  # type: ignore[arg-type]
