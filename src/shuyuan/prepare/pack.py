"""Sequences packed end to end into rows, so that no computation is spent on padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from shuyuan.base.settings import Settings
from shuyuan.prepare.chat import Encoded

Row = tuple[Encoded, ...]


class Pack(Settings):
    """First-fit packing, longest first: within 11/9 of the fewest possible rows (Johnson 1973)."""

    row_tokens: Annotated[int, Field(ge=16, le=1 << 17, description="most tokens computed at once")] = 1024

    def pack(self, sequences: Iterable[Encoded]) -> tuple[Row, ...]:
        """Rows of whole sequences; only a sequence longer than a row has one to itself. Same input, same rows."""
        rows: list[list[Encoded]] = []
        room: list[int] = []
        for sequence in sorted(sequences, key=lambda s: (-len(s.ids), s.ids)):
            size = len(sequence.ids)
            place = next((i for i, free in enumerate(room) if free >= size), None)
            if place is None:
                rows.append([sequence])
                room.append(self.row_tokens - size)
            else:
                rows[place].append(sequence)
                room[place] -= size
        return tuple(tuple(row) for row in rows)


def tokens_of(rows: Sequence[Row]) -> int:
    """How many tokens the rows hold."""
    return sum(len(sequence.ids) for row in rows for sequence in row)
