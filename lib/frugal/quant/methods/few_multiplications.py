"""Few multiplications: ternary weights on the way forward, shifts on the way back.

Paper:   [23] Lin, Courbariaux, Memisevic and Bengio, ICLR 2016, sections 3 and 4.
Formula: ternary connect    P(w̃ ≠ 0) = |w| / W0,  w̃ = sign(w) W0 then;  E[w̃] = w for |w| ≤ W0
                            W0 = ½ sqrt(6 / (fan_in + fan_out)); the float w is clipped to ±W0 after each step
         quantized back-    h̃ = sign(h) 2^(e + B),  e = ⌊log2|h|⌋,  B = 1 with probability |h| / 2^e - 1
         propagation        E[h̃] = h;  dL/dW = Σ δ h̃: every product is a shift
Lesson:  chance keeps what rounding loses: each weight and each activation is wrong, their means are exact, and training
         only ever sees means.
Learn:   course/4_quantization/4_7_straight_through.ipynb

0 is no power of two: h = 0 stays 0. The authors' code takes the logarithm of it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frugal.core.check import check_finite
from frugal.quant.ste import replace_through
from frugal.quant.trainable import Trainable


def weight_limit(fan_in: int, fan_out: int) -> float:
    """W0: half of the range in which Glorot and Bengio draw first weights.

    >>> weight_limit(3, 3)
    0.5
    """
    if fan_in < 1 or fan_out < 1:
        raise ValueError(f"fan_in and fan_out must be at least 1, got {fan_in} and {fan_out}")
    return math.sqrt(6 / (fan_in + fan_out)) / 2


def ternary_connect(w: Tensor, limit: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw each weight from {-limit, 0, limit} so that its mean is ``w``, for |w| ≤ limit; beyond, it saturates."""
    check_finite(w, "w")
    if not limit > 0:
        raise ValueError(f"limit must be above 0, got {limit}")
    chance = torch.rand(w.shape, generator=generator, dtype=w.dtype)
    return torch.where(chance < w.abs() / limit, torch.sign(w) * limit, torch.zeros_like(w))


def ternary_nearest(w: Tensor, limit: float) -> Tensor:
    """The value of {-limit, 0, limit} that is nearest, for testing: the threshold is half of ``limit``.

    The authors' code compares with 0.5 whatever W0 is, so that after their clipping every weight becomes 0.
    """
    check_finite(w, "w")
    return torch.where(w.abs() > limit / 2, torch.sign(w) * limit, torch.zeros_like(w))


def power_of_two(h: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw for each value one of the two signed powers of two around it, so that the mean is ``h``; 0 stays 0."""
    check_finite(h, "h")
    mantissa, exponent = torch.frexp(h.abs())  # |h| = mantissa · 2^exponent, mantissa in [0.5, 1)
    up = torch.rand(h.shape, generator=generator, dtype=h.dtype) < 2 * mantissa - 1  # |h| / 2^e - 1, e = exponent - 1
    return torch.sign(h) * torch.ldexp(torch.ones_like(h), exponent - 1 + up.to(exponent.dtype))


def gradient_by_shifts(delta: Tensor, h: Tensor) -> Tensor:
    """dL/dW = Σ_n δ_n h_nᵀ where every h is a signed power of two or 0: exponents are added, nothing is multiplied.

    Args:
        delta: [n, out], any reals.
        h: [n, in], signed powers of two and 0.

    Returns:
        [out, in]: the slow definition of ``delta.T @ h``.
    """
    mantissa, exponent = torch.frexp(h)
    if not torch.isin(mantissa.abs(), torch.tensor([0.0, 0.5], dtype=h.dtype)).all():
        raise ValueError("every h must be 0 or a signed power of two; power_of_two(h) makes it one")
    delta, shift, sign = torch.broadcast_tensors(  # [n, out, in]
        delta.unsqueeze(2), exponent.unsqueeze(1) - 1, torch.sign(h).unsqueeze(1)
    )
    shifted = torch.ldexp(delta, shift)
    return torch.where(sign > 0, shifted, torch.where(sign < 0, -shifted, torch.zeros_like(shifted))).sum(0)


class _QuantizedBackward(torch.autograd.Function):
    """A linear layer whose weight gradient sees its input as powers of two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, generator: torch.Generator | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.generator = generator
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        h = power_of_two(x, ctx.generator)
        return delta @ weight, delta.flatten(0, -2).T @ h.flatten(0, -2), None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
    """x @ weight.T + bias, as ``torch.nn.functional.linear``; backwards, dL/dW takes ``x`` as random powers of two."""
    y = _QuantizedBackward.apply(x, weight, generator)
    return y if bias is None else y + bias


class TernaryConnect(Trainable):
    """A weight that is ternary by chance in training, and the nearest ternary value in eval mode.

    Args:
        limit: W0; ``weight_limit(fan_in, fan_out)``.
        generator: of the draws; torch's own by default.
    """

    def __init__(self, limit: float, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if not limit > 0:
            raise ValueError(f"limit must be above 0, got {limit}")
        self.limit, self.generator = limit, generator

    def forward(self, w: Tensor) -> Tensor:
        if not self.training:
            return ternary_nearest(w, self.limit)
        return replace_through(w, ternary_connect(w.detach(), self.limit, self.generator))

    @torch.no_grad()
    def settle_(self, latent: Tensor | None) -> None:
        """Clip the float weight to ±W0, where chance can still say it."""
        if latent is not None:
            latent.clamp_(-self.limit, self.limit)


class FewMultiplicationsLinear(nn.Module):
    """The paper's layer: ternary forward, shifts backward.

    Args:
        in_features, out_features: as in ``nn.Linear``.
        seed: of first weights and of all draws.
    """

    def __init__(self, in_features: int, out_features: int, seed: int = 0) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.ternary = TernaryConnect(weight_limit(in_features, out_features), rng)
        first = (2 * torch.rand(out_features, in_features, generator=rng) - 1) * self.ternary.limit
        self.weight, self.bias = nn.Parameter(first), nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.ternary(self.weight)
        if not self.training:
            return F.linear(x, weight, self.bias)
        return linear(x, weight, self.bias, self.ternary.generator)

    def settle_(self) -> None:
        """After each step of the optimizer: clip the float weight."""
        self.ternary.settle_(self.weight)
