"""LSQ+: a learned offset beside the learned step, for activations that dip below 0 on one side only.

Paper:   Bhalgat et al., "LSQ+: improving low-bit quantization through learnable offsets and better initialization",
         CVPR workshops 2020. Beyond the lecture.
Formula: x̂ = s · round(clamp((x - β) / s, quant_min, quant_max)) + β
         ∂x̂/∂β = 0 where quant_min < (x - β) / s < quant_max, else 1;   ∂x̂/∂s as in LSQ, with x - β for x
Learn:   course/4_quantization/4_7_straight_through.ipynb

SiLU reaches down to -0.28: unsigned codes lose that dip, signed ones spend half of their codes on it. The offset moves
the grid. Real 0 then has no code of its own, so nothing here promises exact zero padding. Step and offset start from
the range of the first batch, which is our choice.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, check_num_bits
from frugal.quant.ste import clamp_through, round_through, scale_gradient
from frugal.quant.trainable import Trainable


def lsq_plus_quantize(
    x: Tensor, step: Tensor, offset: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0
) -> Tensor:
    """Quantize with a step and an offset that both receive a gradient.

    Args:
        x: any shape.
        step: real units per code, above 0.
        offset: the real number that code 0 stands for.
        quant_min, quant_max: the ends of the codes.
        gradient_scale: what both gradients are multiplied by.

    >>> offset = torch.tensor(-0.25, requires_grad=True)
    >>> y = lsq_plus_quantize(torch.tensor([-0.2, 0.3, 9.0]), torch.tensor(0.5), offset, 0, 3)
    >>> y.sum().backward()
    >>> y.tolist(), offset.grad.item()  # only the value above the range moves with the offset
    ([-0.25, 0.25, 1.25], 1.0)
    """
    if not quant_min < quant_max:
        raise ValueError(f"quant_min must be below quant_max, got {quant_min} and {quant_max}")
    if not (step > 0).all():
        raise ValueError(f"step must be above 0, got {step.min().item():g}")
    step, offset = scale_gradient(step, gradient_scale), scale_gradient(offset, gradient_scale)
    return round_through(clamp_through((x - offset) / step, quant_min, quant_max)) * step + offset


class LearnedStepAndOffset(Trainable):
    """An activation quantizer whose grid starts on the range of the first batch and is then learned.

    Args:
        num_bits: 2 to 8.
    """

    started: Tensor

    def __init__(self, num_bits: int) -> None:
        super().__init__()
        check_num_bits(num_bits)
        self.quant_max = (1 << num_bits) - 1
        self.step = nn.Parameter(torch.ones(()))
        self.offset = nn.Parameter(torch.zeros(()))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if not self.started:
            self._start(x.detach())
        gradient_scale = 1 / math.sqrt(x.numel() * self.quant_max)
        return lsq_plus_quantize(x, self.step, self.offset, 0, self.quant_max, gradient_scale)

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        check_finite(x, "x")
        low, high = x.aminmax()
        self.step.copy_((high - low) / self.quant_max if high > low else torch.ones_like(low))
        self.offset.copy_(low)
        self.started.fill_(True)

    @torch.no_grad()
    def settle_(self, latent: Tensor | None) -> None:
        self.step.abs_().clamp_(min=torch.finfo(self.step.dtype).tiny)
