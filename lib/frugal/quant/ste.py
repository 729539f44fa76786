"""Straight-through estimators: a staircase on the way forward, a ramp on the way back.

Papers:  Bengio, Léonard and Courville 2013; [11] (identity), [18] (hard tanh); Esser et al. 2020 (scaled gradient).
         Lecture: slide 25.
Formula: round_through      y = round(x)                    dL/dx = dL/dy
         clamp_through      y = clamp(x, low, high)         dL/dx = dL/dy where low < x < high, else 0
         sign_through       y = +1 where x ≥ 0, else -1     identity:  dL/dx = dL/dy
                                                            hardtanh:  dL/dx = dL/dy where |x| ≤ 1, else 0
         replace_through    y = any values                  dL/dx = dL/dy
         scale_gradient     y = x                           dL/dx = factor · dL/dy
Learn:   course/4_quantization/4_7_straight_through.ipynb, lab 4.5

They compose with the operations of torch: ``round_through(clamp_through(x / s, low, high)) * s`` has, by the rules of
autograd alone, the gradient of LSQ in ``s`` and the clipped one in ``x``. ``clamp_through`` says which side an end
belongs to; what ``torch.clamp`` does there depends on its version.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from frugal.core.check import check_finite

SIGN_GRADIENTS = ("hardtanh", "identity")


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        return grad_output


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward((x > low) & (x < high))
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return grad_output * inside, None, None


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: str) -> Tensor:
        if gradient == "hardtanh":
            ctx.save_for_backward(x.abs() <= 1)
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        if ctx.saved_tensors:
            (inside,) = ctx.saved_tensors
            grad_output = grad_output * inside
        return grad_output, None


class _Replace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        return grad_output, None


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        return grad_output * ctx.factor, None


def sign(x: Tensor) -> Tensor:
    """Return +1 or -1 for every value, in the dtype of ``x``: never 0, which is what ``torch.sign`` makes of 0.

    >>> sign(torch.tensor([-0.5, -0.0, 0.0, 2.0])).tolist()
    [-1.0, 1.0, 1.0, 1.0]
    """
    check_finite(x, "x")
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


def round_through(x: Tensor) -> Tensor:
    """Round to the nearest whole number, halves to the even one; the gradient passes unchanged."""
    return _Round.apply(x)


def clamp_through(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp to [low, high]; the gradient passes strictly between the ends."""
    return _Clamp.apply(x, low, high)


def sign_through(x: Tensor, gradient: str = "hardtanh") -> Tensor:
    """Return +1 or -1 for every value, differentiably.

    Args:
        x: any shape, finite reals.
        gradient: ``"hardtanh"`` stops the gradient where ``|x| > 1``, ``"identity"`` never does.

    >>> x = torch.tensor([-0.3, 0.0, 1.7], requires_grad=True)
    >>> sign_through(x).sum().backward()
    >>> x.grad.tolist()
    [1.0, 1.0, 0.0]
    """
    if gradient not in SIGN_GRADIENTS:
        raise ValueError(f"gradient must be one of {', '.join(SIGN_GRADIENTS)}; got {gradient!r}")
    return _Sign.apply(x, gradient)


def replace_through(x: Tensor, values: Tensor) -> Tensor:
    """Return ``values``, of the shape of ``x``; their gradient goes to ``x``, whatever made them."""
    if x.shape != values.shape:
        raise ValueError(f"values must have the shape of x, {list(x.shape)}, got {list(values.shape)}")
    return _Replace.apply(x, values)


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Return ``x`` itself; on the way back its gradient is multiplied by ``factor``."""
    return _ScaleGradient.apply(x, factor)
