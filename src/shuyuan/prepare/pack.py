"""Sequences packed end to end into rows, so that no computation is spent on padding.

Nor on a beginning that several have in common: a row computes it once (`train/laying.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from shuyuan.base.settings import Settings
from shuyuan.prepare.chat import Encoded

Row = tuple[Encoded, ...]

WORTH = 16  # tokens that two sequences begin with in common, from which on a row computes them once


class Pack(Settings):
    """First-fit packing, longest first: within 11/9 of the fewest possible rows (Johnson 1973).

    Sequences that begin alike come together, where there is room, for what they have in common takes room once.
    """

    row_tokens: Annotated[int, Field(ge=16, le=1 << 17, description="most tokens computed at once")] = 1024

    def pack(self, sequences: Iterable[Encoded]) -> tuple[Row, ...]:
        """Rows of whole sequences; only a sequence longer than a row has one to itself. Same input, same rows."""
        rows: list[list[Encoded]] = []
        room: list[int] = []
        for sequence in sorted(sequences, key=lambda s: (-len(s.ids), s.ids)):
            size = len(sequence.ids)
            least = size - _unlearned(sequence)
            there = {
                i: max(common(sequence, other) for other in rows[i]) for i, free in enumerate(room) if free >= least
            }
            places = [i for i, shared in there.items() if room[i] >= size - shared]
            if places:
                place = max(places, key=there.__getitem__)
                rows[place].append(sequence)
                room[place] -= size - there[place]
            else:
                rows.append([sequence])
                room.append(self.row_tokens - size)
        return tuple(tuple(row) for row in rows)


def common(one: Encoded, other: Encoded) -> int:
    """How many tokens two sequences begin with in common and need only once: none learned, never all; few are none."""
    most = min(_unlearned(one), _unlearned(other))
    if most < WORTH or one.ids[:WORTH] != other.ids[:WORTH]:
        return 0
    if one.ids[:most] == other.ids[:most]:
        return most
    return next(at for at, (a, b) in enumerate(zip(one.ids, other.ids, strict=False)) if a != b)


def _unlearned(sequence: Encoded) -> int:
    """How many of its first tokens are only read; the last one is not counted."""
    last = len(sequence.ids) - 1
    return min(sequence.learned.index(True), last) if True in sequence.learned else last


def tokens_of(rows: Sequence[Row]) -> int:
    """How many tokens the rows hold."""
    return sum(len(sequence.ids) for row in rows for sequence in row)
