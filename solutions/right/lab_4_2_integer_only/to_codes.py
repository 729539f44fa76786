"""Right answers to exercise 4.2.7, each written differently."""

import torch
from torch import Tensor

from frugal.quant.affine import QParams


def ends_in_a_table(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    zero = y.zero_point.item()
    six = min(zero + round(6 / y.scale.item()), y.quant_max)
    table = {"none": (y.quant_min, y.quant_max), "relu": (zero, y.quant_max), "relu6": (zero, six)}
    low, high = table[activation]
    return torch.clamp(steps + zero, min=low, max=high).type(y.dtype)


def ends_before_the_zero_point(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    zero = int(y.zero_point)
    low, high = y.quant_min - zero, y.quant_max - zero
    held = steps.clamp(low, high)
    if activation != "none":
        held = held.clamp(min=0)
    if activation == "relu6":
        held = held.clamp(max=round(6 / float(y.scale)))
    return (held + zero).to(torch.int8 if y.quant_min < 0 else torch.uint8)


def with_minimum_and_maximum(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    reach = torch.tensor(6 / y.scale.item()).round().long() if activation == "relu6" else torch.tensor(2**60)
    positive = steps if activation == "none" else torch.where(steps > 0, steps, 0)
    codes = torch.minimum(positive, reach) + y.zero_point.long()
    return torch.maximum(torch.minimum(codes, torch.tensor(y.quant_max)), torch.tensor(y.quant_min)).to(y.dtype)
