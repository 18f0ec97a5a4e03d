"""Next-token cross-entropy at the positions that are learned: tuning on conversations and pretraining on text alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from shuyuan.base.settings import Settings
from shuyuan.prepare.chat import Encoded
from shuyuan.prepare.pack import Row
from shuyuan.train.attention import layout_of
from shuyuan.train.forward import hidden_states
from shuyuan.train.head import head_loss

Chunk = Annotated[int, Field(ge=16, le=1 << 16, description="positions whose logits are held at once")]


class Supervised(Settings):
    """Sum of −log p(target) over the learned positions of a packed row, with the output layer run on those only."""

    unit: ClassVar[str] = "token"
    chunk: Chunk = 128

    def loss(self, net: torch.nn.Module, row: Row) -> Tensor:
        """The summed loss in nats, a float32 scalar to divide by the batch's targets. `net`: a causal LM."""
        return token_losses(net, row, self.chunk).sum()

    def figures(self, rows: Sequence[Row]) -> dict[str, float]:
        """Nothing more."""
        return {}


def token_losses(net: torch.nn.Module, sequences: Sequence[Encoded], chunk: int) -> Tensor:
    """−log p in nats of each learned token of some sequences, computed as one packed row, in their order. [N]"""
    weight = net.get_input_embeddings().weight  # type: ignore[operator]
    ids_T = torch.tensor([i for sequence in sequences for i in sequence.ids], device=weight.device)
    layout = layout_of([len(sequence.ids) for sequence in sequences], weight.device, weight.dtype)
    targets_T = _targets(sequences).to(weight.device)
    at_N = (targets_T >= 0).nonzero().squeeze(1)

    hidden_TD = hidden_states(net, ids_T, layout)
    head = net.get_output_embeddings()  # type: ignore[operator]
    return head_loss(hidden_TD[at_N], head, targets_T[at_N], chunk)


def _targets(sequences: Sequence[Encoded]) -> Tensor:
    """For each token the one that follows it in its own sequence, −1 where that is not learned. [T]"""
    targets = []
    for sequence in sequences:
        followers = zip(sequence.ids[1:], sequence.learned[1:], strict=True)
        targets += [i if learned else -1 for i, learned in followers]
        targets.append(-1)
    return torch.tensor(targets)
