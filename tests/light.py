"""Work for other processes to import without the rest of the tests."""

from __future__ import annotations

import os


def doubled(shared: int, piece: int) -> int:
    """Twice the piece and the shared number; the process ends at 13 when that is 0."""
    if piece == 13 and shared == 0:
        os._exit(1)
    return 2 * piece + shared
