"""Right answers to exercise 4.1.6, each written differently."""

from typing import Any

import torch
from torch import Tensor


def clamp_and_detach(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    inside = x.clamp(low, high)
    return inside + (quantized - inside).detach()


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward((low <= x) & (x <= high))
        return quantized.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (inside,) = ctx.saved_tensors
        return torch.where(inside, grads[0], torch.zeros(())), None, None, None


def a_function_of_its_own(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    return _Masked.apply(x, quantized, low, high)


def with_a_hook(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    outside = (x < low) | (x > high)
    y = x * 1.0
    if y.requires_grad:
        y.register_hook(lambda gradient: gradient.masked_fill(outside, 0.0))
    return y + (quantized - y).detach()


def where_inside(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    passes = torch.where((x >= low) & (x <= high), x, x.detach())
    return quantized.detach() + passes - passes.detach()
