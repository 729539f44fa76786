"""Right answers to exercise 4.1.1, each written differently."""

import torch
from torch import Tensor


def with_a_branch(x: Tensor, num_bits: int = 8) -> Tensor:
    if not x.any():
        return torch.tensor(1.0)
    return torch.maximum(-x.min(), x.max()) / ((1 << (num_bits - 1)) - 1)


def in_plain_python(x: Tensor, num_bits: int = 8) -> Tensor:
    alpha = 0.0
    for value in x.flatten().tolist():
        alpha = max(alpha, abs(value))
    return torch.tensor(alpha / (2 ** (num_bits - 1) - 1) or 1.0)


def with_a_norm(x: Tensor, num_bits: int = 8) -> Tensor:
    alpha = torch.linalg.vector_norm(x.double(), ord=float("inf"))
    scale = alpha / (2 ** (num_bits - 1) - 1)
    return (scale + (scale == 0)).float()


def from_both_ends(x: Tensor, num_bits: int = 8) -> Tensor:
    low, high = x.aminmax()
    scale = torch.stack([low.abs(), high.abs()]).max() / (2.0 ** (num_bits - 1) - 1)
    scale[scale == 0] = 1
    return scale
