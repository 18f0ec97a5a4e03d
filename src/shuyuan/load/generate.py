"""Greedy answers for many prompts at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from shuyuan.base.errors import Fixable
from shuyuan.load.model import Model

MOST_TOKENS = 16_384  # prompt, padding and answers of one batch: bounds the memory of its key-value cache
MOST_ROWS = 64


def generate(model: Model, prompts: Sequence[Sequence[int]], max_new_tokens: int = 96) -> list[list[int]]:
    """The most likely next tokens after each prompt, one at a time, without the token that ends the answer.

    The plain argmax: penalties in a model's own generation settings are not applied. Prompts of like length share a
    batch, and a row leaves its batch when it ends. Raises `Fixable` for a prompt that is empty or leaves no room for
    `max_new_tokens` in the model's context.
    """
    for prompt in prompts:
        if not 0 < len(prompt) <= model.context - max_new_tokens:
            raise Fixable(
                f"a prompt has {len(prompt):,} tokens; {model.name} reads at most {model.context:,}, "
                f"of which {max_new_tokens:,} are kept for the answer",
                "shorten the question or its passages" if prompt else "ask something",
            )
    answers: list[list[int]] = [[] for _ in prompts]
    for batch in _batches([len(prompt) for prompt in prompts], max_new_tokens):
        continued = _continue(model, [prompts[row] for row in batch], max_new_tokens)
        for row, answer in zip(batch, continued, strict=True):
            answers[row] = answer
    return answers


def _batches(lengths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Rows in batches of like length, longest first, so that what does not fit in memory fails at once."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if (batch and (len(batch) + 1) * (lengths[batch[0]] + room) > MOST_TOKENS) or len(batch) == MOST_ROWS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@torch.inference_mode()
def _continue(model: Model, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """One batch. Prompts are padded at the left, so that every row's next position is the last one."""
    # B rows still going, T tokens of the longest prompt
    longest = max(len(prompt) for prompt in prompts)
    ids_BT = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for row, prompt in enumerate(prompts):
        ids_BT[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask_BT[row, longest - len(prompt) :] = 1
    ids_BT, mask_BT = ids_BT.to(model.device), mask_BT.to(model.device)
    position_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    answers: list[list[int]] = [[] for _ in prompts]
    going = list(range(len(prompts)))
    ends, cache = model.end_tokens, None
    for _ in range(most):
        said: Any = model.net(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=position_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = said.past_key_values
        chosen_B = said.logits[:, -1].argmax(-1)
        keep = []
        for row, token in enumerate(chosen_B.tolist()):
            if token not in ends:
                answers[going[row]].append(token)
                keep.append(row)
        if not keep:
            break
        if len(keep) < len(going):
            going = [going[row] for row in keep]
            kept = torch.tensor(keep, device=model.device)
            cache.batch_select_indices(kept)
            chosen_B, mask_BT, position_BT = chosen_B[kept], mask_BT[kept], position_BT[kept]
        ids_BT = chosen_B[:, None]
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(going), 1)], dim=1)
        position_BT = position_BT[:, -1:] + 1
    return answers
