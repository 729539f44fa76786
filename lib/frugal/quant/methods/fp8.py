"""FP8: eight bits as a small floating point number.

Paper:   Micikevicius et al., "FP8 formats for deep learning", 2209.05433; OCP 8-bit Floating Point Specification 1.0.
Formula: E4M3   4 exponent bits, 3 of mantissa, up to 448,    error up to 2⁻⁴ of the value    weights and activations
         E5M2   5 exponent bits, 2 of mantissa, up to 57344,  error up to 2⁻³ of the value    gradients
         x ≈ fp8(x / scale) · scale,   scale = max|x| / largest
Learn:   course/4_quantization/4_9_the_tables.ipynb

int8 has equal steps, FP8 has steps that grow with the value. On a bell-shaped tensor int8 is closer; with a few huge
values FP8 hardly notices them, while the step of int8 grows with the largest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from frugal.core.check import check_finite
from frugal.quant.granularity import Granularity, PerTensor
from frugal.quant.grids import FloatGrid

E4M3 = FloatGrid(4, 3, largest=448.0)
E5M2 = FloatGrid(5, 2, largest=57344.0)
STORED = {E4M3: torch.float8_e4m3fn, E5M2: torch.float8_e5m2}


def quantize_fp8(x: Tensor, grid: FloatGrid = E4M3, granularity: Granularity | None = None) -> tuple[Tensor, Tensor]:
    """Store a tensor in FP8, its largest value on the format's largest.

    Args:
        x: any shape, finite.
        grid: ``E4M3`` or ``E5M2``.
        granularity: which values share one scale; ``PerTensor()`` by default.

    Returns:
        Codes, torch.float8_e4m3fn or torch.float8_e5m2 of the shape of ``x``, and their scales.

    >>> codes, scale = quantize_fp8(torch.tensor([1.0, -896.0]))
    >>> dequantize_fp8(codes, scale).tolist(), scale.item()
    ([1.0, -896.0], 2.0)
    """
    check_finite(x, "x")
    if grid not in STORED:
        raise ValueError(f"grid must be E4M3 or E5M2, got {grid}; see quant.grids for other formats")
    granularity = granularity or PerTensor()
    largest = granularity.blocks(x.detach().abs()).amax(dim=-1)
    scale = torch.where(largest > 0, largest / grid.max_value, torch.ones_like(largest))
    scale = scale.clamp(min=torch.finfo(x.dtype).tiny)
    # The grid rounds and saturates itself: casts overflow in some versions of torch and saturate in others.
    return grid.quantize(x / granularity.spread(scale, x)).to(STORED[grid]), scale


def dequantize_fp8(codes: Tensor, scale: Tensor, granularity: Granularity | None = None) -> Tensor:
    """Give each code the real number that it stands for, in the dtype of ``scale``."""
    if codes.dtype not in STORED.values():
        raise TypeError(f"codes must be one of torch's float8 types, got {codes.dtype}")
    values = codes.to(scale.dtype)
    return values * (granularity or PerTensor()).spread(scale, values)
