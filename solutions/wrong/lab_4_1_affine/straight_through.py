"""Wrong answers to exercise 4.1.6: straight through."""

from typing import Any

import torch
from torch import Tensor


def _inside(x: Tensor, low: float, high: float) -> Tensor:
    return ((x >= low) & (x <= high)).to(x.dtype)


def no_gradient(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """No gradient passes: your result does not depend on x."""
    return quantized.detach() + 0 * x


def never_clipped(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """Your gradient passes also where x was clipped."""
    return quantized.detach() + (x - x.detach())


def clipped_above_only(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """Your gradient stops above the range and passes below it."""
    return quantized.detach() + (x - x.detach()) * (x <= high)


def symmetric_clipping(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """You compare magnitudes with the upper end; the lower end is not its mirror image."""
    return quantized.detach() + (x - x.detach()) * (x.abs() <= high)


def inverted_mask(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """Your gradient passes where x was clipped and stops where it was not."""
    return quantized.detach() + (x - x.detach()) * (1 - _inside(x, low, high))


def mask_of_the_codes(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """You look at quantized to see what was clipped; after clipping nothing is outside."""
    return quantized.detach() + (x - x.detach()) * _inside(quantized, low, high)


def only_clipping(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """Your values are clipped and not rounded: quantized does not come into it."""
    return x.clamp(low, high)


def x_comes_back(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """Your values are those of x; the detached term has the wrong sign or is missing."""
    return x * _inside(x, low, high) + (x - x * _inside(x, low, high)).detach()


def leaks_into_quantized(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """A gradient flows into quantized as well."""
    return quantized + (x - x.detach()) * _inside(x, low, high)


class _SignOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(_inside(x, low, high))
        return quantized.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return ctx.saved_tensors[0], None, None, None


def mask_instead_of_gradient(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """You return the mask itself; the gradient that comes in has to be multiplied by it."""
    return _SignOnly.apply(x, quantized, low, high)


def scaled_gradient(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """Your gradient is divided by the width of the range; it should pass unchanged."""
    return quantized.detach() + (x - x.detach()) * _inside(x, low, high) / (high - low)


def soft_clipping(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """Your gradient fades out smoothly; it should be exactly 1 inside and exactly 0 outside."""
    middle, half = (low + high) / 2, (high - low) / 2
    soft = torch.tanh((x - middle) / half) * half
    return quantized.detach() + (soft - soft.detach())


def zero_outside(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """Your values are 0 where x was clipped; there quantized holds the nearest end."""
    inside = _inside(x, low, high)
    return quantized.detach() * inside + (x - x.detach()) * inside


def overwrites_its_input(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """Your function clamps the caller's tensor in place."""
    inside = _inside(x, low, high)
    x.data.clamp_(low, high)
    return quantized.detach() + (x - x.detach()) * inside


def returns_quantized(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """You return quantized as it came: the right values, and no way back to x."""
    return quantized
