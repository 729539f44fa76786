"""Fake quantization: the rounding of integer codes, seen by a float network, with a gradient that training can use.

Paper:   [20] Krishnamoorthi 2018, section 3; Bengio et al. 2013 for the straight-through estimator. Lecture: slide 25.
Formula: forward   y = scale · (clamp(round(x / scale) + z, quant_min, quant_max) - z)
         backward  identity: dL/dx = dL/dy
                   clipped:  dL/dx = dL/dy where quant_min ≤ round(x / scale) + z ≤ quant_max, else 0
Learn:   course/4_quantization/4_1_the_operator.ipynb; the training itself is chapter 4_7.

The true derivative of ``round`` is 0 almost everywhere: with it, nothing would ever learn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from frugal.quant.affine import QParams, dequantize, quantize

GRADIENTS = ("clipped", "identity")


class _StraightThrough(torch.autograd.Function):
    """Quantize and dequantize on the way forward; let the gradient pass on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, qparams: QParams, gradient: str) -> Tensor:
        if gradient == "clipped":
            low, high = (qparams.granularity.spread(end, x) for end in (qparams.low, qparams.high))
            half = qparams.granularity.spread(qparams.scale / 2, x)  # up to half a step outside still rounds to an end
            ctx.save_for_backward((x >= low - half) & (x <= high + half))
        return dequantize(quantize(x, qparams), qparams).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        if ctx.saved_tensors:
            (inside,) = ctx.saved_tensors
            grad_output = grad_output * inside
        return grad_output, None, None


def fake_quantize(x: Tensor, qparams: QParams, gradient: str = "clipped") -> Tensor:
    """Replace every value by the one that its integer code stands for, differentiably.

    Args:
        x: any shape that ``qparams`` fits, finite reals.
        qparams: what each code stands for; constant, no gradient flows into it.
        gradient: ``"clipped"`` stops the gradient where ``x`` saturates, ``"identity"`` never does.

    Returns:
        The shape and dtype of ``x``.

    >>> x = torch.tensor([0.3, 99.0], requires_grad=True)
    >>> y = fake_quantize(x, QParams(torch.tensor(0.5), torch.tensor(0, dtype=torch.int32), -8, 7))
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([0.5, 3.5], [1.0, 0.0])
    """
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient must be one of {', '.join(GRADIENTS)}; got {gradient!r}")
    return _StraightThrough.apply(x, qparams, gradient)
