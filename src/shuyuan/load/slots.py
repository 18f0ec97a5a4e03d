"""Keys and values of the rows being generated, in preallocated slots: one table of slots for each size of row."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

SMALLEST = 256  # tokens of the smallest slot; the others are 2, 4, 8, … times as long
SHARE = 0.25  # of the memory that is free when the model is opened, for all slots together


@dataclass
class Place:
    """Where a row lies: its slot in a table, and how many of its tokens are in there. Changes as the row goes on."""

    table: Table
    slot: int
    length: int = 0


class Table:
    """Slots of one size, those in use in front. S slots, G key heads, D their width, C tokens of a slot.

    Keys lie turned, as attention multiplies with them: [S, G, D, C] a layer; values [S, G, C, D]. Those of all layers
    are one block of memory: the C library gives large blocks back to the system, and keeps the holes of small ones.
    """

    def __init__(self, size: int, shape: Shape, slots: int = 0) -> None:
        self.size, self.places = size, list[Place]()
        self._shape = shape
        self.keys, self.values = self._fresh(slots, turned=True), self._fresh(slots, turned=False)

    @property
    def slots(self) -> int:
        """How many there is memory for."""
        return len(self.keys[0])

    def add(self) -> Place:
        """A place for one more row; where there is no slot, their number is doubled."""
        place = Place(self, len(self.places))
        if place.slot == self.slots:
            self._grow(max(1, 2 * self.slots))
        self.places.append(place)
        return place

    def remove(self, place: Place) -> None:
        """Give a row's slot back; the last one in use moves into it."""
        last = self.places.pop()
        if last is not place:
            for keys, values in zip(self.keys, self.values, strict=True):
                keys[place.slot, :, :, : last.length] = keys[last.slot, :, :, : last.length]
                values[place.slot, :, : last.length] = values[last.slot, :, : last.length]
            last.slot = place.slot
            self.places[last.slot] = last

    def _grow(self, slots: int) -> None:
        self.keys = _copied(self.keys, self._fresh(slots, turned=True))
        self.values = _copied(self.values, self._fresh(slots, turned=False))

    def _fresh(self, slots: int, turned: bool) -> tuple[Tensor, ...]:
        shape = self._shape
        last = (shape.width, self.size) if turned else (self.size, shape.width)
        # Zeros: what lies behind a row's end is multiplied with a share of 0, and must be a number for that.
        whole = torch.zeros(shape.layers, slots, shape.groups, *last, dtype=shape.dtype, device=shape.device)
        return whole.unbind()


@dataclass(frozen=True)
class Shape:
    """What a token's keys and values are: how many, of which type, and where."""

    layers: int
    groups: int
    width: int
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        """Of one token in all layers."""
        return 2 * self.layers * self.groups * self.width * self.dtype.itemsize


class Cache:
    """All tables. Its greatest size is derived from the memory that is free."""

    def __init__(self, shape: Shape) -> None:
        self.shape, self._tables = shape, dict[int, Table]()
        self.most_tokens = int(SHARE * free_bytes(shape.device)) // shape.token_bytes

    def fits(self, tokens: int) -> bool:
        """Whether there is room for one more row of so many tokens; for the first there always is."""
        size = _size(tokens)
        table = self._tables.get(size)
        free = table is not None and len(table.places) < table.slots
        held = sum(size * table.slots for size, table in self._tables.items())
        more = 0 if free else size * max(1, table.slots if table else 0)
        return not self._tables or held + more <= self.most_tokens

    def open(self, tokens: int) -> Place:
        """A place for a row of at most so many tokens."""
        size = _size(tokens)
        if size not in self._tables:
            self._tables[size] = Table(size, self.shape)
        return self._tables[size].add()

    def close(self, place: Place) -> None:
        """Give a place back; the memory of a table goes with its last row."""
        place.table.remove(place)
        if not place.table.places:
            del self._tables[place.table.size]

    def keep(self, place: Place) -> Place:
        """A copy of what a row has read, in a table of its own just as large. It is let go of by forgetting it.

        That table doesn't know of its only place: going round in a circle, they would stay until Python looks for such.
        """
        kept = Place(Table(place.length, self.shape, slots=1), 0)
        take(place, kept, place.length)
        return kept


def take(source: Place, place: Place, length: int) -> None:
    """Let a row have the first `length` tokens that another one has read."""
    for layer in range(len(place.table.keys)):
        keys, values = source.table.keys[layer], source.table.values[layer]
        place.table.keys[layer][place.slot, :, :, :length] = keys[source.slot, :, :, :length]
        place.table.values[layer][place.slot, :, :length] = values[source.slot, :, :length]
    place.length = length


def free_bytes(device: torch.device) -> int:
    """Memory that nobody uses now, on the processor's or the GPU's side."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    file = Path("/proc/meminfo")
    lines = file.read_text().splitlines() if file.exists() else []
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 0)
    return free or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _copied(old: Sequence[Tensor], fresh: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    for before, after in zip(old, fresh, strict=True):
        after[: len(before)] = before
    return fresh


def _size(tokens: int) -> int:
    size = SMALLEST
    while size < tokens:
        size *= 2
    return size
