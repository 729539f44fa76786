"""Right answers to exercise 4.5.4, each written differently."""

from typing import Any

import torch
from torch import Tensor


class _Lsq(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: int, high: int, factor: float) -> Tensor:
        v = x / step
        ctx.save_for_backward(v)
        ctx.rest = low, high, factor, step.shape
        return torch.round(v.clamp(low, high)) * step

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (v,) = ctx.saved_tensors
        low, high, factor, shape = ctx.rest
        inside = (v > low) & (v < high)
        by_step = torch.where(inside, torch.round(v) - v, v.clamp(low, high))
        return grads[0] * inside, (grads[0] * by_step).sum_to_size(shape) * factor, None, None, None


def a_class_beside_it(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    return _Lsq.apply(x, step, quant_min, quant_max, gradient_scale)


def composed(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    scaled = step * gradient_scale
    scaled = scaled + (step - scaled).detach()
    v = torch.minimum(torch.maximum(x / scaled, x.new_tensor(quant_min)), x.new_tensor(quant_max))
    return scaled * ((torch.round(v) - v).detach() + v)


def first_order(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    with torch.no_grad():
        v = x / step
        inside = ((v > quant_min) & (v < quant_max)).to(x.dtype)
        code = torch.round(v.clamp(quant_min, quant_max))
        by_step = (code - v * inside) * gradient_scale
    return (code * step).detach() + (x - x.detach()) * inside + (step - step.detach()) * by_step


def with_a_hook(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    own = step.view_as(step)
    if own.requires_grad:
        own.register_hook(lambda came: came * gradient_scale)
    v = (x / own).clamp(quant_min, quant_max)
    return (v - (v - torch.round(v)).detach()) * own
