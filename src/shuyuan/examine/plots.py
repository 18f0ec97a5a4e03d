"""Plots as SVG whose x is in percent and whose text keeps its size, so that they fit a phone, a page and a screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

HEIGHT, TOP, BOTTOM = 300, 14, 44  # pixels of a chart
LEFT, WIDTH = 10.0, 86.0  # percent: where its x axis begins, and how long it is
_LABEL = 15  # pixels between two labels
_CHARACTER = 1.9  # percent that a letter of a label takes on a phone


@dataclass(frozen=True, slots=True)
class Dot:
    """A named point of a scatter plot; `kind` is its CSS class."""

    name: str
    x: float
    y: float
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve through (x, y, low, high); the ends of an interval may be None. `kind` is its CSS class."""

    name: Markup
    points: tuple[tuple[float, float, float | None, float | None], ...]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high` with labelled ticks; `log` spaces by ratio."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies, 0 to 1."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        at = math.log(value) if self.log else value
        return min(1.0, max(0.0, (at - low) / (high - low)))


def linear_axis(values: Sequence[float], unit: float = 1.0, include: Sequence[float] = (0.0,)) -> Axis:
    """Round ticks around the values; labels show value / unit."""
    everything = [*values, *include]
    low, high = min(everything), max(everything)
    high = high if high > low else low + unit
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple((at * step, _label(at * step / unit)) for at in range(first, last + 1))
    return Axis(first * step, last * step, ticks)


def log_axis(values: Sequence[float]) -> Axis:
    """Ticks at 1, 2, 5 × powers of ten around positive values."""
    low, high = min(values) / 1.25, max(values) * 1.25
    steps = [base * 10.0**power for power in range(-4, 8) for base in (1, 2, 5)]
    ticks = [step for step in steps if low <= step <= high]
    if len(ticks) < 3:
        ticks = [base * 10.0**power for power in range(-4, 8) for base in (1, 1.5, 2, 3, 5, 7)]
        ticks = [tick for tick in ticks if low <= tick <= high]
    if len(ticks) > 7:
        ticks = [tick for tick in ticks if round(math.log10(tick), 6) % 1 == 0]
    return Axis(low, high, tuple((tick, _label(tick)) for tick in ticks), log=True)


def interval(
    axis: Axis, value: float, ends: tuple[float | None, float | None], *, kind: str = "", line: float | None = None
) -> Markup:
    """One row of a forest plot: the estimate, its interval, and a reference line."""
    parts = [_vertical(axis.share(tick) * 100, 0, 26, "grid") for tick, _ in axis.ticks]
    if line is not None:
        parts.append(_vertical(axis.share(line) * 100, 0, 26, "ref"))
    low, high = ends
    if low is not None and high is not None:
        x1, x2 = axis.share(low) * 100, axis.share(high) * 100
        parts.append(Markup('<line class="ci" x1="{:.2f}%" x2="{:.2f}%" y1="13" y2="13"/>').format(x1, x2))
    parts.append(Markup('<circle class="dot" cx="{:.2f}%" cy="13" r="5"/>').format(axis.share(value) * 100))
    return Markup('<svg class="row {}" width="100%" height="26" aria-hidden="true">{}</svg>').format(
        kind, Markup("").join(parts)
    )


def fall(axis: Axis, start: float, each: Sequence[tuple[str, float]], end: float) -> Markup:
    """One row from a hollow dot (before) to a full one (after), with a stroke for each step between, named on touch."""
    parts = [_vertical(axis.share(tick) * 100, 0, 26, "grid") for tick, _ in axis.ticks]
    parts.append(_line("ci", axis.share(end) * 100, 13, axis.share(start) * 100, 13))
    for name, value in each:
        at = axis.share(value) * 100
        parts.append(
            Markup('<line class="step" x1="{:.2f}%" x2="{:.2f}%" y1="7" y2="19"><title>{}</title></line>').format(
                at, at, name
            )
        )
    parts.append(_circle("dot base", axis.share(start) * 100, 13, 5))
    parts.append(_circle("dot", axis.share(end) * 100, 13, 5))
    return Markup('<svg class="row" width="100%" height="26" aria-hidden="true">{}</svg>').format(
        Markup("").join(parts)
    )


def reliability(bins: Sequence[tuple[float, float, int]]) -> Markup:
    """How often right against how sure, (sure, right, count) a bin; on the diagonal the two are the same."""
    parts = [
        Markup('<line class="ref" x1="0" y1="150" x2="150" y2="0"/><rect class="frame" width="150" height="150"/>')
    ]
    most = max((count for _, _, count in bins), default=1)
    circles, counts = [], []
    for sure, right, count in bins:
        x, y, radius = 150 * sure, 150 * (1 - right), 3 + 7 * math.sqrt(count / most)
        circles.append(Markup('<circle class="bin" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(x, y, radius))
        up = y - radius - 4 if y > 24 else y + radius + 12
        counts.append(
            Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(x, up, count)
        )
    parts += [*circles, *counts]
    return Markup('<svg class="reliability" width="150" height="150" role="img">{}</svg>').format(
        Markup("").join(parts)
    )


def ruler(axis: Axis) -> Markup:
    """The tick labels under a forest plot."""
    parts = []
    for tick, label in axis.ticks:
        at = axis.share(tick) * 100
        anchor = "start" if at < 2 else "end" if at > 98 else "middle"
        parts.append(
            Markup('<text class="tick" x="{:.2f}%" y="13" text-anchor="{}">{}</text>').format(at, anchor, label)
        )
    return Markup('<svg class="row" width="100%" height="18" aria-hidden="true">{}</svg>').format(
        Markup("").join(parts)
    )


def scatter(
    dots: Sequence[Dot],
    axes: tuple[Axis, Axis],
    titles: tuple[Markup, Markup],
    *,
    zero: bool = False,
    frontier: Sequence[Dot] = (),
) -> Markup:
    """Named points; labels are moved apart, with a thin line back to their point.

    `zero` draws both zero lines; `frontier` a stair through some of the dots, from left to right.
    """
    x, y = axes
    parts = _frame(x, y, titles, zero)
    for left, right in pairwise(frontier):
        level, next_level = _y(y, left.y), _y(y, right.y)
        parts.append(_line("frontier", _x(x, left.x), level, _x(x, right.x), level))
        parts.append(_line("frontier", _x(x, right.x), level, _x(x, right.x), next_level))
    for dot, place in zip(dots, _labels(dots, x, y), strict=True):
        parts.append(_dot(dot, _x(x, dot.x), _y(y, dot.y), place))
    return _chart(parts)


def lines(curves: Sequence[Line], axes: tuple[Axis, Axis], titles: tuple[Markup, Markup]) -> Markup:
    """Curves with their intervals as whiskers, each named at its last point."""
    x, y = axes
    parts = _frame(x, y, titles, False)
    for curve in curves:
        for (x1, y1, _, _), (x2, y2, _, _) in pairwise(curve.points):
            parts.append(_line(f"curve {curve.kind}", _x(x, x1), _y(y, y1), _x(x, x2), _y(y, y2)))
        for at, value, low, high in curve.points:
            if low is not None and high is not None:
                parts.append(_line(f"ci {curve.kind}", _x(x, at), _y(y, low), _x(x, at), _y(y, high)))
            parts.append(_circle(f"dot {curve.kind}", _x(x, at), _y(y, value), 4.5))
        at, value, _, _ = curve.points[-1]
        parts.append(
            Markup('<text class="name" x="{:.2f}%" dx="-9" y="{:.1f}" text-anchor="end">{}</text>').format(
                _x(x, at), _y(y, value) + (18 if "dashed" in curve.kind else -10), curve.name
            )
        )
    return _chart(parts)


def spark(values: Sequence[float], chosen: int = -1) -> Markup:
    """A curve as small as a word, from its lowest to its highest value; the `chosen` point is marked."""
    low, high = min(values), max(values)
    step, span = 94 / max(1, len(values) - 1), (high - low) or 1.0
    at = [(3 + step * n, 21 - 18 * (value - low) / span) for n, value in enumerate(values)]
    parts = [_line("curve", *one, *other) for one, other in pairwise(at)]
    if 0 <= chosen < len(at):
        parts.append(_circle("dot", *at[chosen], 3.5))
    return Markup('<svg class="spark" width="84" height="24" aria-hidden="true">{}</svg>').format(
        Markup("").join(parts)
    )


def stack(counts: Sequence[tuple[str, int]]) -> Markup:
    """One bar of several parts, as wide as there is room: (CSS class, count) each."""
    total, at, parts = sum(count for _, count in counts) or 1, 0.0, []
    for kind, count in counts:
        width = 100 * count / total
        parts.append(
            Markup('<rect class="{}" x="{:.3f}%" y="0.75" width="{:.3f}%" height="16.5"/>').format(
                kind, at, max(0.0, width - 0.3)
            )
        )
        if width > 7:
            parts.append(
                Markup('<text class="count {}" x="{:.3f}%" y="13" text-anchor="middle">{}</text>').format(
                    kind, at + width / 2, count
                )
            )
        at += width
    return Markup('<svg class="stack" width="100%" height="18" aria-hidden="true">{}</svg>').format(
        Markup("").join(parts)
    )


@dataclass(frozen=True, slots=True)
class _Box:
    """A label's or dot's place: x in percent, y in pixels."""

    left: float
    right: float
    y: float

    def hits(self, other: _Box) -> bool:
        return self.left < other.right and other.left < self.right and abs(self.y - other.y) < _LABEL - 1


def _dot(dot: Dot, x: float, y: float, place: _Box) -> Markup:
    left = place.right < x
    parts = []
    if abs(place.y - y) > 6:
        parts.append(_line("lead", x, y, place.right + 0.5 if left else place.left - 0.5, place.y))
    parts.append(_circle(f"dot {dot.kind}", x, y, 5.5))
    parts.append(
        Markup('<text class="name {}" x="{:.2f}%" y="{:.1f}" text-anchor="{}">{}</text>').format(
            dot.kind, place.right if left else place.left, place.y + 4, "end" if left else "start", dot.name
        )
    )
    return Markup("").join(parts)


def _labels(dots: Sequence[Dot], x: Axis, y: Axis) -> list[_Box]:
    """A place for each label: beside its dot, else the nearest free place above or below, on either side."""
    taken = [_Box(_x(x, dot.x) - 1.5, _x(x, dot.x) + 1.5, _y(y, dot.y)) for dot in dots]
    places = []
    for dot in dots:
        at, size = _x(x, dot.x), _CHARACTER * len(dot.name)
        sides = [(at + 2.8, at + 2.8 + size), (at - 2.8 - size, at - 2.8)]
        tried = [
            _Box(left, right, _y(y, dot.y) + shift * _LABEL)
            for shift in (0, 1, -1, 2, -2, 3, -3, 4, -4)
            for left, right in sides
            if left > LEFT - 2 and right < LEFT + WIDTH + 4 and TOP <= _y(y, dot.y) + shift * _LABEL < HEIGHT - BOTTOM
        ]
        free = [place for place in tried if not any(place.hits(other) for other in taken)]
        places.append((free or tried or [_Box(*sides[0], _y(y, dot.y))])[0])
        taken.append(places[-1])
    return places


def _x(axis: Axis, value: float) -> float:
    return LEFT + WIDTH * axis.share(value)


def _y(axis: Axis, value: float) -> float:
    return TOP + 6 + (HEIGHT - BOTTOM - TOP - 6) * (1 - axis.share(value))


def _frame(x: Axis, y: Axis, titles: tuple[Markup, Markup], zero: bool) -> list[Markup]:
    """Grid, tick labels and the titles of both axes."""
    parts = []
    for tick, label in y.ticks:
        at = _y(y, tick)
        parts.append(_line("zero" if zero and tick == 0 else "grid", LEFT, at, LEFT + WIDTH, at))
        parts.append(
            Markup('<text class="tick" x="{}%" dx="-6" y="{:.1f}" text-anchor="end">{}</text>').format(
                LEFT, at + 4, label
            )
        )
    for tick, label in x.ticks:
        at = _x(x, tick)
        parts.append(_vertical(at, TOP, HEIGHT - BOTTOM, "zero" if zero and tick == 0 else "grid"))
        parts.append(
            Markup('<text class="tick" x="{:.2f}%" y="{}" text-anchor="middle">{}</text>').format(
                at, HEIGHT - BOTTOM + 16, label
            )
        )
    parts.append(
        Markup('<text class="axis" x="{}%" y="{}" text-anchor="end">{}</text>').format(
            LEFT + WIDTH, HEIGHT - 8, titles[0]
        )
    )
    parts.append(Markup('<text class="axis" x="0" y="10">{}</text>').format(titles[1]))
    return parts


def _chart(parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart" width="100%" height="{}" role="img">{}</svg>').format(
        HEIGHT, Markup("").join(parts)
    )


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{:.2f}%" y1="{:.1f}" x2="{:.2f}%" y2="{:.1f}"/>').format(kind, x1, y1, x2, y2)


def _circle(kind: str, x: float, y: float, radius: float) -> Markup:
    return Markup('<circle class="{}" cx="{:.2f}%" cy="{:.1f}" r="{}"/>').format(kind, x, y, radius)


def _vertical(x: float, y1: float, y2: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{:.2f}%" x2="{:.2f}%" y1="{}" y2="{}"/>').format(kind, x, x, y1, y2)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(base * power for base in (1, 2, 2.5, 5, 10) if base * power >= rough - 1e-12)


def _label(value: float) -> str:
    return f"{value:,.6g}".replace("-", "−") if abs(value) > 1e-9 else "0"
