"""Sums in eight bits: let the accumulator wrap, and train the network to live with it. After [27].

Paper:   [27] Ni et al., "WrapNet", ICLR 2021. Lecture: slide 23.
         A reconstruction of the idea: the abstract names the cyclic activation and the overflow penalty; the equations
         below are ours and have the properties that the idea needs, which the tests hold.
Formula: m = wrap(z, b),   B = 2^(b-1),   t = k B / (k + 1)
         cyclic(z) = m  where |m| ≤ t;   k (B - m)  where m > t;   -k (B + m)  where m < -t
         penalty = λ · mean(max(|z| - t, 0))
Learn:   course/4_quantization/4_4_accumulators.ipynb

Two's complement adds modulo 2^b, so only the wrap of the final sum can be seen. The cyclic activation has that period
and no jump: it reaches 0 where the accumulator wraps, from both sides. With slope k = 4 and 8 bits:

     102          .
                .   .                   z up to 102 passes as it is; from there it folds back, four times as steep,
       0  .   .      .   .              and is 0 at 128 = -128
            .         .
    -102  .
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from frugal.quant.accumulator import accumulator_range, wrap
from frugal.quant.granularity import PerChannel, PerTensor
from frugal.quant.ste import round_through
from frugal.quant.trainable import Trainable


def peak(num_bits: int, slope: float) -> float:
    """The largest value of the cyclic activation, up to which it is the identity: slope · 2^(b-1) / (slope + 1).

    >>> [round(peak(8, slope), 1) for slope in (1, 2, 4)]
    [64.0, 85.3, 102.4]
    """
    if not slope > 0:
        raise ValueError(f"slope must be above 0, got {slope}")
    _, high = accumulator_range(num_bits)
    return slope * (high + 1) / (slope + 1)


def cyclic(z: Tensor, num_bits: int, slope: float = 2.0) -> Tensor:
    """Map sums to values that are the same for ``z`` and ``z + 2^num_bits``, without a jump.

    Args:
        z: whole numbers in a float dtype; the gradient is that of the pieces.
        num_bits: width of the accumulator.
        slope: how steeply large sums fold back.

    >>> cyclic(torch.tensor([50.0, 85.0, 106.0, 127.0, 306.0]), num_bits=8).tolist()  # 306 is 50 once round
    [50.0, 85.0, 44.0, 2.0, 50.0]
    """
    top = peak(num_bits, slope)
    m = wrap(z, num_bits)
    half = float(1 << num_bits - 1)
    return torch.where(m > top, slope * (half - m), torch.where(m < -top, -slope * (half + m), m))


def overflow_penalty(z: Tensor, num_bits: int, slope: float = 2.0) -> Tensor:
    """Return by how much sums exceed, on average, what passes as it is.

    >>> overflow_penalty(torch.tensor([50.0, -90.0]), num_bits=8, slope=1.0).item()  # 90 is 26 above 64
    13.0
    """
    return (z.abs() - peak(num_bits, slope)).clamp(min=0).mean()


class WrapLayer(Trainable):
    """A convolution or linear layer whose sums of codes are kept in few bits.

    In the first stage of training sums are exact and a penalty keeps them small; after ``emulate_(model, True)`` they
    go through the cyclic activation. ``quant.train.swap_in(model, lambda layer: WrapLayer(layer, ...))`` puts it in.
    Zero-points are taken off before the products, and the bias, which a processor adds after the accumulator, is added
    after it here too.

    Args:
        layer: the float layer.
        weight, activation: quantizers for its operands whose ``qparams`` name an affine grid.
        num_bits: width of the accumulator.
        slope: of the cyclic activation.
        strength: λ of the penalty.
    """

    def __init__(
        self,
        layer: nn.Conv2d | nn.Linear,
        weight: Trainable,
        activation: Trainable,
        *,
        num_bits: int = 8,
        slope: float = 2.0,
        strength: float = 1e-3,
    ) -> None:
        super().__init__()
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            raise TypeError(f"WrapLayer takes a Conv2d or a Linear, got {type(layer).__name__}")
        peak(num_bits, slope)
        self.layer, self.weight_map, self.activation_map = layer, weight, activation
        self.num_bits, self.slope, self.strength = num_bits, slope, strength
        self.emulating = False
        self.sums: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        x_hat, w_hat = self.activation_map(x), self.weight_map(self.layer.weight)
        step = self._step()
        z = round_through(self._products(x_hat, w_hat) / step)  # whole numbers again: floats multiplied the scales in
        self.sums = z
        y = (cyclic(z, self.num_bits, self.slope) if self.emulating else z) * step
        return y if self.layer.bias is None else y + self._per_channel(self.layer.bias)

    def penalty(self) -> Tensor | None:
        if self.sums is None:
            return None
        return self.strength * overflow_penalty(self.sums, self.num_bits, self.slope)

    def settle_(self, latent: Tensor | None) -> None:
        self.weight_map.settle_(self.layer.weight)
        self.activation_map.settle_(None)

    def overflows(self) -> float:
        """The share of the last sums that the accumulator could not hold."""
        if self.sums is None:
            raise RuntimeError("no input has passed; call the layer first")
        low, high = accumulator_range(self.num_bits)
        return ((self.sums < low) | (self.sums > high)).double().mean().item()

    def _products(self, x: Tensor, w: Tensor) -> Tensor:
        if isinstance(self.layer, nn.Linear):
            return linear(x, w)
        layer = self.layer
        return conv2d(x, w, None, layer.stride, layer.padding, layer.dilation, layer.groups)

    def _step(self) -> Tensor:
        """Real units per unit of the sum."""
        weight, activation = self.weight_map.qparams(), self.activation_map.qparams()
        if weight is None or activation is None or (weight.zero_point != 0).any():
            raise ValueError("WrapLayer needs quantizers whose codes lie on an affine grid, with weights around 0")
        if activation.granularity != PerTensor() or weight.granularity not in (PerTensor(), PerChannel(0)):
            raise ValueError("the codes of one sum must share a scale: per tensor for inputs, per output for weights")
        return self._per_channel(weight.scale * activation.scale)

    def _per_channel(self, x: Tensor) -> Tensor:
        return x if x.ndim == 0 or isinstance(self.layer, nn.Linear) else x[:, None, None]


def emulate_(model: nn.Module, emulating: bool) -> None:
    """Switch every wrapping layer of a network to narrow sums, or back to exact ones."""
    for module in model.modules():
        if isinstance(module, WrapLayer):
            module.emulating = emulating
