"""A2Q: train weights whose sums cannot overflow a narrow accumulator, whatever the input.

Paper:   Colbert et al., "A2Q: accumulator-aware quantization with guaranteed overflow avoidance", ICCV 2023.
         Beyond the lecture; it answers slide 23 and [27].
Formula: |Σ_k x_k q_k| ≤ max|x| · ‖q‖₁ ≤ 2^(P-1) - 1   ⇐   ‖q‖₁ ≤ (2^(P-1) - 1) · 2^(1[signed x] - N)
         w = g · v / ‖v‖₁,   g = min(2^t, T · s),   T = that bound,   q = clamp(trunc(w / s))
         N bits of input, P bits of accumulator; s, t learned per output channel; loss += λ Σ max(t - log2(T s), 0)
Learn:   course/4_quantization/4_4_accumulators.ipynb

``trunc`` rounds towards 0, so ‖q‖₁ can only be smaller than g / s; rounding to nearest could exceed the bound.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, check_num_bits
from frugal.quant.accumulator import accumulator_range
from frugal.quant.affine import QParams
from frugal.quant.granularity import PerChannel
from frugal.quant.ste import clamp_through, replace_through
from frugal.quant.trainable import Trainable


def norm_bound(accumulator_bits: int, input_bits: int, signed_input: bool) -> float:
    """Return T: the largest ‖q‖₁ of one output under which no input overflows the accumulator.

    >>> norm_bound(16, 8, signed_input=True), norm_bound(16, 8, signed_input=False)
    (255.9921875, 127.99609375)
    """
    check_num_bits(input_bits, 1, 8)
    _, largest = accumulator_range(accumulator_bits)
    return largest * 2.0 ** (int(signed_input) - input_bits)


def a2q_weights(v: Tensor, log2_step: Tensor, log2_norm: Tensor, num_bits: int, bound: float) -> Tensor:
    """Return quantized weights whose codes have ‖q‖₁ ≤ bound for each output, differentiably.

    Args:
        v: directions, [out, ...].
        log2_step, log2_norm: log2 of s, and t, [out].
        num_bits: of a code; narrow, so that -(2^(b-1) - 1) is the smallest.
        bound: T.

    >>> v = torch.tensor([[3.0, -2.0, 1.0]])
    >>> a2q_weights(v, torch.zeros(1), torch.tensor([10.0]), 8, bound=60.0).tolist()  # 2^10 is cut to 60: 30, -20, 10
    [[30.0, -20.0, 10.0]]
    """
    check_finite(v, "v")
    check_num_bits(num_bits)
    quant_max = (1 << num_bits - 1) - 1
    shape = [-1] + [1] * (v.ndim - 1)
    step = torch.exp2(log2_step).reshape(shape)
    norm = torch.minimum(torch.exp2(log2_norm), bound * torch.exp2(log2_step)).reshape(shape)
    length = v.flatten(1).abs().sum(1).clamp(min=torch.finfo(v.dtype).tiny).reshape(shape)
    inside = clamp_through(norm * v / length / step, -quant_max - 1, quant_max + 1)  # below quant_max + 1 it fits
    return replace_through(inside, torch.trunc(inside.detach()).clamp(-quant_max, quant_max)) * step


class AccumulatorAwareWeight(Trainable):
    """The weight quantizer of a layer whose sums must fit ``accumulator_bits``.

    Args:
        weight: the float weight to start from, [out, ...].
        num_bits: of a weight's code.
        accumulator_bits: P.
        input_bits: N, of the layer's input.
        signed_input: whether its codes can be negative.
        strength: λ of the penalty.
    """

    def __init__(
        self,
        weight: Tensor,
        num_bits: int = 8,
        *,
        accumulator_bits: int = 16,
        input_bits: int = 8,
        signed_input: bool = False,
        strength: float = 1e-3,
    ) -> None:
        super().__init__()
        check_num_bits(num_bits)
        self.num_bits, self.strength = num_bits, strength
        self.bound = norm_bound(accumulator_bits, input_bits, signed_input)
        rows = weight.detach().flatten(1).abs()
        step = (rows.amax(1) / ((1 << num_bits - 1) - 1)).clamp(min=1e-12)
        self.log2_step = nn.Parameter(step.log2())
        self.log2_norm = nn.Parameter(rows.sum(1).clamp(min=1e-12).log2())

    def forward(self, v: Tensor) -> Tensor:
        return a2q_weights(v, self.log2_step, self.log2_norm, self.num_bits, self.bound)

    def penalty(self) -> Tensor:
        """What pulls the free norm under the bound, where its own gradient is cut."""
        limit = self.log2_step + torch.tensor(self.bound).log2()
        return self.strength * (self.log2_norm - limit).clamp(min=0).sum()

    def qparams(self) -> QParams:
        step, quant_max = self.log2_step.detach().exp2(), (1 << self.num_bits - 1) - 1
        return QParams(step, torch.zeros_like(step, dtype=torch.int32), -quant_max, quant_max, PerChannel(0))
