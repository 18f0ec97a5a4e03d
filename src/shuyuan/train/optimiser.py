"""AdamW (Loshchilov & Hutter, arXiv 1711.05101), exact in float32 for weights kept in bfloat16."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw

BETAS = (0.9, 0.95)
EPSILON = 1e-8
SLICE = 1 << 18  # weights updated at once: few enough to stay in the processor's cache (LOG.md)


class AdamW:
    """Updates named weights from their gradients, with state in float32.

    An update smaller than 1/256 of a bfloat16 weight would be rounded away, so each such weight has a float32 master.
    The bfloat16 weight is the master's upper half; only the lower half is kept beside it (`low`, int16), which is exact
    and costs 2 bytes a weight instead of 4.
    """

    def __init__(self, weights: Mapping[str, Tensor], weight_decay: float = 0.0) -> None:
        self.weights = dict(weights)
        self.weight_decay = weight_decay
        self.steps = 0
        self._low = {n: torch.zeros_like(w, dtype=torch.int16) for n, w in weights.items() if w.dtype == torch.bfloat16}
        self._mean = {n: torch.zeros_like(w, dtype=torch.float32) for n, w in weights.items()}
        self._square = {n: torch.zeros_like(w, dtype=torch.float32) for n, w in weights.items()}

    def gradient_norm(self) -> Tensor:
        """The Euclidean norm over all gradients, a float32 scalar."""
        grads = [w.grad for w in self.weights.values() if w.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(g, dtype=torch.float32) for g in grads])
        return norms.square().sum().sqrt()

    @torch.no_grad()
    def step(self, learning_rate: float, scale: float = 1.0) -> None:
        """One update with every gradient multiplied by `scale`; the gradients are then freed.

        Slice by slice, so that no second copy of an embedding's master or gradient is ever in memory.
        """
        for name, weight in self.weights.items():
            if weight.grad is None:
                continue
            decay = self.weight_decay if weight.ndim > 1 else 0.0
            parts = [weight, weight.grad, self._mean[name], self._square[name]]
            parts += [self._low[name]] if name in self._low else []
            for slices in zip(*(torch.split(tensor.detach().view(-1), SLICE) for tensor in parts), strict=True):
                self._update(*slices, learning_rate=learning_rate, scale=scale, decay=decay)
            weight.grad = None
        self.steps += 1

    def _update(
        self,
        weight: Tensor,
        grad: Tensor,
        mean: Tensor,
        square: Tensor,
        low: Tensor | None = None,
        *,
        learning_rate: float,
        scale: float,
        decay: float,
    ) -> None:
        master = weight if low is None else _joined(weight, low)
        adamw(
            [master],
            [grad.float() * scale],
            [mean],
            [square],
            [],
            [torch.tensor(float(self.steps), device=weight.device)],
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=learning_rate,
            weight_decay=decay,
            eps=EPSILON,
            maximize=False,
        )
        if low is not None:
            _split(master, weight, low)

    def state(self) -> dict[str, Tensor]:
        """Everything an exact resume needs, by name, without the step count."""
        parts = {"weight": self.weights, "low": self._low, "mean": self._mean, "square": self._square}
        return {f"{part}/{name}": t.detach() for part, tensors in parts.items() for name, t in tensors.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Go on from a state: its tensors are copied into place."""
        self.steps = steps
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


def _joined(weight: Tensor, low: Tensor) -> Tensor:
    """The float32 master of a bfloat16 weight: its bits in the upper half, plus the signed lower half."""
    return weight.view(torch.int16).int().bitwise_left_shift_(16).add_(low).view(torch.float32)


def _split(master: Tensor, weight: Tensor, low: Tensor) -> None:
    """Round a master to the nearest bfloat16 in `weight` and keep what was rounded off in `low`."""
    bits = master.view(torch.int32)
    upper = (bits + 0x8000).bitwise_right_shift_(16)
    weight.view(torch.int16).copy_(upper)
    low.copy_(bits - upper.bitwise_left_shift_(16))
