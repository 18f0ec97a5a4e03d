"""Next-token cross-entropy at the positions that are learned: tuning on conversations and pretraining on text alike."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from shuyuan.base.settings import Settings
from shuyuan.prepare.pack import Row
from shuyuan.train.attention import layout_of


class Supervised(Settings):
    """Sum of −log p(target) over the learned positions of a packed row, with the output layer run on those only."""

    chunk: Annotated[int, Field(ge=16, le=1 << 16, description="positions whose logits are held at once")] = 128

    def loss(self, net: torch.nn.Module, row: Row) -> Tensor:
        """The summed loss in nats, a float32 scalar; divide by the batch's targets. `net` is a Hugging Face causal LM.

        With more than one chunk, logits are computed again in the backward pass instead of kept: N positions ×
        vocabulary × 4 bytes would be the largest tensor of the whole step.
        """
        weight = net.get_input_embeddings().weight  # type: ignore[operator]
        lengths = [len(sequence.ids) for sequence in row]
        ids_T = torch.tensor([i for sequence in row for i in sequence.ids], device=weight.device)
        layout = layout_of(lengths, weight.device, weight.dtype)
        targets_T = _targets(row).to(weight.device)
        at_N = (targets_T >= 0).nonzero().squeeze(1)

        hidden_1TD = net.base_model(  # type: ignore[operator]
            input_ids=ids_T[None], position_ids=layout.positions_1T, use_cache=False, layout=layout
        ).last_hidden_state
        hidden_ND = hidden_1TD[0, at_N]
        targets_N = targets_T[at_N]
        head = net.get_output_embeddings()  # type: ignore[operator]

        def chunk_loss(hidden_CD: Tensor, targets_C: Tensor) -> Tensor:
            return functional.cross_entropy(head(hidden_CD).float(), targets_C, reduction="sum")

        if len(at_N) <= self.chunk:
            return chunk_loss(hidden_ND, targets_N)
        parts = zip(torch.split(hidden_ND, self.chunk), torch.split(targets_N, self.chunk), strict=True)
        return torch.stack([checkpoint(chunk_loss, h, t, use_reentrant=False) for h, t in parts]).sum()


def _targets(row: Row) -> Tensor:
    """For each token of the row the one that follows it in its own sequence, −1 where that is not learned. [T]"""
    targets = []
    for sequence in row:
        followers = zip(sequence.ids[1:], sequence.learned[1:], strict=True)
        targets += [i if learned else -1 for i, learned in followers]
        targets.append(-1)
    return torch.tensor(targets)
