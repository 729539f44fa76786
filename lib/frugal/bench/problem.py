"""One layer as a problem: the data that everybody gets, and the exact answer that everybody must give.

    y = clamp(round_half_to_even(sum · scale) + y_zero_point, 0, 255)
    sum = Σ (x - x_zero_point) · w + bias              scale = x_scale · w_scale[n] / y_scale

Activations are u8 with a zero-point, weights s8 with a scale for each output channel, the bias s32. The sums are exact:
they are made in float64, which holds every integer up to 2^53.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from frugal.bench.shapes import Conv, Gemm, Shape
from frugal.core.seed import generator

X_SCALE, X_ZERO_POINT, Y_ZERO_POINT = 0.02, 7, 121


@dataclass(frozen=True)
class Problem:
    """A layer's data.

    shape:  what it is.
    x:      u8 activations.        [m, k]   or NHWC [batch, size, size, channels]
    w:      s8 weights, ±127.      [n, k]   or [outputs, channels / groups, kernel, kernel]
    w_scale: float32, one for each output channel.
    bias:   s32, in units of x_scale · w_scale.
    y_scale: real units per output code, such that the outputs fill the codes.
    """

    shape: Shape
    x: Tensor
    w: Tensor
    w_scale: Tensor
    bias: Tensor
    y_scale: float
    x_scale: float = X_SCALE
    x_zero_point: int = X_ZERO_POINT
    y_zero_point: int = Y_ZERO_POINT

    @property
    def real_bias(self) -> Tensor:
        """The bias in real units, for peers that want it so: float32 [n]."""
        return (self.bias.double() * self.x_scale * self.w_scale.double()).float()

    @property
    def scale(self) -> Tensor:
        """Output codes per unit of the sum: float32 [n]."""
        return (self.w_scale.double() * self.x_scale / self.y_scale).float()

    @cached_property
    def x_signed(self) -> Tensor:
        """The same activations as s8, each 128 lower: for peers that multiply s8 by s8."""
        return (self.x.int() - 128).to(torch.int8)

    @cached_property
    def sums(self) -> Tensor:
        """Σ (x - x_zero_point) · w, float64 and exact; without the bias."""
        return exact_sums(self.shape, self.x, self.w, self.x_zero_point)

    def expected(self, *, bias: bool = True) -> Tensor:
        """The u8 output; ``bias=False`` for a peer whose operator has none."""
        sums = self.sums + self.bias.double() if bias else self.sums
        return requantize(sums, self.scale, self.y_zero_point)

    def expected_real(self) -> Tensor:
        """The output in real units, float64, before it is rounded to codes."""
        return (self.sums + self.bias.double()) * self.w_scale.double() * self.x_scale

    def expected_sums(self, *, signed: bool = False) -> Tensor:
        """The raw s32 sums Σ x · w, of the u8 codes or of the s8 ones: no zero-point, no bias."""
        if signed:
            return exact_sums(self.shape, self.x_signed, self.w, 0).to(torch.int32)
        return exact_sums(self.shape, self.x, self.w, 0).to(torch.int32)


def make(shape: Shape, seed: int = 0, *, largest_weight: int = 127) -> Problem:
    """Draw the data of a layer: every code is as likely as any other.

    Args:
        largest_weight: 127, or 63 for peers whose 16-bit sums of two products would overflow: 2 · 255 · 63 < 2^15.
    """
    if not 1 <= largest_weight <= 127:
        raise ValueError(f"largest_weight must be from 1 to 127, got {largest_weight}")
    draw = generator(seed)
    x_size: tuple[int, ...]
    w_size: tuple[int, ...]
    if isinstance(shape, Gemm):
        x_size, w_size = (shape.m, shape.k), (shape.n, shape.k)
    else:
        x_size = (shape.batch, shape.size, shape.size, shape.channels)
        w_size = (shape.outputs, shape.channels // shape.groups, shape.kernel, shape.kernel)
    x = torch.randint(0, 256, x_size, dtype=torch.uint8, generator=draw)
    w = torch.randint(-largest_weight, largest_weight + 1, w_size, dtype=torch.int8, generator=draw)
    w_scale = (torch.rand(len(w), generator=draw) + 0.5) / 127
    terms = w[0].numel()
    deviation = 141 * largest_weight / 3**0.5 * terms**0.5  # of a sum; 141 is the root mean square of x - x_zero_point
    bias = (torch.randn(len(w), generator=draw) * deviation / 4).round().to(torch.int32)
    y_scale = 6 * deviation * X_SCALE * float(w_scale.mean()) / 256  # ± 3 deviations in 256 codes
    return Problem(shape, x, w, w_scale, bias, y_scale)


def exact_sums(shape: Shape, x: Tensor, w: Tensor, zero_point: int) -> Tensor:
    """Σ (x - zero_point) · w in float64, in the layout of the output: [m, n], or NHWC."""
    centred = x.double() - zero_point
    if isinstance(shape, Gemm):
        return centred @ w.double().t()
    return convolve(shape, centred.permute(0, 3, 1, 2), w.double())


def convolve(shape: Conv, x: Tensor, w: Tensor) -> Tensor:
    """torch's own convolution, NCHW in and NHWC out; the border holds real zeros."""
    y = F.conv2d(x, w, stride=shape.stride, padding=shape.padding, groups=shape.groups)
    return y.permute(0, 2, 3, 1)


def requantize(sums: Tensor, scale: Tensor, zero_point: int) -> Tensor:
    """Sums to u8 codes, with the roundings that our kernels promise: float32(sum) · scale, half to even."""
    return ((sums.float() * scale).round() + zero_point).clamp(0, 255).to(torch.uint8)
