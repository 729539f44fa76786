"""Right answers to exercise 4.4.8, each written differently."""

import torch
from torch import Tensor


def nearest_of_all_levels(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    k = torch.linspace(0, 1, 2 ** (num_bits - 1))
    out = []
    for row, low, high in zip(w.flatten(1), p, m, strict=True):
        half = torch.cat([k * low, low + k[1:] * (high - low)])
        levels = torch.cat([-half.flip(0), half[1:]])
        out.append(levels[(row[:, None] - levels).abs().argmin(dim=1)])
    return torch.stack(out).reshape(w.shape)


def codes_and_region(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    places = (len(w), *[1] * (w.ndim - 1))
    p, m, last = p.reshape(places), m.reshape(places), (1 << num_bits - 1) - 1
    fine, coarse = p / last, (m - p) / last
    size = w.abs().minimum(m.expand_as(w))
    tail = size > p
    code = torch.where(tail, (size - p) / coarse, size / fine).round()
    return torch.where(tail, p + code * coarse, code * fine).copysign(w)


def two_clipped_parts(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """A weight is its part inside the breakpoint plus its part beyond: one of them is whole or 0."""
    last = 2 ** (num_bits - 1) - 1
    p, m = (each[(...,) + (None,) * (w.ndim - 1)] for each in (p, m))
    inside = torch.maximum(torch.minimum(w, p), -p)
    beyond = torch.maximum(torch.minimum(w, m), -m) - inside
    return (inside / p * last).round() / last * p + (beyond / (m - p) * last).round() / last * (m - p)
