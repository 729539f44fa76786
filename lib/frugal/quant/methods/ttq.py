"""Trained ternary quantization: the two weights that are left learn their own values.

Paper:   Zhu, Han, Mao and Dally, "Trained ternary quantization", ICLR 2017. Beyond the lecture's list.
Formula: w_t = W_p where w > Δ,  0 where |w| ≤ Δ,  -W_n where w < -Δ;   Δ = t · max|w|, t = 0.05
         dL/dW_p = Σ_{w > Δ} g      dL/dW_n = -Σ_{w < -Δ} g      dL/dw = W_p g,  g,  W_n g on the three regions
Learn:   course/4_quantization/4_7_straight_through.ipynb

The minus of dL/dW_n follows from w_t = -W_n there; the paper prints the sum without it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite
from frugal.quant.trainable import Trainable


class _Ttq(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, positive: Tensor, negative: Tensor, threshold: Tensor) -> Tensor:
        above, below = w > threshold, w < -threshold
        ctx.save_for_backward(above, below, positive, negative)
        return torch.where(above, positive, torch.where(below, -negative, torch.zeros_like(w)))

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        above, below, positive, negative = ctx.saved_tensors
        by_weight = torch.where(above, positive, torch.where(below, negative, torch.ones_like(grad_output)))
        by_positive = (grad_output * above).sum().reshape(positive.shape)
        by_negative = -(grad_output * below).sum().reshape(negative.shape)
        return grad_output * by_weight, by_positive, by_negative, None


def ttq_quantize(w: Tensor, positive: Tensor, negative: Tensor, threshold: float = 0.05) -> Tensor:
    """Replace every weight by W_p, 0 or -W_n, differentiably in all three.

    Args:
        w: real weights, any shape.
        positive, negative: W_p and W_n, one value each.
        threshold: t, the share of max|w| up to which a weight becomes 0; from 0 to below 1.

    >>> up, down = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    >>> y = ttq_quantize(torch.tensor([1.0, 0.01, -0.4, -0.5]), up, down)
    >>> y.sum().backward()
    >>> y.tolist(), up.grad.item(), down.grad.item()
    ([2.0, 0.0, -3.0, -3.0], 1.0, -2.0)
    """
    check_finite(w, "w")
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be from 0 to below 1, got {threshold}")
    if positive.numel() != 1 or negative.numel() != 1:
        raise ValueError(f"W_p and W_n are one value each, got {positive.numel()} and {negative.numel()}")
    return _Ttq.apply(w, positive, negative, threshold * w.detach().abs().max())


class TrainedTernary(Trainable):
    """The weight quantizer: both values start from the weights that they replace.

    The authors start from 1 with normalised weights; from a checkpoint, the mean magnitude on each side is nearer.
    No affine grid holds three such values, so ``qparams`` is None: a kernel stores 2-bit codes and a table of two.

    Args:
        threshold: t, the share of max|w| up to which a weight becomes 0.
    """

    started: Tensor

    def __init__(self, threshold: float = 0.05) -> None:
        super().__init__()
        self.threshold = threshold
        self.positive = nn.Parameter(torch.ones(()))
        self.negative = nn.Parameter(torch.ones(()))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, w: Tensor) -> Tensor:
        if not self.started:
            self._start(w.detach())
        return ttq_quantize(w, self.positive, self.negative, self.threshold)

    @torch.no_grad()
    def _start(self, w: Tensor) -> None:
        limit = self.threshold * w.abs().max()
        for value, side in ((self.positive, w[w > limit]), (self.negative, -w[w < -limit])):
            value.copy_(side.mean() if side.numel() else torch.ones(()))
        self.started.fill_(True)
