"""`Operations` for a step of a few tokens, in float32 on a processor: a few compiled calls a layer.

For one token these are some thirty operations a layer on a few hundred numbers, and to call torch takes longer than
they do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from shuyuan.load.anatomy import Norm
from shuyuan.load.compiling import compiled, use_threads
from shuyuan.load.engines import Feed


class Compiled:
    """See `Operations`; the means of all layers are known."""

    def __init__(
        self, feeds: Sequence[Feed], turns_2TD: Sequence[Tensor], means_1GD: dict[int, Tensor], scale: float
    ) -> None:
        self._turns_TD = _whole(turns_2TD[0]), _whole(turns_2TD[1])
        self._means_1GD, self._scale = means_1GD, np.float32(scale)
        lines = defaultdict(list)  # by table: row, slot, position, and the place among the wanted ones, if any
        row = self._wanted = 0
        for feed in feeds:
            for at in range(feed.place.length, end := feed.place.length + len(feed.tokens)):
                wanted = at >= end - feed.wanted
                lines[feed.place.table.size].append((row, feed.place.slot, at, self._wanted if wanted else -1))
                row, self._wanted = row + 1, self._wanted + wanted
        tables = {feed.place.table.size: feed.place.table for feed in feeds}
        self._lines = [(tables[size], np.array(found)) for size, found in lines.items()]

    def normed(self, x_TD: Tensor, norm: Norm, more_TD: Tensor | None = None) -> Tensor:
        """See `Operations`."""
        out_TD, D = torch.empty(x_TD.shape), x_TD.shape[-1]
        weight_D, epsilon = norm.weight_D.numpy(), np.float32(norm.epsilon)
        if more_TD is None:
            _normed(_whole(x_TD).reshape(-1, D), weight_D, epsilon, out_TD.view(-1, D).numpy())
        else:
            _added_and_normed(x_TD.numpy(), _whole(more_TD), weight_D, epsilon, out_TD.numpy())
        return out_TD

    def attended(self, layer: int, asks_TXD: Tensor, value_TGD: Tensor, last: bool) -> Tensor:
        """See `Operations`."""
        T, X, D = asks_TXD.shape
        heads = X - value_TGD.shape[1]
        out_THD = torch.empty(self._wanted if last else T, heads, D)
        given = _whole(asks_TXD), _whole(value_TGD), *self._turns_TD, self._means_1GD[layer].numpy()
        use_threads()
        for table, lines in self._lines:
            keys, values = table.keys[layer].numpy(), table.values[layer].numpy()
            _attended(lines, keys, values, *given, self._scale, last, out_THD.numpy())
        return out_THD.view(len(out_THD), heads * D)

    def gated(self, gate_up_TI: Tensor) -> Tensor:
        """See `Operations`."""
        out_TI = torch.empty(len(gate_up_TI), gate_up_TI.shape[1] // 2)
        use_threads()
        _gated(_whole(gate_up_TI), out_TI.numpy())
        return out_TI


def _whole(x: Tensor) -> np.ndarray:
    """Without gaps: of one form, for which everything is compiled."""
    return np.ascontiguousarray(x.numpy())


@compiled(parallel=False, exact=True)
def _exp(x: Any) -> Any:
    """e^x but for the last digit or two, as Cephes has it (Moshier): no library is called, so loops become vectors."""
    if x > np.float32(88):  # noqa: PLR1730  (min and max would make 88 of NaN)
        x = np.float32(88)
    if x < np.float32(-87):  # noqa: PLR1730
        x = np.float32(-87)
    twos = np.floor(x * np.float32(1.44269504088896341) + np.float32(0.5))
    x = (x - twos * np.float32(0.693359375)) - twos * np.float32(-2.12194440e-4)
    y = np.float32(1.9875691500e-4)
    y = y * x + np.float32(1.3981999507e-3)
    y = y * x + np.float32(8.3334519073e-3)
    y = y * x + np.float32(4.1665795894e-2)
    y = y * x + np.float32(1.6666665459e-1)
    y = y * x + np.float32(5.0000001201e-1)
    power = np.uint32(np.int32(twos) + np.int32(127)) << np.uint32(23)
    return (y * x * x + x + np.float32(1)) * np.uint32(power).view(np.float32)


@compiled(parallel=False)
def _normed(x_TD: Any, weight_D: Any, epsilon: Any, out_TD: Any) -> None:
    T, D = x_TD.shape
    for t in range(T):
        squares = np.float32(0)
        for d in range(D):
            squares += x_TD[t, d] * x_TD[t, d]
        scale = np.float32(1) / np.sqrt(squares / np.float32(D) + epsilon)
        for d in range(D):
            out_TD[t, d] = x_TD[t, d] * scale * weight_D[d]


@compiled(parallel=False)
def _added_and_normed(x_TD: Any, more_TD: Any, weight_D: Any, epsilon: Any, out_TD: Any) -> None:
    T, D = x_TD.shape
    for t in range(T):
        for d in range(D):
            x_TD[t, d] += more_TD[t, d]
    _normed(x_TD, weight_D, epsilon, out_TD)


@compiled(parallel=True)
def _attended(  # noqa: PLR0917
    lines_N4: Any,
    keys_SGDC: Any,
    values_SGCD: Any,
    asks_TXD: Any,
    value_TGD: Any,
    cos_TD: Any,
    sin_TD: Any,
    mean_1GD: Any,
    scale: Any,
    last: Any,
    out_THD: Any,
) -> None:
    """R query heads share a key head; a query looks at L keys. Keys first: tokens of one row see each other's."""
    H = out_THD.shape[1]
    G, D = keys_SGDC.shape[1:3]
    R = H // G
    for n in range(len(lines_N4)):
        t, s, at, _ = lines_N4[n]
        key_D = np.empty(D, np.float32)
        for g in range(G):
            _turned(asks_TXD[t, H + g], cos_TD[t], sin_TD[t], key_D)
            for d in range(D):
                keys_SGDC[s, g, d, at] = key_D[d] - mean_1GD[0, g, d]
                values_SGCD[s, g, at, d] = value_TGD[t, g, d]
    for ng in prange(len(lines_N4) * G):
        g = ng % G
        t, s, at, wanted = lines_N4[ng // G]
        out = wanted if last else t
        if out >= 0:
            L = min(keys_SGDC.shape[3], at // 32 * 32 + 32)  # whole vectors; what lies behind is a number, too
            query_RD, shares_RL = np.empty((R, D), np.float32), np.zeros((R, L), np.float32)
            for r in range(R):
                _turned(asks_TXD[t, g * R + r], cos_TD[t], sin_TD[t], query_RD[r])
            for d in range(D):
                for r in range(R):
                    asked = query_RD[r, d] * scale
                    for k in range(L):
                        shares_RL[r, k] += asked * keys_SGDC[s, g, d, k]
            for r in range(R):
                shares_RL[r, at + 1 :] = -np.inf
                _softmax(shares_RL[r])
            found_RD = out_THD[out, g * R : (g + 1) * R]
            found_RD[:] = np.float32(0)
            for k in range(at + 1):
                for r in range(R):
                    share = shares_RL[r, k]
                    for d in range(D):
                        found_RD[r, d] += share * values_SGCD[s, g, k, d]


@compiled(parallel=False)
def _turned(asks_D: Any, cos_D: Any, sin_D: Any, out_D: Any) -> None:
    half = len(asks_D) // 2
    for d in range(half):
        near, far = asks_D[d], asks_D[half + d]
        out_D[d] = near * cos_D[d] + far * sin_D[d]
        out_D[half + d] = far * cos_D[half + d] + near * sin_D[half + d]


@compiled(parallel=False)
def _softmax(scores_L: Any) -> None:
    most, whole = scores_L.max(), np.float32(0)
    for k in range(len(scores_L)):
        share = _exp(scores_L[k] - most)
        scores_L[k] = share
        whole += share
    for k in range(len(scores_L)):
        scores_L[k] /= whole


@compiled(parallel=True)
def _gated(gate_up_TI: Any, out_TI: Any) -> None:
    T, I = out_TI.shape  # noqa: E741
    for t in prange(T):
        for i in range(I):
            gate = gate_up_TI[t, i]
            out_TI[t, i] = gate / (np.float32(1) + _exp(-gate)) * gate_up_TI[t, I + i]
