"""How surprised a model was by the tokens of an answer that was kept with their probabilities."""

from __future__ import annotations

import math

from shuyuan.base.records import Answer


def surprise(answer: Answer) -> float | None:
    """The negative log-likelihood of the answer's tokens in nats; None where their probabilities were not kept."""
    return -math.fsum(token.logprob for token in answer.logprobs) if answer.logprobs else None
