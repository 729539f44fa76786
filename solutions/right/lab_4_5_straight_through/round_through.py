"""Right answers to exercise 4.5.1, each written differently."""

from typing import Any

import torch
from torch import Tensor


def one_detached_difference(x: Tensor) -> Tensor:
    return x + (torch.round(x) - x).detach()


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0].clone()


def a_class_beside_it(x: Tensor) -> Tensor:
    return _Round.apply(x)


def value_and_slope(x: Tensor) -> Tensor:
    return torch.round(x.detach()) + (x - x.detach())


def with_a_context(x: Tensor) -> Tensor:
    with torch.no_grad():
        away = torch.round(x) - x
    return x + away
