"""PACT: learn where to clip a ReLU.

Paper:   Choi et al., "PACT: parameterized clipping activation for quantized neural networks", 2018; its
         weights are DoReFa's (Zhou et al. 2016). Beyond the lecture; see slide 25.
Formula: y = clamp(x, 0, α),  x̂ = round(y · (2^b - 1) / α) · α / (2^b - 1)
         ∂x̂/∂x = 1 where 0 ≤ x < α, else 0;   ∂x̂/∂α = 1 where x ≥ α, else 0;   loss += λ · α²
         DoReFa: ŵ = 2 · round_b(tanh(w) / (2 max|tanh w|) + 1/2) - 1
Learn:   course/4_quantization/4_7_straight_through.ipynb

Beside LSQ: PACT lets only clipped values speak to α, and a penalty pulls it down; LSQ lets every value speak.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, check_num_bits
from frugal.quant.affine import QParams
from frugal.quant.ste import round_through
from frugal.quant.trainable import Trainable


class _Pact(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward(x, alpha)
        step = alpha / levels
        return torch.round(torch.minimum(x.clamp(min=0), alpha) / step) * step

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None]:
        x, alpha = ctx.saved_tensors
        clipped = x >= alpha
        return grad_output * ((x >= 0) & ~clipped), (grad_output * clipped).sum().reshape(alpha.shape), None


def pact_quantize(x: Tensor, alpha: Tensor, num_bits: int) -> Tensor:
    """Clip to [0, alpha] and round to ``2^num_bits`` levels; ``alpha`` receives a gradient from clipped values.

    Args:
        x: any shape.
        alpha: one real above 0.
        num_bits: 2 to 8.

    >>> alpha = torch.tensor(3.0, requires_grad=True)
    >>> y = pact_quantize(torch.tensor([-1.0, 1.2, 3.0, 7.0]), alpha, 2)
    >>> y.sum().backward()
    >>> y.tolist(), alpha.grad.item()
    ([0.0, 1.0, 3.0, 3.0], 2.0)
    """
    check_num_bits(num_bits)
    if alpha.numel() != 1 or not alpha > 0:
        raise ValueError(f"alpha must be one value above 0, got {alpha.tolist()}; Pact.settle_ keeps it there")
    return _Pact.apply(x, alpha, (1 << num_bits) - 1)


def dorefa_weights(w: Tensor, num_bits: int) -> Tensor:
    """Squash weights with tanh and round them to ``2^num_bits`` levels in [-1, 1]; none of them is 0.

    >>> dorefa_weights(torch.tensor([-2.0, -0.1, 0.1, 2.0]), 2)
    tensor([-1.0000, -0.3333,  0.3333,  1.0000])
    """
    check_num_bits(num_bits)
    check_finite(w, "w")
    levels = (1 << num_bits) - 1
    squashed = torch.tanh(w)
    largest = squashed.detach().abs().max().clamp(min=torch.finfo(w.dtype).tiny)
    return 2 * round_through((squashed / (2 * largest) + 0.5) * levels) / levels - 1


class Pact(Trainable):
    """The activation quantizer of a layer that follows a ReLU.

    Args:
        num_bits: 2 to 8.
        alpha: where clipping starts.
        decay: λ, how hard the penalty pulls α down.
    """

    def __init__(self, num_bits: int, alpha: float = 8.0, decay: float = 1e-4) -> None:
        super().__init__()
        check_num_bits(num_bits)
        if not alpha > 0 or not decay >= 0:
            raise ValueError(f"alpha must be above 0 and decay at least 0, got {alpha} and {decay}")
        self.num_bits, self.decay = num_bits, decay
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))

    def forward(self, x: Tensor) -> Tensor:
        return pact_quantize(x, self.alpha, self.num_bits)

    def penalty(self) -> Tensor:
        return self.decay * self.alpha.square()

    @torch.no_grad()
    def settle_(self, latent: Tensor | None) -> None:
        self.alpha.clamp_(min=1e-3)

    def qparams(self) -> QParams:
        levels = (1 << self.num_bits) - 1
        return QParams(self.alpha.detach() / levels, torch.tensor(0, dtype=torch.int32), 0, levels)


class DorefaWeight(Trainable):
    """The weights that PACT was published with.

    Args:
        num_bits: 2 to 8.
    """

    def __init__(self, num_bits: int) -> None:
        super().__init__()
        check_num_bits(num_bits)
        self.num_bits = num_bits

    def forward(self, w: Tensor) -> Tensor:
        return dorefa_weights(w, self.num_bits)
