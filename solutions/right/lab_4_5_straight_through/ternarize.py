"""Right answers to exercise 4.5.5, each written differently."""

import torch
from torch import Tensor


def channel_by_channel(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    codes, scales = torch.zeros(w.shape, dtype=torch.int8), []
    for place, channel in enumerate(w):
        keep = channel.abs() > factor * channel.abs().mean()
        codes[place] = torch.where(keep, channel.sign(), torch.zeros_like(channel)).to(torch.int8)
        scales.append(channel[keep].abs().mean() if keep.any() else torch.tensor(1.0))
    return codes, torch.stack(scales)


def least_squares(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    axes = tuple(range(1, w.ndim))
    threshold = factor * w.abs().mean(dim=axes, keepdim=True)
    chosen = (w > threshold).float() - (w < -threshold).float()
    norm = chosen.square().sum(dim=axes)
    alpha = (w * chosen).sum(dim=axes) / torch.where(norm > 0, norm, torch.ones_like(norm))
    return chosen.to(torch.int8), alpha.masked_fill(norm == 0, 1.0)


def with_nan_to_num(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    rows = w.reshape(len(w), -1)
    limit = rows.abs().sum(1, keepdim=True) / rows.shape[1] * factor
    left = torch.where(rows.abs() > limit, rows, torch.zeros_like(rows))
    scale = torch.nan_to_num(left.abs().sum(1) / (left != 0).sum(1), nan=1.0)
    return torch.sign(left).to(torch.int8).view(w.shape), scale


def in_double(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    wide = w.double().flatten(1)
    keep = wide.abs() > factor * wide.abs().mean(1, keepdim=True)
    kept = keep.sum(1).clamp(min=1)
    scale = (wide.abs() * keep).sum(1) / kept
    scale[~keep.any(1)] = 1.0
    return (wide.sign() * keep).to(torch.int8).unflatten(1, w.shape[1:]), scale.float()
