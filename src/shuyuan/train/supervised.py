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
from shuyuan.train.laying import laid_out

Chunk = Annotated[int, Field(ge=16, le=1 << 16, description="positions whose logits are held at once")]


class Supervised(Settings):
    """Sum of −log p(target) over the learned positions of a packed row, with the output layer run on those only."""

    unit: ClassVar[str] = "token"
    chunk: Chunk = 128

    def meet(self, rows: Sequence[Row]) -> None:
        """There is nothing to compute beforehand."""

    def loss(self, net: torch.nn.Module, row: Row) -> Tensor:
        """The summed loss in nats, a float32 scalar to divide by the batch's targets. `net`: a causal LM."""
        return token_losses(net, row, self.chunk).sum()

    def figures(self, rows: Sequence[Row]) -> dict[str, float]:
        """Nothing more."""
        return {}


def token_losses(net: torch.nn.Module, sequences: Sequence[Encoded], chunk: int) -> Tensor:
    """−log p in nats of each learned token, all in one packed row, sequence by sequence. [N]"""
    weight = net.get_input_embeddings().weight  # type: ignore[operator]
    row = laid_out(sequences)
    ids_T, at_N, targets_N = (torch.tensor(x, device=weight.device) for x in (row.ids, row.at, row.targets))
    layout = layout_of(row.lengths, weight.device, weight.dtype, row.begun)
    hidden_TD = hidden_states(net, ids_T, layout)
    head = net.get_output_embeddings()  # type: ignore[operator]
    return head_loss(hidden_TD[at_N], head, targets_N, chunk)
