"""Right answers to exercise 4.6.2, each written differently."""

import torch
from torch import Tensor


def ends_before_rounding(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    steps = torch.clamp(acc.float() * scale, low - zero_point, high - zero_point)
    return (torch.round(steps).int() + zero_point).to(torch.uint8)


def in_place_on_a_copy(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    steps = acc.to(torch.float32, copy=True)
    return steps.mul_(scale).round_().add_(zero_point).clamp_(low, high).to(torch.uint8)


def column_by_column(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    columns = [torch.round(column.float() * s) + zero_point for column, s in zip(acc.T, scale, strict=True)]
    return torch.stack(columns, dim=1).clamp(min=low, max=high).byte()


def with_minimum_and_maximum(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    code = torch.round(torch.mul(acc.type(torch.float32), scale[None, :])).double() + zero_point
    return torch.minimum(torch.maximum(code, torch.tensor(float(low))), torch.tensor(float(high))).to(torch.uint8)
