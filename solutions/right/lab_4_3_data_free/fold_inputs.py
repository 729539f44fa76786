"""Right answers to exercise 4.3.8, each written differently."""

import torch
from torch import Tensor

Two = tuple[Tensor, Tensor]


def row_by_row(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    top = 2 ** (num_bits - 1) - 1
    codes, scales = [], []
    for o, row in enumerate(w):
        factors = x_scale[o : o + 1] if depthwise else x_scale
        folded = row * factors.reshape(-1, *[1] * (row.ndim - 1))
        largest = folded.abs().max().item()
        scales.append(largest / top or 1.0)
        codes.append(torch.round(folded / scales[-1]).clamp(-top, top).to(torch.int8))
    return torch.stack(codes), torch.tensor(scales)


def in_double(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    index = "oi...,o->oi..." if depthwise else "oi...,i->oi..."
    folded = torch.einsum(index, w.double(), x_scale.double())
    rows, top = folded.reshape(len(w), -1), 2 ** (num_bits - 1) - 1
    largest = rows.abs().max(dim=1).values
    largest = largest.masked_fill(largest == 0, float(top))
    return torch.round(rows * top / largest[:, None]).reshape(w.shape).to(torch.int8), (largest / top).float()


def axes_moved(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    top, axis = (1 << num_bits - 1) - 1, 0 if depthwise else 1
    folded = (w.movedim(axis, -1) * x_scale).movedim(-1, axis)
    scale = torch.linalg.vector_norm(folded, torch.inf, dim=tuple(range(1, w.ndim)), keepdim=True) / top
    scale = scale + (scale == 0)
    return (folded / scale).round().char().clamp(-top, top), scale.flatten()
