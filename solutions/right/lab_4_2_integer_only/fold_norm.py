"""Right answers to exercise 4.2.1, each written differently."""

import torch
from torch import Tensor


def channel_by_channel(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    factors = [(g / (v + eps) ** 0.5) for g, v in zip(gamma.tolist(), var.tolist(), strict=True)]
    folded = torch.stack([part * factor for part, factor in zip(weight, factors, strict=True)])
    lines = zip(bias.tolist(), mean.tolist(), factors, beta.tolist(), strict=True)
    return folded, torch.tensor([(b - m) * factor + shift for b, m, factor, shift in lines])


def with_einsum_in_float64(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    factor = gamma.double() * (var.double() + eps).pow(-0.5)
    return torch.einsum("o...,o->o...", weight.double(), factor).float(), (
        bias.double() * factor - mean.double() * factor + beta.double()
    ).float()


def rows_first(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    factor = torch.rsqrt(var + eps) * gamma
    return (weight.flatten(1) * factor[:, None]).reshape(weight.shape), torch.addcmul(beta, bias - mean, factor)


def turned_round(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    spread = (var + eps).sqrt()
    folded = (weight.movedim(0, -1) * gamma / spread).movedim(-1, 0)
    return folded.contiguous(), beta + gamma * (bias - mean) / spread
