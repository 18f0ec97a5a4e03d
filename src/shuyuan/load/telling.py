"""How likely a model finds each token of a text that stands after another text."""

from __future__ import annotations

from collections.abc import Sequence

from shuyuan.load.batching import Ask
from shuyuan.load.choosing import Likely
from shuyuan.load.generate import going
from shuyuan.load.model import Model
from shuyuan.prepare.translation import Told

MOST_TOKENS = 2048  # of rows that are read at once: bounds the memory of their logits


def told(model: Model, texts: Sequence[tuple[str, str]]) -> list[Told]:
    """Where each token of each text begins and ends, and its log-likelihood in nats, given as (text before, text).

    Where a character has several tokens, they have one place. What all the texts before begin with is read once.
    """
    said = [model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True) for _, text in texts]
    rows = [
        ((model.start_token, *model.tokenizer(before, add_special_tokens=False)["input_ids"]), one["input_ids"])
        for (before, _), one in zip(texts, said, strict=True)
    ]
    return [
        tuple((start, end, each.logprob) for (start, end), each in zip(one["offset_mapping"], found, strict=True))
        for one, found in zip(said, likelihoods(model, rows), strict=True)
    ]


def likelihoods(model: Model, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[Likely]]:
    """How likely each token of the second part of a row is after all before it; with the likeliest in its place.

    The first part has one token or more. Raises `Fixable` as `going` does.
    """
    found: list[list[Likely]] = [[] for _ in rows]
    order = sorted((at for at, (_, tokens) in enumerate(rows) if tokens), key=lambda at: -sum(map(len, rows[at])))
    while order:
        size = max(1, MOST_TOKENS // sum(map(len, rows[order[0]])))
        batch, order = order[:size], order[size:]
        asks = [
            Ask([*before, *tokens[:-1]], 0, frozenset(), follow=tokens)
            for before, tokens in map(rows.__getitem__, batch)
        ]
        with going(model, asks) as read:
            for at, row in zip(batch, read, strict=True):
                found[at] = row.wait().likelihoods
    return found
