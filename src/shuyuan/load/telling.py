"""How likely a model finds each token of a text that stands after another text."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from shuyuan.load.model import Model
from shuyuan.load.prefixes import common
from shuyuan.prepare.translation import Told

MOST_TOKENS = 1024  # of one batch: bounds the memory of its logits


@torch.inference_mode()
def told(model: Model, texts: Sequence[tuple[str, str]]) -> list[Told]:
    """Where each token of each text begins and ends, and its log-likelihood in nats, given as (text before, text).

    Where a character has several tokens, they have one place. What all the texts before begin with is read once.
    """
    rows = [(model.start_token, *_tokens(model, before)) for before, _ in texts]
    said = [model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True) for _, text in texts]
    shared = min((min(common(rows[0], row), len(row) - 1) for row in rows), default=0)
    begun = _begun(model, rows[0][:shared]) if shared else None
    ids = [[*row[shared:], *one["input_ids"]] for row, one in zip(rows, said, strict=True)]
    found: list[Told] = [() for _ in texts]
    order = sorted(range(len(ids)), key=lambda at: -len(ids[at]))
    while order:
        size = max(1, MOST_TOKENS // len(ids[order[0]]))
        batch, order = order[:size], order[size:]
        counts = [len(said[at]["input_ids"]) for at in batch]
        for at, nats in zip(batch, _read(model, begun, [ids[at] for at in batch], counts), strict=True):
            places = said[at]["offset_mapping"]
            found[at] = [(start, end, value) for (start, end), value in zip(places, nats, strict=True)]
    return found


def _tokens(model: Model, text: str) -> list[int]:
    return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])


def _begun(model: Model, tokens: Sequence[int]) -> Any:
    """The keys and values of what all rows begin with."""
    ids_1T = torch.tensor([list(tokens)], device=model.device)
    return model.net(input_ids=ids_1T, use_cache=True, logits_to_keep=1).past_key_values


def _read(model: Model, begun: Any, rows: Sequence[Sequence[int]], counts: Sequence[int]) -> list[list[float]]:
    """The log-likelihood of the last tokens of each row, `counts` of them, in one batch padded at the right."""
    # B rows, T tokens, V vocabulary; only the last K positions have logits
    longest = max(map(len, rows))
    ids_BT = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=model.device)
    past = copy.deepcopy(begun)
    if past is not None:
        past.batch_repeat_interleave(len(rows))
    kept = longest + 1 - min(len(row) - count for row, count in zip(rows, counts, strict=True))
    logits_BKV = model.net(
        input_ids=ids_BT, past_key_values=past, use_cache=past is not None, logits_to_keep=kept
    ).logits
    found = []
    for row, count, ids_T, logits_KV in zip(rows, counts, ids_BT, logits_BKV, strict=True):
        last = len(row)
        from_, to = kept - longest + last - count - 1, kept - longest + last - 1
        nats_T = functional.cross_entropy(logits_KV[from_:to].float(), ids_T[last - count : last], reduction="none")
        found.append((-nats_T).tolist())
    return found
