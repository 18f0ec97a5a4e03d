"""What something cost: seconds, CPU-seconds and the highest memory while it ran."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_open: list[dict[str, float]] = []  # records of the blocks that are running, the outermost first


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Yield a record that holds `seconds`, `cpu_seconds` and `peak_bytes` once the block is left.

    On Linux the process's high-water mark is set back first, so the peak is of this block; elsewhere it is of the
    whole process so far. Blocks may be nested: the outer one's peak covers the inner one.
    """
    cost: dict[str, float] = {}
    began, cpu = time.monotonic(), time.process_time()
    _note_peak()
    _reset_peak()
    _open.append(cost)
    try:
        yield cost
    finally:
        _note_peak()
        _open.pop()
    cost["seconds"] = round(time.monotonic() - began, 2)
    cost["cpu_seconds"] = round(time.process_time() - cpu, 2)


def _note_peak() -> None:
    """Keep the high-water mark for all blocks that are open, before it is set back."""
    peak = _peak_bytes()
    for cost in _open:
        cost["peak_bytes"] = max(peak, cost.get("peak_bytes", 0))


def _reset_peak() -> None:
    try:
        _RESET.write_text("5")  # proc(5): resets VmHWM
    except OSError:
        return


def _peak_bytes() -> int:
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
