"""Answers for many prompts at once, as tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from shuyuan.base.errors import Fixable
from shuyuan.load.batching import Ask, Row, batcher_of
from shuyuan.load.model import Model


def generate(model: Model, prompts: Sequence[Sequence[int]], max_new_tokens: int = 96) -> list[list[int]]:
    """The most likely next tokens after each prompt, one at a time, without the token that ends the answer.

    The plain argmax: penalties in a model's own generation settings are not applied. Raises `Fixable` as `going` does.
    """
    with going(model, [Ask(prompt, max_new_tokens, model.end_tokens) for prompt in prompts]) as rows:
        return [row.wait().said for row in rows]


@contextmanager
def going(model: Model, asks: Sequence[Ask]) -> Iterator[list[Row]]:
    """Rows of the model's batcher, which leave it when the block does.

    Raises `Fixable` for a prompt that is empty or leaves no room for its answer in the model's context.
    """
    for ask in asks:
        if not 0 < len(ask.prompt) <= model.context - ask.most:
            raise Fixable(
                f"a prompt has {len(ask.prompt):,} tokens; {model.name} reads at most {model.context:,}, "
                f"of which {ask.most:,} are kept for the answer",
                "shorten the question or its passages" if ask.prompt else "ask something",
            )
    rows = batcher_of(model).submit(asks)
    try:
        yield rows
    finally:
        for row in rows:
            row.cancel()
