"""The one dial of pretraining: what follows from the minutes and the text."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shuyuan.teach.pretrain import fresh_net
from shuyuan.teach.sizing import (
    LADDER,
    STEP_TOKENS,
    TOKENS_A_WEIGHT,
    USABLE,
    WEIGHTS_A_TOKEN,
    Shape,
    Sizes,
    Text,
    derive,
)

VOCABULARY = 2048


def machine(flops: float) -> Callable[[Shape], float]:
    """A machine of so many floating-point operations a second, six for each weight and token."""
    return lambda shape: flops / (6 * shape.weights)


def sizes(minutes: float, flops: float = 1e11, tokens: int = 10**9, most: float = 4.0) -> Sizes:
    return derive(Text(max(1, tokens // 500), tokens), VOCABULARY, minutes, most, machine(flops))


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_the_weights_are_counted_as_transformers_has_them(layers: int) -> None:
    shape = Shape(layers, 320)
    assert shape.weights == sum(weight.numel() for weight in fresh_net(shape, 64, 0).parameters())


@given(st.floats(0.01, 1e5), st.floats(1.01, 100), st.floats(1e8, 1e15), st.integers(100, 10**11))
@settings(deadline=None)
def test_more_minutes_never_make_a_smaller_plan(minutes: float, more: float, flops: float, tokens: int) -> None:
    short, long = sizes(minutes, flops, tokens), sizes(minutes * more, flops, tokens)
    assert short.shape.layers <= long.shape.layers
    work = [plan.shape.weights * plan.epochs for plan in (short, long)]
    assert work[0] <= work[1] * (1 + 1e-9)


@given(st.floats(0.01, 1e5), st.floats(1e8, 1e15), st.integers(100, 10**11), st.floats(0.1, 100))
@settings(deadline=None)
def test_a_plan_keeps_its_bounds(minutes: float, flops: float, tokens: int, most: float) -> None:
    plan = sizes(minutes, flops, tokens, most)
    read = plan.epochs * tokens
    assert 0 < plan.epochs <= most * (1 + 1e-9)
    assert read / machine(flops)(plan.shape) <= minutes * 60 * USABLE * (1 + 1e-9)
    enough = min(most * tokens, TOKENS_A_WEIGHT * plan.shape.weights)
    assert plan.shape.layers == LADDER[0] or read >= enough * (1 - 1e-9)
    assert plan.shape.layers == LADDER[0] or plan.shape.weights <= WEIGHTS_A_TOKEN * tokens
    step = plan.batch * tokens / max(1, tokens // 500)
    assert plan.batch == 1 or STEP_TOKENS[0] / 2 <= step <= STEP_TOKENS[1] * 2
    assert 0 < plan.learning_rate <= 0.01


def test_the_text_bounds_the_model_and_no_larger_one_is_tried() -> None:
    asked: list[int] = []

    def speed(shape: Shape) -> float:
        asked.append(shape.layers)
        return 1e12

    plan = derive(Text(100, 50_000), VOCABULARY, 60, 12, speed)
    assert asked == [2, 3]
    assert plan.epochs == 12
    assert "too little text for 4" in plan.why[0]
    assert "expect the style of the documents, not answers" in plan.why[-1]


def test_enough_text_gets_no_warning_and_the_reasons_add_up() -> None:
    plan = sizes(10, tokens=10**8)
    assert "too little time" in plan.why[0]
    assert not any("little text" in line for line in plan.why)
    assert f"weights {plan.shape.weights:,}: width {64 * plan.shape.layers}" in plan.why[1]


def test_given_layers_nothing_is_measured() -> None:
    def never(shape: Shape) -> float:
        raise AssertionError("it was measured")

    plan = derive(Text(10, 5000), VOCABULARY, 5, 3, never, layers=7, batch=2, learning_rate=1e-3)
    assert (plan.shape.layers, plan.batch, plan.learning_rate, plan.epochs) == (7, 2, 1e-3, 3)
