"""Products of a few rows with weights in bfloat16, on a processor that computes in float32.

One more token reads every weight once, as fast as memory gives it: half the bytes take half the time. A weight is
widened on its way into the product, so all sums are float32's. Only weights that bfloat16 holds exactly are kept so;
those of most published models are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

ROWS = 32
# OpenMP's threads are torch's own: others would share their cores with these, which wait in circles for work.
numba.config.THREADING_LAYER = "threadsafe"


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Sums in any order, so that they become sums of vectors; infinities and NaN stay what they are."""
    numerics = {"reassoc", "contract"}
    made: Callable[..., Any] = numba.njit(
        cache=True, nogil=True, parallel=True, error_model="numpy", fastmath=numerics
    )(function)
    return made


def narrowed(weights: Sequence[Tensor]) -> np.ndarray | None:
    """The upper halves uint16 [N, D] of float32 matrices, one under the other; None where a lower half is not 0."""
    whole = [weight.detach().contiguous().view(torch.uint32).numpy() for weight in weights]
    bits_ND = np.empty((sum(map(len, whole)), whole[0].shape[1]), np.uint16)
    lost_N = np.zeros(len(bits_ND), np.uint32)
    _use_threads(torch.get_num_threads())
    start = 0
    for part in whole:
        mine = slice(start, start := start + len(part))
        _narrow(part, bits_ND[mine], lost_N[mine])
    return None if lost_N.any() else bits_ND


def product(x_TD: Tensor, bits_ND: np.ndarray) -> Tensor:
    """float32 [T, D] → [T, N]. T up to `ROWS` are done sooner than with float32 weights."""
    _use_threads(torch.get_num_threads())
    outs = [_of_eight(x_RD, bits_ND) for x_RD in np.split(x_TD.numpy(), range(8, len(x_TD), 8))]
    return torch.from_numpy(np.concatenate(outs) if len(outs) > 1 else outs[0])


def _of_eight(x_RD: np.ndarray, bits_ND: np.ndarray) -> np.ndarray:
    rows, (N, D) = len(x_RD), bits_ND.shape
    kernel, most = next(fitting for fitting in _KERNELS if rows <= fitting[1])
    if rows < most:
        x_RD = np.concatenate([x_RD, np.zeros((most - rows, D), np.float32)])
    out_RN = np.empty((most, N), np.float32)
    kernel(bits_ND, x_RD, out_RN)
    return out_RN[:rows]


def _use_threads(wanted: int) -> None:
    """Let products of this thread use so many. The first call starts them, which sets how many torch uses, too."""
    numba.set_num_threads(min(wanted, numba.config.NUMBA_NUM_THREADS))
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)


@_compiled
def _narrow(whole_ND: Any, bits_ND: Any, lost_N: Any) -> None:
    for n in prange(whole_ND.shape[0]):
        lost = np.uint32(0)
        for d in range(whole_ND.shape[1]):
            lost |= whole_ND[n, d] & np.uint32(0xFFFF)
            bits_ND[n, d] = whole_ND[n, d] >> np.uint32(16)
        lost_N[n] = lost


# What stands in the upper half of a float32, as one.
_wide: Any = numba.njit(lambda bits: np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32))


@_compiled
def _one(bits_ND: Any, x_1D: Any, out_1N: Any) -> None:
    for n in prange(bits_ND.shape[0]):
        a = np.float32(0)
        for d in range(bits_ND.shape[1]):
            a += _wide(bits_ND[n, d]) * x_1D[0, d]
        out_1N[0, n] = a


@_compiled
def _four(bits_ND: Any, x_4D: Any, out_4N: Any) -> None:
    for n in prange(bits_ND.shape[0]):
        a = b = c = e = np.float32(0)
        for d in range(bits_ND.shape[1]):
            weight = _wide(bits_ND[n, d])
            a += weight * x_4D[0, d]
            b += weight * x_4D[1, d]
            c += weight * x_4D[2, d]
            e += weight * x_4D[3, d]
        out_4N[0, n], out_4N[1, n], out_4N[2, n], out_4N[3, n] = a, b, c, e


@_compiled
def _eight(bits_ND: Any, x_8D: Any, out_8N: Any) -> None:
    for n in prange(bits_ND.shape[0]):
        a = b = c = e = f = g = h = i = np.float32(0)
        for d in range(bits_ND.shape[1]):
            weight = _wide(bits_ND[n, d])
            a += weight * x_8D[0, d]
            b += weight * x_8D[1, d]
            c += weight * x_8D[2, d]
            e += weight * x_8D[3, d]
            f += weight * x_8D[4, d]
            g += weight * x_8D[5, d]
            h += weight * x_8D[6, d]
            i += weight * x_8D[7, d]
        out_8N[0, n], out_8N[1, n], out_8N[2, n], out_8N[3, n] = a, b, c, e
        out_8N[4, n], out_8N[5, n], out_8N[6, n], out_8N[7, n] = f, g, h, i


_KERNELS = ((_one, 1), (_four, 4), (_eight, 8))  # and how many rows each takes
