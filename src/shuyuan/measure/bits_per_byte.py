"""Bits per byte: how surprised a language model is by a text, comparable across tokenizers."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import ClassVar

from shuyuan.base.records import Answer, Question
from shuyuan.measure.likelihood import surprise
from shuyuan.measure.marking import Floats, PooledMetric, ratio


class BitsPerByte(PooledMetric):
    """Σ nats / (ln 2 · Σ UTF-8 bytes) over all texts of a paper; an empty text adds nothing."""

    higher_is_better: ClassVar[bool] = False
    bounded: ClassVar[bool] = False
    reading: ClassVar[tuple[str, ...]] = ()

    def counts(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> tuple[float, ...] | None:
        """Nats and bytes."""
        nats, size = surprise(answer), len(answer.text.encode(errors="surrogatepass"))
        return None if nats is None or not size else (nats, float(size))

    def pooled(self, sums: Floats) -> Floats:
        """0 and above; NaN without bytes."""
        return ratio(sums[..., 0], math.log(2) * sums[..., 1])


def bits_per_byte(nats: float, size_bytes: int) -> float:
    """Negative log-likelihood `nats`, summed over a text of `size_bytes` UTF-8 bytes, in bits for each byte.

    Tokens that stand for no bytes of the text (specials) must count neither way. Raises ValueError for an empty text.
    """
    if size_bytes <= 0:
        raise ValueError("a text of no bytes has no bits per byte")
    return nats / (math.log(2) * size_bytes)
