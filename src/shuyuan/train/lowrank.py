"""A frozen linear layer with a low-rank change beside it: LoRA, DoRA and where PiSSA starts from."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from shuyuan.base.errors import Fixable
from shuyuan.train.layers import Linear, LinearLike, product

Factors = tuple[Tensor, Tensor]  # A [rank, in] and B [out, rank]; both float32


class LoraLinear(LinearLike):
    """`W x + scale · B A x` (LoRA, Hu et al., arXiv 2106.09685); A and B learn, W does not.

    With `start` the change is `B A − B₀ A₀`: PiSSA takes the part B₀ A₀ out of W and lets it learn. W itself stays
    whole and shared, so nothing is rounded and the trained change fits the original base.
    """

    start_A: Tensor | None
    start_B: Tensor | None

    def __init__(self, base: Linear, factors: Factors, scale: float, start: Factors | None = None) -> None:
        super().__init__()
        self.base, self.scale = base, scale
        self.in_features, self.out_features = base.in_features, base.out_features
        self.lora_A, self.lora_B = (nn.Parameter(factor) for factor in factors)
        for name, factor in zip(("start_A", "start_B"), start or (None, None), strict=True):
            self.register_buffer(name, factor, persistent=False)

    @property
    def bias(self) -> Tensor | None:
        """The bias of the layer underneath."""
        return self.base.bias  # type: ignore[return-value]

    @property
    def factors(self) -> Factors:
        """A and B of the whole change: of twice the rank where there is a start to take off."""
        if self.start_A is None or self.start_B is None:
            return self.lora_A, self.lora_B
        return torch.cat([self.lora_A, self.start_A]), torch.cat([self.lora_B, -self.start_B], dim=1)

    def product(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """See `layers.product`."""
        A, B = self.factors
        low = functional.linear(x, A.to(x.dtype))
        change = functional.linear(low, (self.scale * B).to(x.dtype))
        return product(self.base, x, change if onto is None else change + onto)

    def forward(self, x: Tensor) -> Tensor:
        """The adapted layer, [..., in] → [..., out], in the precision of `x`."""
        out = self.product(x)
        return out if self.bias is None else out + self.bias

    @property
    def weight(self) -> Tensor:
        """The matrix with the change in it, added in float32, in the precision of the base."""
        base = self.base.weight
        return self._whole().to(base.dtype)

    def _whole(self) -> Tensor:
        A, B = self.factors
        return torch.addmm(self.base.weight.float(), B, A, alpha=self.scale)


class DoraLinear(LoraLinear):
    """DoRA (Liu et al., arXiv 2402.09353): the rows of `V = W + scale · B A` have lengths that learn by themselves.

    `y = m / ‖V‖ · V x`, where the norm takes no part in the gradient (section 4.3 of the paper).
    """

    squares: Tensor
    settled: Tensor | None

    def __init__(
        self,
        base: Linear,
        factors: Factors,
        scale: float,
        start: Factors | None = None,
        magnitude: Tensor | None = None,
    ) -> None:
        super().__init__(base, factors, scale, start)
        with torch.no_grad():
            self.register_buffer("squares", base.weight.float().square().sum(1), persistent=False)
            length = torch.linalg.vector_norm(self._whole(), dim=1) if magnitude is None else magnitude
        self.lora_magnitude_vector = nn.Parameter(length)
        self.register_buffer("settled", None, persistent=False)

    def settle(self) -> DoraLinear:
        """Work the lengths out once: nothing here learns any more."""
        with torch.no_grad():
            self.settled = self.lora_magnitude_vector / torch.linalg.vector_norm(self._whole(), dim=1)
        return self

    def product(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """See `layers.product`."""
        out = super().product(x) * self._gain(x.dtype)
        return (out if onto is None else out + onto).to(x.dtype)

    @property
    def weight(self) -> Tensor:
        """The matrix with direction and length in it, made in float32, in the precision of the base."""
        whole = self._whole()
        gain: Tensor = self.lora_magnitude_vector / torch.linalg.vector_norm(whole, dim=1)
        return (whole * gain[:, None]).to(self.base.weight.dtype)

    def _gain(self, dtype: torch.dtype) -> Tensor:
        """m / ‖V‖ for each output, float32."""
        if self.settled is not None and not self.lora_magnitude_vector.requires_grad:
            return self.settled
        self.settled = None  # it learns again: what was worked out before no longer holds
        gain: Tensor = self.lora_magnitude_vector / self._norms(dtype)
        return gain

    @torch.no_grad()
    def _norms(self, dtype: torch.dtype) -> Tensor:
        """‖V‖ for each output without V: ‖w + s·bA‖² = ‖w‖² + 2s·(w Aᵀ)bᵀ + s²·b(A Aᵀ)bᵀ for its row w."""
        A, B = self.factors
        cross = product(self.base, A.to(dtype)).T.float()  # W Aᵀ
        change = 2 * self.scale * cross + self.scale**2 * (B @ (A @ A.T))
        return (self.squares + (change * B).sum(1)).clamp(min=0).sqrt()


def fresh_factors(layer: Linear, rank: int, generator: torch.Generator, device: torch.device) -> Factors:
    """A random and B zero, so that nothing is changed at the start; A as PEFT draws it (kaiming_uniform, a = √5)."""
    bound = 1 / math.sqrt(layer.in_features)
    A = torch.empty(rank, layer.in_features).uniform_(-bound, bound, generator=generator)
    return A.to(device), torch.zeros(layer.out_features, rank, device=device)


def principal_factors(weight: Tensor, rank: int, scale: float) -> Factors:
    """A and B with `scale · B A` the best approximation of a weight of this rank, its singular values split evenly.

    PiSSA (Meng et al., arXiv 2404.02948), equation 2. The singular vectors are the eigenvectors of the smaller Gram
    matrix, in float64: exact for the largest ones, and several times faster than a whole decomposition.
    """
    if rank > min(weight.shape):
        raise Fixable(
            f"PiSSA cannot start with rank {rank}: a layer is only {weight.shape[0]} × {weight.shape[1]}",
            f"choose a rank of {min(weight.shape)} or less",
        )
    matrix = weight.detach().double()
    wide = matrix.shape[0] <= matrix.shape[1]
    short = matrix if wide else matrix.T
    left = torch.linalg.eigh(short @ short.T).eigenvectors[:, -rank:].flip(1)  # ascending → largest first
    right = left.T @ short  # singular values times right singular vectors
    sizes = torch.linalg.vector_norm(right, dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    roots = (sizes / scale).sqrt()
    A, B = roots[:, None] * (right / sizes[:, None]), left * roots
    A, B = (A, B) if wide else (B.T, A.T)
    return A.float().contiguous(), B.float().contiguous()
