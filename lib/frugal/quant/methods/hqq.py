"""HQQ: find a better zero-point for each group from the weight alone, by half-quadratic splitting.

Source:  Badri & Shaji, "Half-Quadratic Quantization", Mobius Labs, 2023.
Formula: min over z of  Σ |w - ŵ|^p,   ŵ = (round(w / s + z) - z) · s,   p = 0.7
         split:   e = shrink(w - ŵ),   z = mean over the group of (q - (w - e) / s)
         shrink(x) = sign(x) · max(|x| - |x|^(p - 1) / β, 0),   β grows by 1 % each step
Learn:   course/4_quantization/4_10_language_models.ipynb

With p below 1 a few large errors cost little more than small ones: the outliers of a group may stay wrong, and the
many weights near the middle fit better. No data is used. The zero-point is a real number, so real 0 has no code of its
own; that is fine for weights that are turned back into reals before they are multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.core.check import check_finite, check_num_bits
from frugal.quant.granularity import PerGroup

P, BETA, KAPPA, STEPS = 0.7, 10.0, 1.01, 20


@dataclass(frozen=True, eq=False)
class FloatZeroPoint:
    """Codes in groups with a real zero-point: w ≈ (codes - zero_point) · scale.

    codes:      uint8 [out, in].
    scale:      [out, in / group_size].
    zero_point: [out, in / group_size], real.
    group_size: values that share the two.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor
    group_size: int

    def dequantize(self) -> Tensor:
        """Return the weight that the codes stand for, [out, in]."""
        cut = PerGroup(self.group_size).blocks(self.codes.to(self.scale.dtype))
        return ((cut - self.zero_point[..., None]) * self.scale[..., None]).flatten(1)


def hqq(weight: Tensor, num_bits: int = 4, *, group_size: int = 64, steps: int = STEPS) -> FloatZeroPoint:
    """Quantize a weight in groups, without data.

    Args:
        weight: [out, in], finite; ``group_size`` divides ``in``.
        num_bits: 2 to 8.
        group_size: neighbours along ``in`` that share scale and zero-point.
        steps: how many times to improve; 0 gives rounding to nearest. Each group keeps the best zero-point it met.

    Raises:
        ValueError: the weight is not finite or not a matrix, or the group does not divide it.

    >>> w = torch.tensor([[0.0, 0.1, 0.2, 3.0]])
    >>> plain, better = hqq(w, 2, group_size=4, steps=0), hqq(w, 2, group_size=4)
    >>> bool((better.dequantize() - w).abs().sum() <= (plain.dequantize() - w).abs().sum())
    True
    """
    check_finite(weight, "weight")
    check_num_bits(num_bits)
    if weight.ndim != 2:
        raise ValueError(f"hqq takes the weight of a linear layer, [out, in], got {list(weight.shape)}")
    blocks = PerGroup(group_size).blocks(weight.detach()).double()  # [out, groups, group_size]
    low, high = blocks.aminmax(dim=-1, keepdim=True)
    top = (1 << num_bits) - 1
    scale = torch.where(high > low, (high - low) / top, 1.0)
    zero_point = -low / scale

    best, best_cost = zero_point, torch.full_like(zero_point, torch.inf)
    beta = BETA
    for _ in range(steps + 1):
        q = torch.round(blocks / scale + zero_point).clamp(0, top)
        error = blocks - (q - zero_point) * scale
        cost = error.abs().pow(P).mean(dim=-1, keepdim=True)
        better = cost < best_cost
        best, best_cost = torch.where(better, zero_point, best), torch.where(better, cost, best_cost)
        zero_point = (q - (blocks - shrink(error, beta)) / scale).mean(dim=-1, keepdim=True)
        beta *= KAPPA
    codes = torch.round(blocks / scale + best).clamp(0, top)
    return FloatZeroPoint(
        codes.flatten(1).to(torch.uint8), scale[..., 0].to(weight.dtype), best[..., 0].to(weight.dtype), group_size
    )


def shrink(x: Tensor, beta: float, p: float = P) -> Tensor:
    """Move each value towards 0 by |x|^(p - 1) / beta, and stop there: the p-norm's answer to a quadratic.

    >>> shrink(torch.tensor([-0.01, 0.0, 2.0]), beta=10.0)
    tensor([-0.0000, 0.0000, 1.9188])
    """
    size = x.abs()
    return torch.sign(x) * torch.relu(size - size.clamp(min=torch.finfo(x.dtype).tiny).pow(p - 1) / beta)
