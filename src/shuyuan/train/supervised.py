"""Next-token cross-entropy at the positions that are learned: tuning on conversations and pretraining on text alike."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from shuyuan.base.settings import Settings
from shuyuan.prepare.pack import Row
from shuyuan.train.attention import layout_of
from shuyuan.train.forward import hidden_states
from shuyuan.train.head import head_loss


class Supervised(Settings):
    """Sum of −log p(target) over the learned positions of a packed row, with the output layer run on those only."""

    chunk: Annotated[int, Field(ge=16, le=1 << 16, description="positions whose logits are held at once")] = 128

    def loss(self, net: torch.nn.Module, row: Row) -> Tensor:
        """The summed loss in nats, a float32 scalar to divide by the batch's targets. `net`: a causal LM."""
        weight = net.get_input_embeddings().weight  # type: ignore[operator]
        lengths = [len(sequence.ids) for sequence in row]
        ids_T = torch.tensor([i for sequence in row for i in sequence.ids], device=weight.device)
        layout = layout_of(lengths, weight.device, weight.dtype)
        targets_T = _targets(row).to(weight.device)
        at_N = (targets_T >= 0).nonzero().squeeze(1)

        hidden_TD = hidden_states(net, ids_T, layout)
        head = net.get_output_embeddings()  # type: ignore[operator]
        return head_loss(hidden_TD[at_N], head, targets_T[at_N], self.chunk)


def _targets(row: Row) -> Tensor:
    """For each token of the row the one that follows it in its own sequence, −1 where that is not learned. [T]"""
    targets = []
    for sequence in row:
        followers = zip(sequence.ids[1:], sequence.learned[1:], strict=True)
        targets += [i if learned else -1 for i, learned in followers]
        targets.append(-1)
    return torch.tensor(targets)
