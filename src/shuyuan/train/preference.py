"""Direct preference optimisation: of two endings the better one becomes likelier, beside the net as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from shuyuan.base.settings import Settings
from shuyuan.prepare.chat import Encoded
from shuyuan.prepare.pack import Row
from shuyuan.train.loop import prepared
from shuyuan.train.supervised import Chunk, token_losses


class Preference(Settings):
    """DPO (Rafailov et al., arXiv 2305.18290) over rows of `Pair`s: −log σ(β · (log-ratio − the reference's))."""

    beta: Annotated[float, Field(gt=0, le=10, description="how strongly the net is held to where it began")] = 0.1
    chunk: Chunk = 128

    def beside(self, reference: nn.Module) -> Beside:
        """The loss of a net that begins as `reference`, a causal LM that nothing changes meanwhile."""
        return Beside(self, reference)


@dataclass(frozen=True)
class Beside:
    """A run's preference loss. What it knows of a pair it keeps by the pair's hash.

    The reference reads each pair when it is first met, alone: in whichever row and whenever it comes, also after an
    interruption, its log-ratio is the same bit for bit, and there is nothing to store.
    """

    unit: ClassVar[str] = "pair"
    settings: Preference
    reference: nn.Module
    _references: dict[int, float] = field(default_factory=dict)
    _margins: dict[int, float] = field(default_factory=dict)

    def meet(self, rows: Sequence[Row]) -> None:
        """Let the reference read those pairs of the rows that it has not read yet."""
        new = [pair for pair in chain.from_iterable(rows) if hash(pair) not in self._references]
        if new:
            with torch.no_grad(), prepared(self.reference, {}):
                self._references.update((hash(pair), self._log_ratios(self.reference, [pair]).item()) for pair in new)

    def loss(self, net: nn.Module, row: Row) -> Tensor:
        """The summed loss of a row's P pairs, a float32 scalar; with no difference to the reference P · ln 2."""
        self.meet([row])
        ratios_P = self._log_ratios(net, row)
        began_P = ratios_P.new_tensor([self._references[hash(pair)] for pair in row])
        margins_P = self.settings.beta * (ratios_P - began_P)
        self._margins.update(zip(map(hash, row), margins_P.tolist(), strict=True))
        return -logsigmoid(margins_P).sum()

    def figures(self, rows: Sequence[Row]) -> dict[str, float]:
        """Of these rows as last computed: the mean margin of rewards, and the share of pairs in which it is right.

        A reward is β · log(p / reference's p) of an ending; the margin is the better one's less the worse one's.
        """
        margins = [self._margins[hash(pair)] for pair in chain.from_iterable(rows)]
        right = sum(margin > 0 for margin in margins)
        return {"accuracy": right / len(margins), "margin": sum(margins) / len(margins)}

    def _log_ratios(self, net: nn.Module, pairs: Sequence[Encoded]) -> Tensor:
        """log p(better ending) − log p(worse ending) of each pair, in nats. [P]"""
        better, worse = zip(*(pair.parts for pair in pairs), strict=True)
        nats_N = token_losses(net, (*better, *worse), self.settings.chunk)
        nats = torch.split(nats_N, [ending.targets for ending in (*better, *worse)])
        nats_2P = torch.stack([ending.sum() for ending in nats])
        return nats_2P[len(pairs) :] - nats_2P[: len(pairs)]
