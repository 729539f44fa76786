"""Integer-only inference: a whole layer without one float, its scale a 31-bit multiplier and a shift.

Paper:   [19] Jacob et al., CVPR 2018, sections 2.2 to 2.4. Lecture: equation (3).
Formula: q3 = Z3 + M Σ_j (q1 - Z1)(q2 - Z2)                                  M = S1 S2 / S3
         Σ (q1 - Z1)(q2 - Z2) = Σ q1 q2 - Z1 Σ q2 - Z2 Σ q1 + N Z1 Z2        only the first sum costs N³
         M = multiplier · 2^-(31 + shift),  2^30 ≤ multiplier < 2^31
         bias: int32, scale S1 S2, zero-point 0
Lesson:  zero-points cost one correction per row and column, and vanish where weights are symmetric; the float scale
         becomes one integer product and one shift, exact to half a code.
Learn:   course/4_quantization/4_2_zero_point.ipynb; lab 4.2

Two roundings are in use. ``requantize`` rounds once, exactly, as the kernels of this project do. gemmlowp rounds twice,
first the product to its high half, then the shift, and differs by one code now and then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.core.check import check_finite, describe
from frugal.quant.affine import QParams, quantize
from frugal.quant.granularity import PerChannel, PerTensor

INT32 = (-(2**31), 2**31 - 1)


def quantize_multiplier(scale: float) -> tuple[int, int]:
    """Write a real scale as multiplier / 2^(31 + shift), the multiplier from 2^30 to 2^31 - 1.

    Args:
        scale: above 0; M of the formula.

    >>> quantize_multiplier(0.375)  # 0.75 · 2^-1
    (1610612736, 1)
    """
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be above 0 and finite, got {scale}")
    mantissa, exponent = math.frexp(scale)  # scale = mantissa · 2^exponent, mantissa in [0.5, 1)
    multiplier = round(mantissa * 2**31)
    if multiplier == 2**31:  # it rounded up to 1.0
        multiplier, exponent = 2**30, exponent + 1
    return multiplier, -exponent


def requantize_exactly(acc: int, multiplier: int, shift: int) -> int:
    """round(acc · multiplier / 2^(31 + shift)), halves up, for one number: Python's integers, so nothing overflows.

    >>> requantize_exactly(3, *quantize_multiplier(0.5)), requantize_exactly(-3, *quantize_multiplier(0.5))
    (2, -1)
    """
    right = 31 + shift
    product = acc * multiplier
    return (product + (1 << right - 1)) >> right if right > 0 else product << -right


def requantize(acc: Tensor, multiplier: Tensor, shift: Tensor, qparams: QParams, low: int | None = None) -> Tensor:
    """Turn int32 sums [..., out] into codes by integer arithmetic alone.

    Args:
        acc: whole numbers that fit int32.
        multiplier, shift: int32, one or [out]; shift from -30 to 31.
        qparams: of the result; its zero-point is added, its ends clamp.
        low: the smallest code to give out; the zero-point makes it ReLU. ``quant_min`` by default.
    """
    if acc.is_floating_point() or (acc.numel() and not INT32[0] <= int(acc.min()) <= int(acc.max()) <= INT32[1]):
        raise ValueError(f"acc must hold whole numbers that fit int32, got {describe(acc)}")
    if not ((shift >= -30) & (shift <= 31)).all():
        raise ValueError(f"shift must be from -30 to 31 so that int64 holds the product, got {shift.tolist()}")
    right = 31 + shift.long()
    y = (acc.long() * multiplier.long() + (torch.ones_like(right) << (right - 1))) >> right
    first = qparams.quant_min if low is None else max(low, qparams.quant_min)
    return (y + qparams.zero_point).clamp(first, qparams.quant_max).to(qparams.dtype)


def requantize_gemmlowp(acc: Tensor, multiplier: Tensor, shift: Tensor, qparams: QParams) -> Tensor:
    """The same by gemmlowp's two roundings: high half of the doubled product, then a rounding shift; shift ≥ 0."""
    if not ((shift >= 0) & (shift <= 31)).all():
        raise ValueError(f"gemmlowp shifts right only, by 0 to 31, got {shift.tolist()}")
    product = acc.long() * multiplier.long()
    nudge = torch.where(product >= 0, 2**30, 1 - 2**30)
    high = torch.div(product + nudge, 2**31, rounding_mode="trunc")
    mask = (torch.ones_like(shift.long()) << shift.long()) - 1
    rest = high & mask
    threshold = (mask >> 1) + (high < 0)
    y = (high >> shift.long()) + (rest > threshold)
    return (y + qparams.zero_point).clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def sums(x: Tensor, weight: Tensor, x_zero_point: int, weight_zero_point: Tensor | int) -> Tensor:
    """Σ_j (q1 - Z1)(q2 - Z2), as it is written: the definition.  [..., in], [out, in] -> int64 [..., out]"""
    weight_zero_point = torch.as_tensor(weight_zero_point).long().reshape(-1, 1)
    return (x.long() - x_zero_point) @ (weight.long() - weight_zero_point).T


