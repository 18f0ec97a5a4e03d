"""Several sources mixed by share into one sequence, in an order that depends on their lengths and the seed alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.lazy import Lazy
from shuyuan.base.material import Material
from shuyuan.base.progress import say
from shuyuan.base.records import Example

T = TypeVar("T")
Strategy = Literal["concat", "interleave_under", "interleave_over", "interleave_once"]
_DRAWN_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Mix:
    """Which files of a workspace are learned from (`origins`), and how they are mixed; see `mix`."""

    origins: tuple[str, ...]
    strategy: Strategy = "interleave_under"
    shares: tuple[float, ...] = ()


def mix_of(given: Iterable[str]) -> Mix:
    """`own.jsonl=3 chat.jsonl=1` as a mix; a file without a number has the share 1."""
    parts = [text.rpartition("=") if "=" in text else (text, "=", "1") for text in given]
    try:
        return Mix(tuple(name for name, _, _ in parts), shares=tuple(float(share) for _, _, share in parts))
    except ValueError as error:
        raise Fixable(f"a share is no number: {error}", "write FILE=3 OTHER=1") from None


class Mixed(Lazy[T]):
    """The items of several sources in one order; nothing is copied, so sources may lie on disk."""

    def __init__(self, sources: Mapping[str, Sequence[T]], order: np.ndarray) -> None:
        self._names, self._sources, self._order = tuple(sources), tuple(sources.values()), order
        self._starts = np.cumsum([0, *map(len, self._sources)])

    def __len__(self) -> int:
        return len(self._order)

    def _at(self, index: int) -> T:
        flat = int(self._order[index])
        source = int(np.searchsorted(self._starts, flat, side="right")) - 1
        return self._sources[source][flat - int(self._starts[source])]

    def __str__(self) -> str:
        """What each source contributes: `mixed 1,000: 700 (70 %) of own's 900, 300 (30 %) of general's 120`."""
        owners = np.searchsorted(self._starts, self._order, side="right") - 1
        counts = np.bincount(owners, minlength=len(self._sources))
        parts = [
            f"{count:,} ({count / max(1, len(self)):.0%}) from the {len(source):,} of {name}"
            for name, source, count in zip(self._names, self._sources, counts.tolist(), strict=True)
        ]
        return f"mixed {len(self):,}: {', '.join(parts)}"


def mix(
    sources: Mapping[str, Sequence[T]],
    strategy: Strategy = "concat",
    shares: Sequence[float] = (),
    seed: int = 0,
) -> Mixed[T]:
    """Mix sources as LLaMA-Factory's `mix_strategy` does, with the draws of `datasets.interleave_datasets`.

    `concat`: one after the other. The others draw the next source by `shares` (any positive numbers; none: in turn)
    and its next item. `interleave_under` ends when one source has run out, `interleave_over` when each has, those that
    ran out beginning again; `interleave_once` shows every item once. Wrong shares and empty sources are a `Fixable`.
    """
    if strategy not in get_args(Strategy):
        raise Fixable(f"there is no way '{strategy}' to mix", near_miss(strategy, get_args(Strategy)))
    if empty := next((name for name, source in sources.items() if not len(source)), ""):
        raise Fixable(f"'{empty}' holds nothing to mix", "leave it out")
    lengths = [len(source) for source in sources.values()]
    if strategy == "concat":
        if shares:
            raise Fixable("shares have no effect where sources are put one after the other", "use interleave_under")
        return Mixed(sources, np.arange(sum(lengths)))
    if shares and (len(shares) != len(lengths) or min(shares) <= 0):
        raise Fixable(
            f"{len(shares)} shares for {len(lengths)} sources: {', '.join(map(str, shares))}",
            "give one positive number for each of: " + ", ".join(sources),
        )
    return Mixed(sources, _interleaved(lengths, strategy, shares, seed))


def mixed_examples(material: Material, how: Mix, seed: int = 0) -> Mixed[Example]:
    """The examples of some files of a workspace, mixed; what each contributes is said."""
    there = material.origins()
    for origin in how.origins:
        if origin not in there:
            raise Fixable(f"no examples came from '{origin}'", near_miss(origin, there))
    mixed = mix({origin: material.examples(origin) for origin in how.origins}, how.strategy, how.shares, seed)
    say(str(mixed))
    return mixed


def _interleaved(lengths: Sequence[int], strategy: Strategy, shares: Sequence[float], seed: int) -> np.ndarray:
    """The order as indices into the sources put end to end."""
    starts = np.cumsum([0, *lengths])
    ends = all if strategy != "interleave_under" else any
    done, at, order = [False] * len(lengths), [0] * len(lengths), []
    for source in _drawn(len(lengths), shares, seed):
        if ends(done) and (shares or source == 0):  # taking turns, a round is finished first
            break
        if done[source] and strategy == "interleave_once":
            continue
        order.append(starts[source] + at[source])
        at[source] += 1
        if at[source] == lengths[source]:
            done[source], at[source] = True, 0
    return np.array(order)


def _drawn(count: int, shares: Sequence[float], seed: int) -> Iterator[int]:
    if not shares:
        yield from itertools.cycle(range(count))
    numbers = np.random.default_rng(seed)
    weights = np.array(shares) / np.sum(shares)
    while True:
        yield from numbers.choice(count, size=_DRAWN_AT_ONCE, p=weights).tolist()
