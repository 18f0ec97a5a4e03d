"""How likely a model finds each token of a text that stands after another text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from shuyuan.load.model import Model
from shuyuan.prepare.translation import Told

MOST_TOKENS = 1024  # of one batch: bounds the memory of its logits


@torch.inference_mode()
def told(model: Model, texts: Sequence[tuple[str, str]]) -> list[Told]:
    """Where each token of each text begins and ends, and its log-likelihood in nats, given as (text before, text).

    Where a character has several tokens, they have one place.
    """
    before = [[model.start_token, *model.tokenizer(one, add_special_tokens=False)["input_ids"]] for one, _ in texts]
    said = [model.tokenizer(one, add_special_tokens=False, return_offsets_mapping=True) for _, one in texts]
    rows = [[*first, *then["input_ids"]] for first, then in zip(before, said, strict=True)]
    found: list[Told] = [()] * len(texts)
    order = sorted(range(len(rows)), key=lambda at: -len(rows[at]))
    while order:
        size = max(1, MOST_TOKENS // len(rows[order[0]]))
        batch, order = order[:size], order[size:]
        read = _read(model, [rows[at] for at in batch], [len(before[at]) for at in batch])
        for at, nats in zip(batch, read, strict=True):
            places = said[at]["offset_mapping"]
            found[at] = [(*place, value) for place, value in zip(places, nats, strict=True)]
    return found


def _read(model: Model, rows: Sequence[Sequence[int]], begins: Sequence[int]) -> list[list[float]]:
    """The log-likelihood of each row's tokens from `begins` on, in one batch padded at the right."""
    # B rows, T tokens, K of them with logits: from the first that is wanted on; V vocabulary
    longest, left_out = max(map(len, rows)), min(begins) - 1
    ids_BT = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=model.device)
    logits_BKV = model.net(input_ids=ids_BT, use_cache=False, logits_to_keep=longest - left_out).logits
    found = []
    for row, begin, ids_T, logits_KV in zip(rows, begins, ids_BT, logits_BKV, strict=True):
        logits_TV = logits_KV[begin - 1 - left_out : len(row) - 1 - left_out].float()
        nats_T = -functional.cross_entropy(logits_TV, ids_T[begin : len(row)], reduction="none")
        found.append(nats_T.tolist())
    return found