def factorised_sums(x: Tensor, weight: Tensor, x_zero_point: int, weight_zero_point: Tensor | int) -> Tensor:
    """The same by equation (7): a product of bare codes, and three corrections that are sums of rows and columns."""
    z2 = torch.as_tensor(weight_zero_point).long().reshape(-1)  # one or [out]
    bare = x.long() @ weight.long().T
    columns = x_zero_point * weight.long().sum(1)  # known before any input comes: it moves into the bias
    rows = x.long().sum(-1, keepdim=True) * z2  # zero where weights are symmetric
    return bare - columns - rows + x.shape[-1] * x_zero_point * z2


def quantize_bias(bias: Tensor, x_scale: Tensor, weight_scale: Tensor) -> Tensor:
    """Give a bias [out] the scale of the sums, S1 S2, as int32.

    Raises:
        ValueError: it does not fit; the scales are too small for it.
    """
    check_finite(bias, "bias")
    codes = torch.round(bias.double() / (x_scale.double() * weight_scale.double()))
    if (codes.abs() > INT32[1]).any():
        raise ValueError(
            f"the bias needs {codes.abs().max().item():g} steps and int32 has {INT32[1]}; widen the range of the input "
            "or of the weight, whose scales are too small for it"
        )
    return codes.to(torch.int32)


@dataclass(frozen=True, eq=False)
class IntegerLinear:
    """A linear layer of integers: codes in, codes out.

    weight:   int8 [out, in].
    bias:     int64 [out] that fits int32, in which the correction for the input's zero-point is already counted.
    multiplier, shift: int32, one or [out].
    weight_zero_point: int64, one or [out].
    x_qparams, y_qparams: what codes in and codes out stand for.
    low:      the smallest code that comes out; the output's zero-point where ReLU is part of the layer.
    """

    weight: Tensor
    bias: Tensor
    multiplier: Tensor
    shift: Tensor
    weight_zero_point: Tensor
    x_qparams: QParams
    y_qparams: QParams
    low: int

    @classmethod
    def from_float(
        cls, weight: Tensor, bias: Tensor | None, x: QParams, w: QParams, y: QParams, relu: bool = False
    ) -> IntegerLinear:
        """Quantize a float layer.

        Args:
            weight, bias: [out, in] and [out].
            x, w, y: parameters of its input, its weight (per tensor or per output channel) and its output.
            relu: clamp below at real 0, which costs nothing: the smallest code becomes the zero-point.
        """
        if weight.ndim != 2 or not isinstance(x.granularity, PerTensor) or not isinstance(y.granularity, PerTensor):
            raise ValueError("weight must be [out, in], and input and output must have one scale each")
        if not isinstance(w.granularity, PerTensor) and w.granularity != PerChannel(0):
            raise ValueError(f"the weight must have one scale, or one per output channel, got {w.granularity}")
        codes = quantize(weight, w)
        pairs = [
            quantize_multiplier(m) for m in (x.scale.double() * w.scale.double() / y.scale.double()).flatten().tolist()
        ]
        bias_codes = torch.zeros(len(weight), dtype=torch.int32)
        if bias is not None:
            bias_codes = quantize_bias(bias, x.scale, w.scale)
        z1, z2 = int(x.zero_point), w.zero_point.long().reshape(-1)
        corrected = bias_codes.long() - z1 * codes.long().sum(1) + weight.shape[1] * z1 * z2
        return cls(
            codes,
            corrected,
            torch.tensor([m for m, _ in pairs], dtype=torch.int32),
            torch.tensor([s for _, s in pairs], dtype=torch.int32),
            z2,
            x,
            y,
            int(y.zero_point) if relu else y.quant_min,
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Codes [..., in] to codes [..., out], by integers alone."""
        if x.dtype != self.x_qparams.dtype:
            raise TypeError(f"x must hold codes of dtype {self.x_qparams.dtype}, got {describe(x)}")
        acc = x.long() @ self.weight.long().T + self.bias
        if self.weight_zero_point.any():
            acc = acc - x.long().sum(-1, keepdim=True) * self.weight_zero_point
        return requantize(acc, self.multiplier, self.shift, self.y_qparams, self.low)
