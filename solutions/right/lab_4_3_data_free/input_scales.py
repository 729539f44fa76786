"""Right answers to exercise 4.3.7, each written differently."""

import torch
from torch import Tensor


def from_both_ends(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    ends = torch.stack([beta - reach * gamma, beta + reach * gamma])
    if relu:
        ends = ends.relu()
    codes = 2 ** (num_bits if relu else num_bits - 1) - 1
    scale = ends.abs().amax(0) / codes
    return scale.masked_fill(scale == 0, 1.0)


def channel_by_channel(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    scales = []
    for m, g in zip(beta.tolist(), gamma.tolist(), strict=True):
        far = max(0.0, m + reach * abs(g)) if relu else abs(m) + reach * abs(g)
        scales.append(far / ((1 << num_bits) - 1 if relu else (1 << num_bits - 1) - 1) or 1.0)
    return torch.tensor(scales)


def in_double(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    middle = beta.double() if relu else beta.double().abs()
    far = (middle + reach * gamma.double().abs()).clamp(min=0)
    far[far == 0] = 2**num_bits - 1 if relu else 2 ** (num_bits - 1) - 1
    return (far / (2**num_bits - 1 if relu else 2 ** (num_bits - 1) - 1)).float()
