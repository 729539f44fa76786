"""Right answers to exercise 4.2.5, each written differently."""

import torch
from torch import Tensor


def in_plain_python(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    along = [each.expand(acc.shape).flatten().tolist() for each in (acc, multiplier, shift)]
    rounded = [(a * m + (1 << s >> 1)) >> s for a, m, s in zip(*along, strict=True)]
    return torch.tensor(rounded, dtype=torch.int64).reshape(acc.shape)


def with_the_last_bit(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    nearly = torch.mul(acc.to(torch.int64), multiplier) >> (shift - 1)  # one bit more than needed
    return (nearly + 1) >> 1


def by_division(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    unit = torch.pow(torch.full_like(shift, 2), shift)
    return torch.div(acc.long() * multiplier + unit // 2, unit, rounding_mode="floor")


def by_the_remainder(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    product = acc.long() * multiplier
    down = product >> shift
    rest = product - (down << shift)
    return torch.where(rest >= torch.bitwise_left_shift(torch.ones_like(shift), shift - 1), down + 1, down)
