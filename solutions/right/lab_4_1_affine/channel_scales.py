"""Right answers to exercise 4.1.5, each written differently."""

import torch
from torch import Tensor


def flattened(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    alpha = w.movedim(axis, 0).reshape(w.shape[axis], -1).abs().amax(dim=1)
    shape = [1] * w.ndim
    shape[axis] = -1
    scale = alpha / (2 ** (num_bits - 1) - 1)
    scale[alpha == 0] = 1.0
    return scale.reshape(shape)


def one_axis_after_the_other(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    alpha = w.abs()
    for dim in range(w.ndim):
        if dim not in (axis, axis + w.ndim):
            alpha = alpha.max(dim=dim, keepdim=True).values
    return (alpha / (2 ** (num_bits - 1) - 1)).masked_fill(alpha == 0, 1.0)


def channel_by_channel(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    largest = [max(map(abs, channel.flatten().tolist())) for channel in w.unbind(axis)]
    scales = torch.tensor([value / (2 ** (num_bits - 1) - 1) or 1.0 for value in largest])
    for dim in range(w.ndim):
        if dim != axis % w.ndim:
            scales = scales.unsqueeze(dim)
    return scales


def from_the_back(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    last = w.transpose(axis, -1)
    alpha = torch.linalg.vector_norm(last, ord=torch.inf, dim=tuple(range(w.ndim - 1)), keepdim=True)
    scale = alpha / (2 ** (num_bits - 1) - 1)
    return torch.where(scale == 0, torch.ones_like(scale), scale).transpose(axis, -1)
