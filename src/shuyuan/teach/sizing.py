"""One dial, the minutes: from them and the text there is follow the model's size, its batches, rate and steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

HEAD = 64  # width of a head; as many heads as layers, so one number gives depth, width and heads (as in nanochat)
LADDER = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)  # layers
TOKENS_A_WEIGHT = 20  # to be read for each weight: Hoffmann et al. (arXiv 2203.15556)
WEIGHTS_A_TOKEN = 50  # most, for each token of the text: as far as larger was measured to be better (LOG.md)
AS_GOOD_AS_NEW = 4  # times that text is read with nearly the gain of new text: Muennighoff et al. (arXiv 2305.16264)
USABLE = 0.8  # of the minutes; the rest goes to measuring, looking and saving
STEPS = 400  # wanted: enough updates for the learning rate to rise and fall
STEP_TOKENS = (1024, 1 << 19)  # fewest and most tokens a step
RATE, RATE_WIDTH = 3e-3, 128  # learning rate at a width; it falls with the root of the width


@dataclass(frozen=True)
class Shape:
    """A Llama's measures, all from its layers. The embedding is the output layer, too."""

    layers: int
    vocabulary: int

    @property
    def width(self) -> int:
        """Of the residual stream."""
        return HEAD * self.layers

    @property
    def inner(self) -> int:
        """Width inside the MLP: 8/3 of the width, rounded up to a multiple of 64."""
        return -(-8 * self.width // 3 // HEAD) * HEAD

    @property
    def weights(self) -> int:
        """How many there are."""
        layer = 4 * self.width**2 + 3 * self.width * self.inner + 2 * self.width
        return self.vocabulary * self.width + self.layers * layer + self.width


@dataclass(frozen=True)
class Text:
    """What there is to learn from: so many tokens in so many sequences (blocks of text and conversations)."""

    sequences: int
    tokens: int


@dataclass(frozen=True)
class Sizes:
    """What was derived, with lines for a person on how it came about."""

    shape: Shape
    batch: int
    learning_rate: float
    epochs: float
    why: tuple[str, ...]


def derive(
    text: Text,
    vocabulary: int,
    minutes: float,
    most_epochs: float,
    speed: Callable[[Shape], float],
    *,
    layers: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
) -> Sizes:
    """The plan for so many minutes. `speed` measures tokens a second at a shape; it is asked only as far as needed.

    The model is the largest that can read in the minutes 20 tokens for each of its weights, or all of the text
    `most_epochs` times where that is less. It then reads for all the minutes, or that many times. Given `layers`,
    nothing is measured and everything is read `most_epochs` times, so that the plan is the same on every machine.
    """
    most = most_epochs * text.tokens
    if layers is None:
        shape, tokens, why = _largest(text, vocabulary, minutes * 60 * USABLE, most, speed)
    else:
        shape, tokens, why = Shape(layers, vocabulary), most, "as given"
    epochs = tokens / text.tokens
    fewest, largest = STEP_TOKENS
    batch = batch or max(1, round(min(largest, max(fewest, tokens / STEPS)) * text.sequences / text.tokens))
    rate = learning_rate or RATE * sqrt(RATE_WIDTH / shape.width)
    why = f"layers {shape.layers}: {why}"
    return Sizes(shape, batch, rate, epochs, (why, *_figures(text, shape, tokens, batch, rate)))


def _largest(
    text: Text, vocabulary: int, seconds: float, most: float, speed: Callable[[Shape], float]
) -> tuple[Shape, float, str]:
    """The largest shape that can read enough, the tokens it will read, and why no larger one. Climbs from below."""
    found: tuple[Shape, float, str] | None = None
    for layers in LADDER:
        shape = Shape(layers, vocabulary)
        if found and shape.weights > WEIGHTS_A_TOKEN * text.tokens:
            return *found[:2], f"{found[2]}; there is too little text for {layers}"
        pace = speed(shape)
        if found and pace * seconds < min(most, TOKENS_A_WEIGHT * shape.weights):
            return *found[:2], f"{found[2]}; there is too little time for {layers}, at {pace:,.0f}"
        found = shape, min(most, pace * seconds), f"{pace:,.0f} tokens a second"
    assert found
    return *found[:2], f"{found[2]}; there is no larger one to choose"


def _figures(text: Text, shape: Shape, tokens: float, batch: int, rate: float) -> tuple[str, ...]:
    lines = [
        f"weights {shape.weights:,}: width {shape.width} = {HEAD} × {shape.layers}, {shape.layers} heads, "
        f"MLP {shape.inner}, vocabulary {shape.vocabulary:,}",
        f"tokens {tokens:,.0f} = {tokens / text.tokens:.3g} × all {text.tokens:,} "
        f"= {tokens / shape.weights:.2g} a weight (best: {TOKENS_A_WEIGHT})",
        f"batch {batch:,} sequences ≈ {batch * text.tokens / text.sequences:,.0f} tokens; learning rate {rate:.2g}",
    ]
    if AS_GOOD_AS_NEW * text.tokens < TOKENS_A_WEIGHT * shape.weights:
        lines.append(
            f"this is little text for a model that begins from nothing, even read {AS_GOOD_AS_NEW} times: expect the "
            "style of the documents, not answers (the route continue starts from a model that can read)"
        )
    return tuple(lines)
