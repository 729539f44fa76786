"""LSQ: the step size is learned like a weight.

Paper:   Esser et al., "Learned step size quantization", ICLR 2020, section 2. Beyond the lecture; see slide 25.
Formula: x̂ = s · round(clamp(x / s, quant_min, quant_max))
         ∂x̂/∂x = 1                          where quant_min < x / s < quant_max, else 0
         ∂x̂/∂s = round(x / s) - x / s        there;  quant_min below, quant_max above
         the gradient of s is multiplied by 1 / sqrt(N · quant_max), N the weights that share s, or the activations of
         one sample that do; s starts at 2 · mean|x| / sqrt(quant_max)
Learn:   course/4_quantization/4_7_straight_through.ipynb, lab 4.5

The mask looks at x / s, not at its rounded code: a value just past the end pulls the step wider although it rounds to
the end. ``torch._fake_quantize_learnable_per_tensor_affine`` looks at the code, and its gradient of s differs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, check_num_bits
from frugal.quant.affine import QParams
from frugal.quant.granularity import Granularity, PerChannel, PerTensor
from frugal.quant.layers import weight_granularity, weight_of
from frugal.quant.ste import clamp_through, round_through, scale_gradient
from frugal.quant.train import Operands
from frugal.quant.trainable import Trainable


def lsq_quantize(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """Quantize with a step that receives a gradient.

    Args:
        x: any shape.
        step: real units per code, above 0; it broadcasts against ``x``.
        quant_min, quant_max: the ends of the codes, quant_min ≤ 0 < quant_max.
        gradient_scale: what the gradient of ``step`` is multiplied by.

    >>> step = torch.tensor(0.5, requires_grad=True)
    >>> y = lsq_quantize(torch.tensor([0.3, 9.0]), step, -2, 1)
    >>> y.sum().backward()
    >>> y.tolist(), round(step.grad.item(), 4)  # (1 - 0.6) inside, and quant_max = 1 above
    ([0.5, 0.5], 1.4)
    """
    _check(step, quant_min, quant_max)
    step = scale_gradient(step, gradient_scale)
    return round_through(clamp_through(x / step, quant_min, quant_max)) * step


def lsq_gradients(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """Return ∂x̂/∂x and ∂x̂/∂s of every value, from the paper's equations: the definition that autograd must equal.

    A value that lies exactly on an end counts as outside.
    """
    _check(step, quant_min, quant_max)
    v = x / step
    inside = (v > quant_min) & (v < quant_max)
    by_step = torch.where(inside, torch.round(v) - v, v.clamp(quant_min, quant_max))
    return inside.to(x.dtype), by_step


def initial_step(x: Tensor, quant_max: int, granularity: Granularity | None = None) -> Tensor:
    """Return 2 · mean|x| / sqrt(quant_max) for each block of values; 1 where all of them are 0."""
    check_finite(x, "x")
    step = 2 * (granularity or PerTensor()).blocks(x.detach()).abs().mean(dim=-1) / math.sqrt(quant_max)
    return torch.where(step > 0, step, torch.ones_like(step))


def _check(step: Tensor, quant_min: int, quant_max: int) -> None:
    if not quant_min <= 0 < quant_max:
        raise ValueError(f"codes must reach from 0 or below to above 0, got {quant_min} to {quant_max}")
    if not (step > 0).all():
        raise ValueError(f"step must be above 0, got {step.min().item():g}; LearnedStep.settle_ keeps it there")


class LearnedStep(Trainable):
    """A quantizer whose step starts from the first tensor that passes and is then learned.

    Args:
        num_bits: 2 to 8; with ``signed`` and narrow codes, 2 bits are -1, 0 and 1: ternary.
        granularity: which values share one step.
        blocks: how many steps that makes, where it is more than one.
        signed: None takes unsigned codes where the first tensor has no negative value, as after a ReLU.
        narrow: signed codes from -(2^(b-1) - 1), as for weights, rather than from -2^(b-1).
        samples: whether the first dimension counts samples, as in activations.
    """

    unsigned: Tensor
    started: Tensor

    def __init__(
        self,
        num_bits: int,
        granularity: Granularity | None = None,
        *,
        blocks: int | None = None,
        signed: bool | None = None,
        narrow: bool = True,
        samples: bool = False,
    ) -> None:
        super().__init__()
        check_num_bits(num_bits)
        self.num_bits, self.granularity, self.narrow = num_bits, granularity or PerTensor(), narrow
        self.step = nn.Parameter(torch.ones(() if blocks is None else (blocks,)))
        self.signed, self.samples = signed, samples
        self.register_buffer("unsigned", torch.tensor(signed is False))
        self.register_buffer("started", torch.tensor(False))

    @property
    def ends(self) -> tuple[int, int]:
        """The smallest and the largest code."""
        if self.unsigned:
            return 0, (1 << self.num_bits) - 1
        quant_max = (1 << self.num_bits - 1) - 1
        return -quant_max - (not self.narrow), quant_max

    def forward(self, x: Tensor) -> Tensor:
        if not self.started:
            self._start(x.detach())
        quant_min, quant_max = self.ends
        sharing = x.numel() / self.step.numel() / (len(x) if self.samples else 1)
        gradient_scale = 1 / math.sqrt(sharing * quant_max)
        return lsq_quantize(x, self.granularity.spread(self.step, x), quant_min, quant_max, gradient_scale)

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        if self.signed is None:
            self.unsigned.fill_(bool((x >= 0).all()))
        step = initial_step(x, self.ends[1], self.granularity)
        if step.shape != self.step.shape:
            raise ValueError(
                f"{self.granularity} makes {step.numel()} steps of this tensor, this quantizer has "
                f"{self.step.numel()}; give blocks={step.numel()}"
            )
        self.step.copy_(step)
        self.started.fill_(True)

    @torch.no_grad()
    def settle_(self, latent: Tensor | None) -> None:
        """Keep the step above 0: one that crossed comes back from the other side."""
        self.step.abs_().clamp_(min=torch.finfo(self.step.dtype).tiny)

    def qparams(self) -> QParams:
        zero_point = torch.zeros_like(self.step, dtype=torch.int32)
        return QParams(self.step.detach().clone(), zero_point, *self.ends, self.granularity)


def learned_steps(weight_bits: int | None, activation_bits: int | None) -> Operands:
    """Return LSQ for both operands of a layer: a step per output channel, and one for the inputs."""
    return Operands(
        None if weight_bits is None else lambda layer: _weight_quantizer(layer, weight_bits),
        None if activation_bits is None else lambda layer: LearnedStep(activation_bits, samples=True),
    )


def _weight_quantizer(layer: nn.Module, num_bits: int) -> LearnedStep:
    granularity = weight_granularity(layer, PerChannel(0))
    return LearnedStep(num_bits, granularity, blocks=len(granularity.blocks(weight_of(layer))), signed=True)
