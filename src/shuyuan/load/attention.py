"""Attention of a step's queries over cached keys: short rows together in one product, long ones each in blocks.

All as batched matrix products, which on a CPU are faster than torch's flash attention for rows of some hundred tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from shuyuan.load.slots import Place, Table

_LONG = 8  # tokens of a row from which on copying slices beats copying by index
_LENGTHS = 32  # keys are looked at in multiples of so many: oneDNN makes its code anew for each length, in .7 ms
BLOCK = 256  # queries of a long row at a time: what lies after them is not multiplied at all


@dataclass(frozen=True)
class Together:
    """Queries of many rows, spread over all S slots in use with t places each, L keys long.

    `rows_Q` are their numbers among the step's queries, `spread_Q` theirs among the S · t places; `bias_StL` is −∞
    where a query does not look. `plain`: every place has a query, in the order of the step's.
    """

    rows_Q: Tensor
    spread_Q: Tensor
    bias_StL: Tensor
    plain: bool


@dataclass(frozen=True)
class Alone:
    """Up to `BLOCK` queries of one row, from `row` on among the step's; the last of them stands at `end` - 1."""

    slot: int
    row: int
    count: int
    end: int


@dataclass(frozen=True)
class Look:
    """What the queries of one table's rows look at, and where their own keys go.

    `spans` are (slot, first position, tokens) of each row, where rows are long enough to be written one by one.
    """

    table: Table
    spans: tuple[tuple[int, int, int], ...]
    rows_T: Tensor
    slots_T: Tensor
    positions_T: Tensor
    together: Together | None
    alone: tuple[Alone, ...]


