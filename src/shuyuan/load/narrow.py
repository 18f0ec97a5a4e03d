"""Products of a few rows with weights in bfloat16, on a processor that computes in float32.

One more token reads every weight once, as fast as memory gives it: half the bytes take half the time. A weight is
widened on its way into the product, so all sums are float32's. Only weights that bfloat16 holds exactly are kept so;
those of most published models are. Rows of weights that lie far from each other are read at once, for memory gives a
core more when it is asked in several places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from shuyuan.load.compiling import compiled, use_threads

ROWS = 64
_PLACES = 4  # read at once


def narrowed(weights: Sequence[Tensor]) -> np.ndarray | None:
    """The upper halves uint16 [N, D] of float32 matrices, one under the other; None where a lower half is not 0.

    Rows of zeros make N a multiple of `_PLACES`.
    """
    whole = [weight.detach().contiguous().view(torch.uint32).numpy() for weight in weights]
    rows = sum(map(len, whole))
    bits_ND = np.zeros((rows + -rows % _PLACES, whole[0].shape[1]), np.uint16)
    lost_N = np.zeros(len(bits_ND), np.uint32)
    use_threads()
    start = 0
    for part in whole:
        mine = slice(start, start := start + len(part))
        _narrow(part, bits_ND[mine], lost_N[mine])
    return None if lost_N.any() else bits_ND


def product(x_TD: Tensor, bits_ND: np.ndarray) -> Tensor:
    """float32 [T, D] → [T, N]. T up to `ROWS` are done sooner than with float32 weights."""
    x_RD, rows = np.ascontiguousarray(x_TD.numpy()), len(x_TD)  # of one form, for which the products are compiled
    if rows > 1 and rows % 4:  # `_fours` takes whole fours
        x_RD = np.concatenate([x_RD, np.zeros((-rows % 4, x_RD.shape[1]), np.float32)])
    out_RN = np.empty((len(x_RD), len(bits_ND)), np.float32)
    use_threads()
    (_one if rows == 1 else _fours)(bits_ND, x_RD, out_RN)
    return torch.from_numpy(out_RN[:rows])


@compiled(parallel=True)
def _narrow(whole_ND: Any, bits_ND: Any, lost_N: Any) -> None:
    for n in prange(whole_ND.shape[0]):
        lost = np.uint32(0)
        for d in range(whole_ND.shape[1]):
            lost |= whole_ND[n, d] & np.uint32(0xFFFF)
            bits_ND[n, d] = whole_ND[n, d] >> np.uint32(16)
        lost_N[n] = lost


# What stands in the upper half of a float32, as one.
_wide: Any = numba.njit(lambda bits: np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32))


@compiled(parallel=True)
def _one(bits_ND: Any, x_1D: Any, out_1N: Any) -> None:
    """Four rows of weights at once, a quarter of them apart."""
    N, D = bits_ND.shape
    q = N // 4
    for n in prange(q):
        a = b = c = e = np.float32(0)
        for d in range(D):
            x = x_1D[0, d]
            a += _wide(bits_ND[n, d]) * x
            b += _wide(bits_ND[q + n, d]) * x
            c += _wide(bits_ND[2 * q + n, d]) * x
            e += _wide(bits_ND[3 * q + n, d]) * x
        out_1N[0, n], out_1N[0, q + n], out_1N[0, 2 * q + n], out_1N[0, 3 * q + n] = a, b, c, e


@compiled(parallel=True)
def _fours(bits_ND: Any, x_RD: Any, out_RN: Any) -> None:
    """Two rows of weights at once, half of them apart, with four of the R rows after the other."""
    N, D = bits_ND.shape
    h = N // 2
    for n in prange(h):
        for r in range(0, len(x_RD), 4):
            a = b = c = e = f = g = i = j = np.float32(0)
            for d in range(D):
                near, far = _wide(bits_ND[n, d]), _wide(bits_ND[h + n, d])
                w, x, y, z = x_RD[r, d], x_RD[r + 1, d], x_RD[r + 2, d], x_RD[r + 3, d]
                a += near * w
                b += near * x
                c += near * y
                e += near * z
                f += far * w
                g += far * x
                i += far * y
                j += far * z
            out_RN[r, n], out_RN[r + 1, n], out_RN[r + 2, n], out_RN[r + 3, n] = a, b, c, e
            out_RN[r, h + n], out_RN[r + 1, h + n], out_RN[r + 2, h + n], out_RN[r + 3, h + n] = f, g, i, j
