"""Functions compiled by numba, where it is installed and works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch

from shuyuan.base.progress import say


@cache
def compiles() -> bool:
    """Whether functions can be compiled here; said once where numba is there and does not work."""
    if not find_spec("numba"):
        return False
    try:
        from shuyuan.load.narrow import narrowed

        narrowed([torch.zeros(1, 1)])
    except Exception as error:  # another NumPy, no OpenMP, no place to write, errors of its compiler
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        say(f"answers are slower than they could be, numba does not work here: {why}")
        return False
    return True


def compiled(parallel: bool, exact: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Sums in any order where they need not be `exact`, so that they become sums of vectors; NaN stays what it is."""
    import numba

    # OpenMP's threads are torch's own: others would share their cores with these, which wait in circles for work.
    numba.config.THREADING_LAYER = "threadsafe"
    numerics = False if exact else {"reassoc", "contract"}
    made: Callable[[Callable[..., Any]], Any] = numba.njit(
        cache=True, nogil=True, parallel=parallel, error_model="numpy", fastmath=numerics
    )
    return made


_used = threading.local()


def use_threads() -> None:
    """Let what is compiled use as many threads as torch. The first call starts them, and torch keeps its number."""
    import numba

    wanted = torch.get_num_threads()
    if getattr(_used, "threads", 0) != wanted:
        numba.set_num_threads(min(wanted, numba.config.NUMBA_NUM_THREADS))
        torch.set_num_threads(wanted)
        _used.threads = wanted