def looks_of(places: Sequence[Place], ends: Sequence[int], counts: Sequence[int], like: Tensor) -> list[Look]:
    """For each table: rows end at `ends`, and their last `counts` tokens ask, in this order. `like`: dtype and device.

    A row's key is at its own position already, or is written before it is looked at.
    """
    starts = [sum(counts[:number]) for number in range(len(counts))]
    found = []
    for table in {id(place.table): place.table for place in places}.values():
        mine = [n for n, place in enumerate(places) if place.table is table and counts[n]]
        if not mine:
            continue
        rows = [starts[n] + i for n in mine for i in range(counts[n])]
        slots = [places[n].slot for n in mine for _ in range(counts[n])]
        positions = [ends[n] - counts[n] + i for n in mine for i in range(counts[n])]
        as_one = [n for n in mine if counts[n] == 1]
        if 2 * sum(counts[n] for n in mine) >= len(table.places) * max(counts[n] for n in mine):
            as_one = [n for n in mine if counts[n] <= BLOCK // 8]
        alone = [n for n in mine if n not in as_one]
        rows_T, slots_T, positions_T = torch.tensor([rows, slots, positions], device=like.device)
        spans = tuple((places[n].slot, ends[n] - counts[n], counts[n]) for n in mine)
        spans = spans if len(rows) >= _LONG * len(mine) or len(mine) == 1 else ()
        together = _together(places, ends, counts, starts, as_one, like) if as_one else None
        blocks = tuple(block for n in alone for block in _blocks(places[n].slot, starts[n], counts[n], ends[n]))
        found.append(Look(table, spans, rows_T, slots_T, positions_T, together, blocks))
    return found


def _together(  # noqa: PLR0917  (what `looks_of` was given and worked out)
    places: Sequence[Place],
    ends: Sequence[int],
    counts: Sequence[int],
    starts: Sequence[int],
    chosen: Sequence[int],
    like: Tensor,
) -> Together:
    slots = len(places[chosen[0]].table.places)
    most, longest = max(counts[n] for n in chosen), max(ends[n] for n in chosen)
    longest = min(-(-longest // _LENGTHS) * _LENGTHS, places[chosen[0]].table.size)
    lasts_St = torch.full((slots, most), longest - 1)  # the last key that a place looks at; where nobody asks, all
    rows, spread = list[int](), list[int]()
    for n in chosen:
        slot, count = places[n].slot, counts[n]
        lasts_St[slot, :count] = torch.arange(ends[n] - count, ends[n])
        rows += range(starts[n], starts[n] + count)
        spread += range(slot * most, slot * most + count)
    hidden_StL = torch.arange(longest) > lasts_St[:, :, None]
    bias_StL = torch.zeros(hidden_StL.shape, dtype=like.dtype).masked_fill_(hidden_StL, float("-inf"))
    rows_Q, spread_Q = torch.tensor([rows, spread], device=like.device)
    plain = rows == spread == list(range(slots * most)) and sum(counts) == slots * most
    return Together(rows_Q, spread_Q, bias_StL.to(like.device), plain)


def _blocks(slot: int, row: int, count: int, end: int) -> list[Alone]:
    firsts = range(0, count, BLOCK)
    sizes = [min(BLOCK, count - first) for first in firsts]
    return [Alone(slot, row + f, size, end - count + f + size) for f, size in zip(firsts, sizes, strict=True)]


def write(looks: Sequence[Look], layer: int, key_TGD: Tensor, value_TGD: Tensor) -> None:
    """Put the keys and values of a step's tokens where they stay."""
    for look in looks:
        whole = len(looks) == 1
        key, value = (key_TGD, value_TGD) if whole else (key_TGD[look.rows_T], value_TGD[look.rows_T])
        keys, values = look.table.keys[layer], look.table.values[layer]
        row = 0
        for slot, first, count in look.spans:
            keys[slot, :, :, first : first + count] = key[row : row + count].permute(1, 2, 0)
            values[slot, :, first : first + count] = value[row : row + count].transpose(0, 1)
            row += count
        if not look.spans:
            keys[look.slots_T, :, :, look.positions_T] = key
            values[look.slots_T, :, look.positions_T] = value


def mixed(looks: Sequence[Look], layer: int, query_THD: Tensor) -> Tensor:
    """What the queries (scaled already) find: [T, H · D]."""
    out_THD = torch.empty_like(query_THD)
    for look in looks:
        keys, values = look.table.keys[layer], look.table.values[layer]
        if look.together and look.together.plain:
            return _mixed_spread(look.together, keys, values, query_THD).flatten(1)
        if look.together:
            rows = look.together.rows_Q
            out_THD[rows] = _mixed_together(look.together, keys, values, query_THD[rows])
        for alone in look.alone:
            part = slice(alone.row, alone.row + alone.count)
            out_THD[part] = _mixed_alone(alone, keys, values, query_THD[part])
    return out_THD.flatten(1)


def _mixed_together(look: Together, keys: Tensor, values: Tensor, query_QHD: Tensor) -> Tensor:
    spread = query_QHD.new_zeros(look.bias_StL.shape[0] * look.bias_StL.shape[1], *query_QHD.shape[1:])
    spread[look.spread_Q] = query_QHD
    return _mixed_spread(look, keys, values, spread)[look.spread_Q]


def _mixed_spread(look: Together, keys: Tensor, values: Tensor, spread: Tensor) -> Tensor:
    # R query heads share a key head: they are rows of one product
    slots, places, longest = look.bias_StL.shape
    groups, width = keys.shape[1], keys.shape[2]
    rows = spread.view(slots, places, groups, -1, width).permute(0, 2, 3, 1, 4).reshape(slots * groups, -1, width)
    scores = torch.bmm(rows, keys[:slots, :, :, :longest].flatten(0, 1))
    scores.view(slots, -1, places, longest).add_(look.bias_StL[:, None])
    found = torch.bmm(torch.softmax(scores, -1), values[:slots, :, :longest].flatten(0, 1))
    back = found.view(slots, groups, -1, places, width).permute(0, 3, 1, 2, 4)
    return back.reshape(slots * places, -1, width)


def _mixed_alone(look: Alone, keys: Tensor, values: Tensor, query_THD: Tensor) -> Tensor:
    groups, width = keys.shape[1], keys.shape[2]
    rows = query_THD.transpose(0, 1).reshape(groups, -1, width)
    scores = torch.bmm(rows, keys[look.slot, :, :, : look.end])
    own = scores.view(-1, look.count, look.end)[:, :, look.end - look.count :]
    own.add_(_hidden(own.dtype, own.device)[: look.count, : look.count])
    found = torch.bmm(torch.softmax(scores, -1), values[look.slot, :, : look.end])
    return found.view(-1, look.count, width).transpose(0, 1)


@cache
def _hidden(dtype: torch.dtype, device: torch.device) -> Tensor:
    """−∞ for the keys after a query's own, among those of a block."""
    return torch.full((BLOCK, BLOCK), float("-inf"), dtype=dtype, device=device).triu_(1)
