"""The small operators between layers: quantize, add, max and average pooling. Codes in, codes out.

Paper:   [19] Jacob et al., CVPR 2018, section 2.3 and appendix A.
Formula: quantize      clamp(round(x / scale) + zero_point, low, high)
         add           clamp(round((a - a_zero) · a_scale + (b - b_zero) · b_scale) + zero_point, low, high)
         average pool  clamp(round(Σ (x - x_zero) · (scale / pixels)) + zero_point, low, high)
         max pool      max: codes keep their order

Scales of add and average pool are in steps of the output per step of the input. Pictures are
[batch, height, width, channels].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from frugal.core.check import check_finite, describe
from frugal.kernels import binding, dispatch, reference
from frugal.kernels.conv import Geometry, Pair, pair
from frugal.kernels.memory import check_input
from frugal.kernels.output import CODES, Residual, codes


def quantize(
    x: Tensor,
    scale: float,
    zero_point: int = 0,
    *,
    dtype: torch.dtype = torch.uint8,
    low: int | None = None,
    high: int | None = None,
) -> Tensor:
    """Quantize reals with one scale; a picture [n, c, h, w] becomes codes [n, h, w, c], other shapes stay.

    Args:
        x: float32, finite.
        scale: real units per step, above 0.
        zero_point: the code of real 0.
        dtype: uint8 or int8.
        low, high: clamp the codes.
    """
    ends = _ends(dtype, zero_point, low, high)
    _check_scale(scale, "scale", above=0.0)
    if not isinstance(x, Tensor) or x.dtype != torch.float32:
        raise TypeError(f"x must be a tensor of torch.float32, got {describe(x)}; x.float() converts it")
    check_input(x, torch.float32, "x")
    picture = x.ndim == 4
    if dispatch.choose() is None:
        check_finite(x, "x")
        y = reference.quantize(x, scale, zero_point, dtype, *ends)
        return y.permute(0, 2, 3, 1).contiguous() if picture else y
    flat = x.contiguous() if picture else x.contiguous().view(1, 1, -1, x.shape[-1])
    n, c, h, w = flat.shape
    y = torch.empty((n, h, w, c), dtype=dtype)
    if not binding.quantize(flat, y, scale, zero_point, *ends):
        check_finite(x, "x")
    return y if picture else y.view(x.shape)


def add(
    a: Tensor,
    b: Tensor,
    scale_a: float,
    scale_b: float,
    *,
    zero_point_a: int = 0,
    zero_point_b: int = 0,
    zero_point: int = 0,
    low: int | None = None,
    high: int | None = None,
) -> Tensor:
    """Add two tensors of codes, of one type and shape, each with a scale of its own.

    Args:
        a, b: codes, contiguous.
        scale_a, scale_b: steps of the sum per step of a and of b.
        zero_point_a, zero_point_b, zero_point: the codes of real 0 of a, b and the sum.
        low, high: clamp the codes of the sum.
    """
    check_input(a, _code_type(a), "a")
    check_input(b, a.dtype, "b")
    ends = _ends(a.dtype, zero_point, low, high)
    for name, scale, zero in (("scale_a", scale_a, zero_point_a), ("scale_b", scale_b, zero_point_b)):
        _check_scale(scale, name)
        _ends(a.dtype, zero, None, None)
    if a.shape != b.shape:
        raise ValueError(f"a and b must have one shape, got {describe(a)} and {describe(b)}")
    a, b = a.contiguous(), b.contiguous()
    if dispatch.choose() is None:
        return reference.add(a, b, scale_a, scale_b, zero_point_a, zero_point_b, zero_point, *ends)
    return binding.add(a, b, (scale_a, scale_b), (zero_point_a, zero_point_b, zero_point), ends)


def max_pool(
    x: Tensor, kernel: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0, dilation: int | Pair = 1
) -> Tensor:
    """Take the largest code of each window of x [n, h, w, c]; the border counts as smaller than any code."""
    g = _geometry(x, kernel, stride, padding, dilation)
    window = g.window(x, 0)
    if dispatch.choose() is None:
        return reference.max_pool(x, g.kernel, g.stride, g.padding, g.dilation)
    return binding.max_pool(window, x.contiguous())


def average_pool(
    x: Tensor,
    kernel: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    *,
    scale: float = 1.0,
    x_zero_point: int = 0,
    zero_point: int = 0,
    low: int | None = None,
    high: int | None = None,
    count_border: bool = True,
) -> Tensor:
    """Take the mean of each window of x [n, h, w, c].

    Args:
        x: codes.
        kernel, stride, padding: one number or (height, width); stride None is the kernel's size.
        scale: steps of the output per step of x.
        x_zero_point, zero_point: the codes of real 0 of x and of the result.
        low, high: clamp the codes of the result.
        count_border: divide by the whole window, as if the border held real 0.
    """
    g = _geometry(x, kernel, stride, padding, 1)
    window = g.window(x, x_zero_point)
    ends = _ends(x.dtype, zero_point, low, high)
    _ends(x.dtype, x_zero_point, None, None)
    _check_scale(scale, "scale")
    if 255 * g.kernel[0] * g.kernel[1] > 2**31 - 1:
        raise ValueError(f"a window of {g.kernel} may overflow an int32 sum; pool in two steps")
    if dispatch.choose() is None:
        return reference.average_pool(
            x, g.kernel, g.stride, g.padding, count_border, x_zero_point, scale, zero_point, *ends
        )
    return binding.average_pool(window, x.contiguous(), scale, zero_point, ends, count_border)


def global_average_pool(x: Tensor, *, scale: float = 1.0, x_zero_point: int = 0, zero_point: int = 0) -> Tensor:
    """Take the mean over height and width of x [n, h, w, c] -> [n, 1, 1, c]."""
    check_input(x, _code_type(x), "x")
    if x.ndim != 4:
        raise ValueError(f"x must be [batch, height, width, channels], got {describe(x)}")
    size = (x.shape[1], x.shape[2])
    return average_pool(x, size, scale=scale, x_zero_point=x_zero_point, zero_point=zero_point)


def _geometry(
    x: Tensor, kernel: int | Pair, stride: int | Pair | None, padding: int | Pair, dilation: int | Pair
) -> Geometry:
    check_input(x, _code_type(x), "x")
    if x.ndim != 4:
        raise ValueError(f"x must be [batch, height, width, channels], got {describe(x)}")
    g = Geometry(pair(kernel), pair(kernel if stride is None else stride), pair(padding), pair(dilation))
    if any(2 * pad > size for pad, size in zip(g.padding, g.kernel, strict=True)):
        raise ValueError(f"padding must be at most half the kernel {g.kernel}, got {g.padding}")
    return g


def _code_type(x: object) -> torch.dtype:
    if not isinstance(x, Tensor) or x.dtype not in CODES:
        raise TypeError(f"codes must be a tensor of torch.uint8 or torch.int8, got {describe(x)}; quantize makes them")
    return x.dtype


def _ends(dtype: torch.dtype, zero_point: int, low: int | None, high: int | None) -> tuple[int, int]:
    output = codes(1.0, dtype=dtype, zero_point=zero_point, low=low, high=high)  # it checks them
    return output.low, output.high


def _check_scale(scale: float, name: str, above: float | None = None) -> None:
    Residual(scale)
    if above is not None and not scale > above:
        raise ValueError(f"{name} must be above {above:g}, got {scale}; a step of size 0 has no codes")
    if math.isinf(torch.tensor(scale, dtype=torch.float32).item()):
        raise ValueError(f"{name} must fit float32, got {scale}")
