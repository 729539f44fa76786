"""The definition of every int8 operator, in plain torch: slow, obvious, exact.

Paper:   [19] Jacob et al., CVPR 2018, section 2.
Formula: acc = Σ (x - x_zero_point) · w + bias, then what output.py says.

Products of codes are whole numbers, and float64 holds every whole number up to 2^53: a float64 product of matrices is
the exact sum, in whatever order it is done, and torch has a fast one. All other arithmetic is int64, or float32 with
one rounding for each operation. The native kernels equal these functions bit for bit, and where there is no native
library these run instead. Pictures are [batch, height, width, channels].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from frugal.kernels.output import CODES, Output

Pair = tuple[int, int]


def gemm(
    x: Tensor, weight: Tensor, bias: Tensor | None, x_zero_point: int, output: Output, residual: Tensor | None = None
) -> Tensor:
    """Multiply codes with weights: x [..., in] with weight int8 [out, in] -> [..., out]."""
    acc = (x.to(torch.float64) - x_zero_point) @ weight.to(torch.float64).T
    return finish(_with_bias(acc, bias), output, residual)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    x_zero_point: int,
    output: Output,
    residual: Tensor | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Convolve codes [n, h, w, in] with weight int8 [out, in / groups, kh, kw]; the border is real 0, as in torch."""
    centred = (x.to(torch.float64) - x_zero_point).permute(0, 3, 1, 2)
    acc = F.conv2d(centred, weight.to(torch.float64), None, stride, padding, dilation, groups)
    return finish(_with_bias(acc.permute(0, 2, 3, 1), bias), output, residual)


def finish(acc: Tensor, output: Output, residual: Tensor | None = None) -> Tensor:
    """Turn sums, int64 [..., out], into outputs."""
    if output.dtype == torch.int32:
        return acc.to(torch.int32)
    if output.multiplier is not None and output.shift is not None:
        return (
            (rescale(acc, output.multiplier, output.shift) + output.zero_point)
            .clamp(output.low, output.high)
            .to(output.dtype)
        )
    assert output.scale is not None
    real = acc.to(torch.float32) * output.scale
    if output.dtype == torch.float32:
        return real
    if output.residual is not None and residual is not None:
        real = real + _centred(residual, output.residual.zero_point) * _float32(output.residual.scale)
    return to_codes(real, output.dtype, output.zero_point, output.low, output.high)


def rescale(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """round(acc · multiplier / 2^(31 + shift)), halves up, in int64; [19] equation (6)."""
    right = 31 + shift.to(torch.int64)
    half = torch.ones_like(right) << (right - 1)
    return (acc * multiplier.to(torch.int64) + half) >> right


def to_codes(real: Tensor, dtype: torch.dtype, zero_point: int, low: int, high: int) -> Tensor:
    """Round steps to codes, halves to even. What is not a number, infinity minus infinity, becomes the lowest code."""
    real = torch.where(real > low - zero_point, real, _float32(low - zero_point))
    real = torch.where(real < high - zero_point, real, _float32(high - zero_point))
    return (torch.round(real).to(torch.int32) + zero_point).to(dtype)


def quantize(x: Tensor, scale: float, zero_point: int, dtype: torch.dtype, low: int, high: int) -> Tensor:
    """Quantize reals: clamp(round(x / scale) + zero_point, low, high), shape unchanged."""
    return to_codes(x / _float32(scale), dtype, zero_point, low, high)


def max_pool(x: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Take the largest code of each window; codes keep their order, so no scale is needed."""
    lowest = CODES[x.dtype][0]
    real = x.to(torch.float64).permute(0, 3, 1, 2)
    y = F.max_pool2d(real, kernel, stride, padding, dilation)  # torch's border is -infinity
    return y.clamp(min=lowest).to(x.dtype).permute(0, 2, 3, 1).contiguous()


def average_pool(
    x: Tensor,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    count_border: bool,
    x_zero_point: int,
    scale: float,
    zero_point: int,
    low: int,
    high: int,
) -> Tensor:
    """code(float32(Σ (x - x_zero_point)) · (scale / pixels)); scale is output steps per input step."""
    total = _window_sums((x.to(torch.float64) - x_zero_point).permute(0, 3, 1, 2), kernel, stride, padding)
    pixels = _window_sums(torch.ones(1, 1, *x.shape[1:3], dtype=torch.float64), kernel, stride, padding)
    divisor = torch.full_like(pixels, kernel[0] * kernel[1]) if count_border else pixels.clamp(min=1)
    real = total.to(torch.float32) * (_float32(scale) / divisor.to(torch.float32))
    return to_codes(real, x.dtype, zero_point, low, high).permute(0, 2, 3, 1).contiguous()


def add(
    a: Tensor,
    b: Tensor,
    scale_a: float,
    scale_b: float,
    zero_point_a: int,
    zero_point_b: int,
    zero_point: int,
    low: int,
    high: int,
) -> Tensor:
    """Add codes of different scales: code(float32(a - its zero) · scale_a + float32(b - its zero) · scale_b)."""
    left = _centred(a, zero_point_a) * _float32(scale_a)
    right = _centred(b, zero_point_b) * _float32(scale_b)
    return to_codes(left + right, a.dtype, zero_point, low, high)


def _with_bias(acc: Tensor, bias: Tensor | None) -> Tensor:
    whole = acc.round().to(torch.int64)  # exact already; round() only guards the conversion
    return whole if bias is None else whole + bias.to(torch.int64)


def _centred(x: Tensor, zero_point: int) -> Tensor:
    return (x.to(torch.int32) - zero_point).to(torch.float32)


def _float32(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float32)


def _window_sums(x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    return F.avg_pool2d(x, kernel, stride, padding, divisor_override=1)
