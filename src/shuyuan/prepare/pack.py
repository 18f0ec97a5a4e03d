"""Sequences packed end to end into rows, so that no computation is spent on padding.

Nor on a beginning that several have in common: a row computes it once (`train/laying.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile
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
            there = [max(common(sequence, other) for other in row) for row in rows]
            places = [i for i, free in enumerate(room) if free >= size - there[i]]
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
    both = zip(one.ids[:-1], other.ids[:-1], one.learned, other.learned, strict=False)
    count = sum(1 for _ in takewhile(lambda at: at[0] == at[1] and not (at[2] or at[3]), both))
    return count if count >= WORTH else 0


def tokens_of(rows: Sequence[Row]) -> int:
    """How many tokens the rows hold."""
    return sum(len(sequence.ids) for row in rows for sequence in row)
