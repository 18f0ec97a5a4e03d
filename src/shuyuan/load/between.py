"""What stands between the products of a step: norms, rotation, attention, gates. In torch; `small` has it compiled."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from shuyuan.load.anatomy import Norm
from shuyuan.load.attention import looks_of, mixed, write
from shuyuan.load.engines import Feed


class Operations(Protocol):
    """Of one step. T tokens are read, after N of them logits are wanted; D is the width of a token or of a head.

    `turns_2TD` are cosines and sines, the first half of the sines negative. From every key the mean of the first ones
    ever read is taken off (`means_1GD`, by layer): all scores of a query change by the same, so no share does, and a
    score in bfloat16 has its digits where keys differ (Zhang et al., 2024, arXiv:2410.02367).
    """

    def __init__(
        self, feeds: Sequence[Feed], turns_2TD: Sequence[Tensor], means_1GD: dict[int, Tensor], scale: float
    ) -> None: ...

    def normed(self, x_TD: Tensor, norm: Norm, more_TD: Tensor | None = None) -> Tensor:
        """Root-mean-square normalisation [..., D] → [..., D]; `more_TD` is added to `x_TD` before, in its place."""

    def attended(self, layer: int, asks_TXD: Tensor, value_TGD: Tensor, last: bool) -> Tensor:
        """What queries find, [T, H · D] or of the wanted tokens alone [N, H · D].

        Given are H queries and G keys of each token, one after the other, not turned to their positions yet, and
        values. Keys and values are written to their places.
        """

    def gated(self, gate_up_TI: Tensor) -> Tensor:
        """The second half of each row by the silu of its first half."""


class InTorch:
    """See `Operations`; of any size, on any device, in any number format. It finds the means that are not known yet."""

    def __init__(
        self, feeds: Sequence[Feed], turns_2TD: Sequence[Tensor], means_1GD: dict[int, Tensor], scale: float
    ) -> None:
        self._turns_2T1D = [turn[:, None] for turn in turns_2TD]
        self._means_1GD, self._scale = means_1GD, scale
        places, counts = [feed.place for feed in feeds], [len(feed.tokens) for feed in feeds]
        wanted, ends = [feed.wanted for feed in feeds], [feed.place.length + len(feed.tokens) for feed in feeds]
        self._looks = looks_of(places, ends, counts, turns_2TD[0])
        self._wanted_looks = looks_of(places, ends, wanted, turns_2TD[0])
        self._wanted_N = torch.tensor(wanted_rows(feeds), dtype=torch.long, device=turns_2TD[0].device)

    def normed(self, x_TD: Tensor, norm: Norm, more_TD: Tensor | None = None) -> Tensor:
        """See `Operations`; in float32, rounded where the reference rounds."""
        wide = (x_TD if more_TD is None else x_TD.add_(more_TD)).float()
        scale = torch.rsqrt((wide * wide).mean(-1, keepdim=True).add_(norm.epsilon))
        return (wide * scale).to(x_TD.dtype).mul_(norm.weight_D)

    def attended(self, layer: int, asks_TXD: Tensor, value_TGD: Tensor, last: bool) -> Tensor:
        """See `Operations`."""
        cos_T1D, sin_T1D = self._turns_2T1D
        swapped_TXD = asks_TXD.roll(asks_TXD.shape[-1] // 2, -1)
        turned_TXD = torch.addcmul(asks_TXD * cos_T1D, swapped_TXD, sin_T1D)
        groups = value_TGD.shape[1]
        query_THD, key_TGD = turned_TXD[:, :-groups], turned_TXD[:, -groups:]
        if layer not in self._means_1GD:
            self._means_1GD[layer] = key_TGD.mean(dim=0, keepdim=True)
        write(self._looks, layer, key_TGD - self._means_1GD[layer], value_TGD)
        if last:
            return mixed(self._wanted_looks, layer, query_THD[self._wanted_N].mul_(self._scale))
        return mixed(self._looks, layer, query_THD.mul_(self._scale))

    def gated(self, gate_up_TI: Tensor) -> Tensor:
        """See `Operations`."""
        gate_TI, up_TI = gate_up_TI.chunk(2, dim=-1)
        return functional.silu(gate_TI).mul_(up_TI)


def wanted_rows(feeds: Sequence[Feed]) -> list[int]:
    """The numbers of the wanted tokens among all that are read."""
    stops = accumulate(len(feed.tokens) for feed in feeds)
    return [row for stop, feed in zip(stops, feeds, strict=True) for row in range(stop - feed.wanted, stop)]
