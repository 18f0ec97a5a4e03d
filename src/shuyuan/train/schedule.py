"""The learning rate over a run: linear warm-up, then cosine decay (Loshchilov & Hutter, arXiv 1608.03983)."""

from __future__ import annotations

import math

WARMUP_SHARE = 0.05
FLOOR_SHARE = 0.1


def warmup_cosine(step: int, steps: int) -> float:
    """The factor of the peak learning rate at a 0-based step: up over the first 5 %, down to 10 % at the end."""
    warmup = max(1, round(steps * WARMUP_SHARE))
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return FLOOR_SHARE + (1 - FLOOR_SHARE) * 0.5 * (1 + math.cos(math.pi * share))
