"""Next-token cross-entropy at the positions that are learned: tuning on conversations and pretraining on text alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
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

    def meet(self, rows: Sequence[Row]) -> None:
        """Nothing is computed only once."""

    def loss(self, net: torch.nn.Module, row: Row) -> Tensor:
        """The summed loss in nats, a float32 scalar to divide by the batch's targets. `net`: a causal LM."""
        return token_losses(net, row, self.chunk).sum()

    def figures(self, rows: Sequence[Row]) -> dict[str, float]:
        """Nothing more."""
        return {}


def token_losses(net: torch.nn.Module, sequences: Sequence[Encoded], chunk: int) -> Tensor:
    """−log p in nats of each learned token, all in one packed row: of all first parts, then of all second ones. [N]"""
    weight = net.get_input_embeddings().weight  # type: ignore[operator]
    row = _laid_out(sequences)
    ids_T, at_N, targets_N = (torch.tensor(x, device=weight.device) for x in (row.ids, row.at, row.targets))
    layout = layout_of(row.lengths, weight.device, weight.dtype, row.begun)
    hidden_TD = hidden_states(net, ids_T, layout)
    head = net.get_output_embeddings()  # type: ignore[operator]
    return head_loss(hidden_TD[at_N], head, targets_N, chunk)


@dataclass(frozen=True)
class _Row:
    """The tokens, and of what they are made (`attention.layout_of`); `targets` are predicted `at` these tokens."""

    ids: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    begun: list[slice | None] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)

    def put(self, ids: Sequence[int], learned: Sequence[bool], begun: slice | None = None) -> None:
        """One more sequence; its first token is predicted by the last one before it, if there is one."""
        before = (begun.stop - 1 if begun else None, *range(len(self.ids), len(self.ids) + len(ids) - 1))
        for place, token, on in zip(before, ids, learned, strict=True):
            if on and place is not None:
                self.at.append(place)
                self.targets.append(token)
        self.ids.extend(ids)
        self.lengths.append(len(ids))
        self.begun.append(begun)


def _laid_out(sequences: Sequence[Encoded]) -> _Row:
    """All first parts, then the rest of the second ones: what both parts begin with is there once."""
    row = _Row()
    for sequence in sequences:
        row.put(sequence.ids[: sequence.split], sequence.learned[: sequence.split])
    starts = accumulate((sequence.split for sequence in sequences), initial=0)
    for start, sequence in zip(starts, sequences, strict=False):
        if sequence.split < len(sequence.ids):
            begun = slice(start, start + sequence.shared) if sequence.shared else None
            row.put(sequence.ids[sequence.split :], sequence.learned[sequence.split :], begun)
    return row
