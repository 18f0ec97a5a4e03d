"""A packed row as it is computed: what its sequences begin with in common is there once.

Examples share a system message, descriptions of tools, the document that they ask about, or all but their endings. What
a network makes of a token hangs on the tokens before it alone, so those who begin alike need it once: loss and
gradients are the same (as in Prefix Grouper for answers to one prompt; Liu et al., 2025, arXiv 2506.05433).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from shuyuan.prepare import pack
from shuyuan.prepare.chat import Encoded


@dataclass(frozen=True)
class Laid:
    """The tokens, and of what they are made (`attention.layout_of`).

    `targets` are predicted by what stands `at` these places: sequence by sequence, in the order they were given.
    """

    ids: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    begun: list[tuple[slice, ...]] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)


@dataclass(frozen=True, order=True)
class _Part:
    """Tokens `start` to `stop` of sequence number `of`, computed there."""

    of: int
    start: int
    stop: int


def laid_out(sequences: Sequence[Encoded]) -> Laid:
    """Where each token of a row is computed. Those that begin alike lie together, the longest first."""
    paths, laid = _paths(sequences), Laid()
    firsts: dict[int, int] = {}  # where in the row the own part of a sequence begins

    def slices(parts: Sequence[_Part]) -> tuple[slice, ...]:
        offsets = [firsts[part.of] - paths[part.of][-1].start for part in parts]
        return tuple(slice(part.start + off, part.stop + off) for part, off in zip(parts, offsets, strict=True))

    def order(number: int) -> tuple[int, list[_Part], int]:
        *before, own = paths[number]
        return len(before), before, own.start - own.stop

    for number in sorted(paths, key=order):
        *before, own = paths[number]
        firsts[number] = len(laid.ids)
        laid.ids.extend(sequences[number].ids[own.start : own.stop])
        laid.lengths.append(own.stop - own.start)
        laid.begun.append(slices(before))
    for number, sequence in enumerate(sequences):
        places = [place for span in slices(paths[number]) for place in range(span.start, span.stop)]
        for place, token, learned in zip(places, sequence.ids[1:], sequence.learned[1:], strict=False):
            if learned:
                laid.at.append(place)
                laid.targets.append(token)
    return laid


def _paths(sequences: Sequence[Encoded]) -> dict[int, list[_Part]]:
    """For each sequence the parts that it consists of: those of others first, then its own, which is never empty."""
    alike = sorted(range(len(sequences)), key=lambda number: sequences[number].ids)
    paths = {number: [_Part(number, 0, len(sequences[number].ids))] for number in alike}
    for one, other in pairwise(alike):
        taken = _taken(paths[one], pack.common(sequences[one], sequences[other]))
        start = taken[-1].stop if taken else 0
        paths[other] = [*taken, _Part(other, start, len(sequences[other].ids))]
    return paths


def _taken(path: Sequence[_Part], length: int) -> list[_Part]:
    """So much of a path as is worth taking: a short part at its end would cost more than it saves."""
    taken = [_Part(part.of, part.start, min(part.stop, length)) for part in path if part.start < length]
    while taken and taken[-1].stop - taken[-1].start < pack.WORTH:
        taken.pop()
    return taken
