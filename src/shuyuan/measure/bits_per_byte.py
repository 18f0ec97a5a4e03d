"""Bits per byte: how surprised a language model is by a text, comparable across tokenizers."""

from __future__ import annotations

import math


def bits_per_byte(nats: float, size_bytes: int) -> float:
    """Negative log-likelihood `nats`, summed over a text of `size_bytes` UTF-8 bytes, in bits for each byte.

    Tokens that stand for no bytes of the text (specials) must count neither way. Raises ValueError for an empty text.
    """
    if size_bytes <= 0:
        raise ValueError("a text of no bytes has no bits per byte")
    return nats / (math.log(2) * size_bytes)
