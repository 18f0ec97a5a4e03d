"""A module of ours run once in a process of its own, to its end or to that of its time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence

_MOST_SAID = 1 << 16  # bytes


def run_confined(module: str, given: Sequence[str], wait_seconds: float) -> tuple[list[str], int]:
    """The lines that `python -m module …` said and its exit status, as `Popen` has it. It confines itself."""
    child = subprocess.Popen(
        [sys.executable, "-B", "-P", "-m", module, *given],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "MALLOC_ARENA_MAX": "2"},
        start_new_session=True,
    )
    timer = threading.Timer(wait_seconds, child.kill)
    timer.start()
    assert child.stdout
    try:
        said = child.stdout.read(_MOST_SAID).decode("utf-8", "replace").splitlines()
        status = child.wait()
    finally:
        timer.cancel()
        child.kill()
        child.wait()
        child.stdout.close()
    return said, status
