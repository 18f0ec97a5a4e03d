"""How a contestant on a GPU ends: with its steps and its peak memory, or saying that the memory was not enough."""

from collections.abc import Callable

import torch
from watching import peak_bytes, report


def guarded(run: Callable[[dict], tuple[list, tuple]], job: dict) -> None:
    """Report what `run(job)` measured. On a GPU the peak is the device's, as torch counted it; else the process's."""
    on_gpu = torch.cuda.is_available()
    try:
        steps, packages = run(job)
    except torch.OutOfMemoryError:
        report([], (), failed=f"out of memory, beyond {torch.cuda.max_memory_allocated() / 1e9:.0f} GB")
        return
    except ImportError as error:
        report([], (), failed=f"cannot: {error}")
        return
    report(steps, packages, peak_bytes=torch.cuda.max_memory_allocated() if on_gpu else peak_bytes())
