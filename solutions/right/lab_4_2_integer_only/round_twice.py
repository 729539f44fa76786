"""Right answers to exercise 4.2.6, each written differently."""

import torch
from torch import Tensor


def in_plain_python(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    found = []
    for a, m, s in zip(*(each.expand(acc.shape).flatten().tolist() for each in (acc, multiplier, shift)), strict=True):
        high, unit = (a * m + 2**30) >> 31, 2 ** (s - 31)
        steps, rest = divmod(abs(high), unit)
        steps += 2 * rest >= unit
        found.append(-steps if high < 0 else steps)
    return torch.tensor(found, dtype=torch.int64).reshape(acc.shape)


def with_mask_and_threshold(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    product = acc.long() * multiplier
    nudge = torch.where(product >= 0, 2**30, 1 - 2**30)
    high = torch.div(product + nudge, 2**31, rounding_mode="trunc")
    mask = (torch.ones_like(shift) << (shift - 31)) - 1
    return (high >> (shift - 31)) + ((high & mask) > (mask >> 1) + (high < 0)).long()


def below_zero_one_less(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    high = (((acc.long() * multiplier) >> 30) + 1) >> 1
    right = shift - 31
    half = (torch.ones_like(right) << right) >> 1
    nudged = torch.where((high < 0) & (right > 0), high + half - 1, high + half)
    return nudged >> right
