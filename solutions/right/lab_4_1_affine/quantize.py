"""Right answers to exercise 4.1.3, each written differently."""

import math

import torch
from torch import Tensor

from frugal.core.check import check_finite
from frugal.quant.affine import QParams


def in_plain_python(x: Tensor, qparams: QParams) -> Tensor:
    values = x.flatten().tolist()
    if not values or not all(map(math.isfinite, values)):
        raise ValueError("x must hold finite values")
    spread = qparams.granularity.spread
    scales, zeros = (spread(each, x).expand_as(x).flatten() for each in (qparams.scale, qparams.zero_point))
    codes = [
        min(max(round(value / scale) + zero, qparams.quant_min), qparams.quant_max)
        for value, scale, zero in zip(values, scales.tolist(), zeros.tolist(), strict=True)
    ]
    return torch.tensor(codes, dtype=qparams.dtype).reshape(x.shape)


def saturated_in_reals(x: Tensor, qparams: QParams) -> Tensor:
    check_finite(x, "x")
    scale, zero_point = (qparams.granularity.spread(each, x) for each in (qparams.scale, qparams.zero_point))
    steps = torch.clamp(x / scale, qparams.quant_min - zero_point, qparams.quant_max - zero_point)
    return (steps.round().to(torch.int32) + zero_point).to(torch.int8 if qparams.quant_min < 0 else torch.uint8)


def with_fake_quantize(x: Tensor, qparams: QParams) -> Tensor:
    check_finite(x, "x")
    spread = qparams.granularity.spread
    ones, zero_point = torch.ones_like(spread(qparams.scale, x)), spread(qparams.zero_point, x)
    steps = (x.double() / spread(qparams.scale, x).double()).clamp(-1000, 1000).float()
    rounded = torch.fake_quantize_per_tensor_affine(steps, 1.0, 0, -2000, 2000) * ones
    return (rounded + zero_point).clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def channel_by_channel(x: Tensor, qparams: QParams) -> Tensor:
    if x.numel() == 0 or x.isnan().any() or x.isinf().any():
        raise ValueError("x must hold finite values")
    q = torch.empty(x.shape, dtype=qparams.dtype)
    many = qparams.scale.ndim > 0
    axis = qparams.granularity.axis if many else 0  # type: ignore[attr-defined]
    parts = zip(x.movedim(axis, 0), q.movedim(axis, 0), strict=True) if many else [(x, q)]
    for (part, target), scale, zero in zip(
        parts, qparams.scale.reshape(-1), qparams.zero_point.reshape(-1), strict=True
    ):
        target[...] = ((part / scale).round() + zero).clip(qparams.quant_min, qparams.quant_max)
    return q
