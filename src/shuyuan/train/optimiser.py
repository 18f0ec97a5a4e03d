"""AdamW (Loshchilov & Hutter, arXiv 1711.05101), exact in float32 for weights kept in bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.optim.adamw import adamw

BETAS = (0.9, 0.95)
EPSILON = 1e-8
SLICE_CPU = 1 << 18  # weights updated at once by a core: few enough to stay in its cache (LOG.md)
SLICE_GPU = 1 << 26  # few enough that the float32 copy of a slice is small beside the model

# weight, gradient, mean, square, low, the rate's factor, decay
Slice: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, float, float]
T = TypeVar("T")


class AdamW:
    """Updates named weights from their gradients, with state in float32.

    An update smaller than 1/256 of a bfloat16 weight would be rounded away, so each such weight has a float32 master:
    the lower half of its bits is kept beside the weight (`low`, int16), which is exact and costs 2 bytes instead of 4.
    The weight is the upper half, rounded up past a threshold of its own (`_thresholds`): to the nearest, no weight of a
    layer would move before its updates add up to half a digit, and the network would not see what it has learned.
    All work is done slice by slice; on a CPU each core has slices of its own.
    `rates` are factors of the learning rate, by name, for the weights that have one of their own.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], weight_decay: float = 0.0, rates: Mapping[str, float] | None = None
    ) -> None:
        self.weights = dict(weights)
        self.rates = dict(rates or {})
        self.weight_decay = weight_decay
        self.steps = 0
        self._low = {n: torch.zeros_like(w, dtype=torch.int16) for n, w in weights.items() if w.dtype == torch.bfloat16}
        self._mean = {n: torch.zeros_like(w, dtype=torch.float32) for n, w in weights.items()}
        self._square = {n: torch.zeros_like(w, dtype=torch.float32) for n, w in weights.items()}
        self._size = SLICE_CPU if all(w.device.type == "cpu" for w in weights.values()) else SLICE_GPU

    def gradient_norm(self) -> Tensor:
        """The Euclidean norm over all gradients, a float32 scalar."""
        grads = [w.grad for w in self.weights.values() if w.grad is not None]
        slices = list(enumerate(part for grad in grads for part in self._slices(grad)))
        norms = torch.empty(len(slices), device=grads[0].device)

        def work(mine: Sequence[tuple[int, Tensor]]) -> None:
            for i, part in mine:
                norms[i] = torch.linalg.vector_norm(part, dtype=torch.float32)

        self._share(slices, work)
        return norms.square().sum().sqrt()

    def step(self, learning_rate: float, scale: float = 1.0) -> None:
        """One update with every gradient multiplied by `scale`; the gradients are then freed."""
        slices: list[Slice] = []
        for name, weight in self.weights.items():
            if weight.grad is None:
                continue
            decay = self.weight_decay if weight.ndim > 1 else 0.0
            parts = [self._slices(t) for t in (weight, weight.grad, self._mean[name], self._square[name])]
            low = self._slices(self._low[name]) if name in self._low else [None] * len(parts[0])
            slices += [(*part, self.rates.get(name, 1.0), decay) for part in zip(*parts, low, strict=True)]
        self._share(slices, lambda mine: self._update(mine, learning_rate, scale))
        for weight in self.weights.values():
            weight.grad = None
        self.steps += 1

    @torch.no_grad()
    def _update(self, slices: Sequence[Slice], learning_rate: float, scale: float) -> None:
        if not slices:
            return
        device = slices[0][0].device
        longest = max(len(weight) for weight, *_ in slices)
        scratch, spare = (torch.empty(longest, dtype=torch.int32, device=device) for _ in range(2))
        thresholds = _thresholds(longest, device)
        gradient = torch.empty(longest, device=device)
        for weight, grad, mean, square, low, factor, decay in slices:
            n = len(weight)
            master = weight if low is None else _join(weight, low, thresholds[:n], scratch[:n], spare[:n])
            adamw(
                [master],
                [gradient[:n].copy_(grad).mul_(scale)],
                [mean],
                [square],
                [],
                [torch.tensor(float(self.steps), device=device)],
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=learning_rate * factor,
                weight_decay=decay,
                eps=EPSILON,
                maximize=False,
            )
            if low is not None:
                _part(master, weight, low, thresholds[:n], spare[:n])

    def _slices(self, tensor: Tensor) -> Sequence[Tensor]:
        return torch.split(tensor.detach().view(-1), self._size)

    def _share(self, slices: Sequence[T], work: Callable[[Sequence[T]], None]) -> None:
        """Do the work on all slices: on a CPU in as many threads as torch uses, each computing on its own."""
        threads = torch.get_num_threads() if self._size == SLICE_CPU else 1
        if threads == 1:
            return work(slices)
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                list(pool.map(work, [slices[k::threads] for k in range(threads)]))
        finally:
            torch.set_num_threads(threads)  # what a thread set is also what later threads would start with
        return None

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


def _thresholds(count: int, device: torch.device) -> Tensor:
    """What is added to the lower half of a master before the upper is cut off, int32 in 0 … 65535, by place.

    Multiples of the golden section of 2¹⁶ (Weyl, 1916): neighbours differ, and any run of them is spread evenly.
    """
    return torch.arange(count, dtype=torch.int32, device=device).mul_(40503).bitwise_and_(0xFFFF)


def _join(weight: Tensor, low: Tensor, thresholds: Tensor, into: Tensor, spare: Tensor) -> Tensor:
    """The float32 master of a bfloat16 weight: its upper half, one less where it was rounded up, and the lower half."""
    lower = spare.copy_(low).bitwise_and_(0xFFFF)
    was_up = torch.add(lower, thresholds, out=into).bitwise_right_shift_(16)
    upper = torch.sub(weight.view(torch.int16), was_up, out=into)
    return upper.bitwise_left_shift_(16).bitwise_or_(lower).view(torch.float32)


def _part(master: Tensor, weight: Tensor, low: Tensor, thresholds: Tensor, spare: Tensor) -> None:
    """Round a master to bfloat16 in `weight`, up where its lower half reaches the threshold, and keep that half."""
    bits = master.view(torch.int32)
    low.copy_(bits)  # the lower half: a narrower integer takes what fits
    weight.view(torch.int16).copy_(torch.add(bits, thresholds, out=spare).bitwise_right_shift_(16))
