"""Right answers to exercise 4.3.3, each written differently."""

import torch
from torch import Tensor

Two = tuple[Tensor, Tensor]


def in_logarithms(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    ranges = torch.stack([r1, r2, r3]).double()
    logs = ranges.log()
    middle = logs.mean(0)
    silent = (ranges == 0).any(0)
    s12, s23 = (logs[0] - middle).exp(), (middle - logs[2]).exp()
    return s12.masked_fill(silent, 1.0).float(), s23.masked_fill(silent, 1.0).float()


def closed_form(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    s12 = (r1 / r2) ** (1 / 3) * (r1 / r3) ** (1 / 3)
    s23 = (r1 / r3) ** (1 / 3) * (r2 / r3) ** (1 / 3)
    silent = (r1 == 0) | (r2 == 0) | (r3 == 0)
    return torch.where(silent, 1.0, s12), torch.where(silent, 1.0, s23)


def pairs_in_turn(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    s12, s23 = torch.ones_like(r1), torch.ones_like(r1)
    for _ in range(40):
        s12 = s12 * torch.sqrt((r1 / s12) / (r2 * s12 / s23))
        s23 = s23 * torch.sqrt((r2 * s12 / s23) / (r3 * s23))
    alive = torch.minimum(torch.minimum(r1, r2), r3) > 0
    return torch.where(alive, s12, torch.ones_like(s12)), torch.where(alive, s23, torch.ones_like(s23))


def channel_by_channel(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    factors = []
    for a, b, c in zip(r1.tolist(), r2.tolist(), r3.tolist(), strict=True):
        middle = (a * b * c) ** (1 / 3)
        factors.append((a / middle, middle / c) if a and b and c else (1.0, 1.0))
    s12, s23 = torch.tensor(factors).T
    return s12, s23
