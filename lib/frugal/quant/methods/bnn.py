"""Binarized neural networks: weights and activations are signs, and inference counts bits.

Paper:   [18] Hubara et al., NeurIPS 2016, sections 1 and 3. Lecture: slide 25.
Formula: forward    x_b = sign(x), w_b = sign(w);   sign(0) = +1
         backward   dL/dx = dL/dx_b · 1[|x| ≤ 1]   (hard tanh's);   dL/dw = dL/dw_b, w clipped to [-1, 1]
         inference  Σ x_b w_b = k - 2 · popcount(x_b xor w_b)
                    sign(γ (z - μ) / σ + β) = [z ≥ μ - β σ / γ],  turned round where γ < 0
Learn:   course/4_quantization/4_7_straight_through.ipynb, lab 4.5

    training     x ── sign(w)·x ── batch norm ── sign ──►           float, with gradients
    inference    bits ── xor, popcount ── compare with a whole number ──► bits

Batch norm and sign together are one comparison of whole numbers. The paper's shift-based batch norm and AdaMax are in
``quant.shift``; the packed product is ``kernels.bits``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from frugal.core.check import describe
from frugal.kernels.bits import Bits, Linear1, pack, unpack
from frugal.quant.shift import ShiftBatchNorm
from frugal.quant.ste import sign_through

ALWAYS = -(2**31)  # a whole number that no sum is below


def binary_activation(x: Tensor) -> Tensor:
    """Return the signs; the gradient passes where ``|x| ≤ 1``.

    >>> x = torch.tensor([-2.0, 0.5], requires_grad=True)
    >>> binary_activation(x).sum().backward()
    >>> x.grad.tolist()
    [0.0, 1.0]
    """
    return sign_through(x, "hardtanh")


@dataclass(frozen=True, eq=False)
class Threshold:
    """Batch norm and sign in one comparison: the output is +1 where (sum ≥ value) differs from ``turned``.

    value:  int64 [out].
    turned: bool [out], where batch norm's factor is below 0.
    """

    value: Tensor
    turned: Tensor

    def __call__(self, sums: Tensor) -> Tensor:
        """Return whether the output is +1, bool in the shape of ``sums`` [n, out]."""
        return (sums.to(torch.int64) >= self.value) ^ self.turned


def affine_of(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return factor and shift per channel of a batch norm in eval mode, float64."""
    if isinstance(norm, ShiftBatchNorm):
        return norm.affine()
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
        raise TypeError(f"a batch norm with running statistics is needed, got {type(norm).__name__}")
    factor = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        factor = factor * norm.weight.detach().double()
    shift = -norm.running_mean.double() * factor
    return factor, shift if norm.bias is None else shift + norm.bias.detach().double()


def threshold_of(norm: nn.Module) -> Threshold:
    """Turn batch norm, followed by sign, into a comparison with a whole number for each channel.

    factor · z + shift ≥ 0 says z ≥ -shift / factor for a factor above 0, and z ≤ -shift / factor below; sums are whole,
    so the bound may be. A factor of 0 leaves the sign of the shift, whatever the sum.
    """
    factor, shift = affine_of(norm)
    bound = -shift / torch.where(factor == 0, torch.ones_like(factor), factor)
    value = torch.where(factor > 0, bound.ceil(), bound.floor() + 1).clamp(ALWAYS, -ALWAYS)
    turned = factor < 0
    constant = factor == 0
    value = torch.where(constant, torch.full_like(value, ALWAYS), value)
    turned = torch.where(constant, shift < 0, turned)
    return Threshold(value.to(torch.int64), turned)


class BinaryLayer(nn.Module):
    """A linear layer of signs with batch norm and sign, as it is trained.

    Args:
        inputs, outputs: sizes.
        last: leave the sign out, for logits.
        shift: the paper's shift-based batch norm rather than the usual one.
    """

    def __init__(self, inputs: int, outputs: int, *, last: bool = False, shift: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-1, 1))
        self.norm = ShiftBatchNorm(outputs) if shift else nn.BatchNorm1d(outputs)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(linear(x, sign_through(self.weight, "identity")))
        return y if self.last else binary_activation(y)

    @torch.no_grad()
    def clip_(self) -> None:
        """Bring the real weights back into [-1, 1], as after every step."""
        self.weight.clamp_(-1, 1)


class PackedLayer:
    """The same layer for inference: a bit per weight, and per activation.

    Args:
        layer: a trained ``BinaryLayer``.
    """

    def __init__(self, layer: BinaryLayer) -> None:
        self.product = Linear1(layer.weight.detach())
        self.threshold = None if layer.last else threshold_of(layer.norm)
        self.affine = affine_of(layer.norm)

    @property
    def size_bytes(self) -> int:
        """What the weights take."""
        return self.product.weight.size_bytes

    def __call__(self, x: Bits | Tensor) -> Bits | Tensor:
        """Map packed signs to packed signs, or to logits in the last layer; uint8 codes enter the first one."""
        sums = dot_bytes(x, self.product) if isinstance(x, Tensor) else self.product(x)
        if self.threshold is None:
            factor, shift = self.affine
            return (sums * factor + shift).float()
        return pack(self.threshold(sums).float() - 0.5)


def dot_bytes(codes: Tensor, product: Linear1) -> Tensor:
    """Multiply 8-bit codes with signs, one bit of all codes at a time: how the paper treats the first layer.

    code = Σ_p 2^p b_p with b_p from {0, 1};   b_p = (s_p + 1) / 2 with s_p a sign, so  Σ b_p w = (Σ s_p w + Σ w) / 2.

    Args:
        codes: uint8 [n, k].
        product: prepared signs [out, k].

    Returns:
        int64 [n, out].
    """
    if codes.dtype != torch.uint8 or codes.ndim != 2:
        raise TypeError(f"codes must be uint8 [n, k], got {describe(codes)}")
    total_of_weights = unpack(product.weight).sum(1).to(torch.int64)  # [out]
    sums = torch.zeros(len(codes), product.weight.rows, dtype=torch.int64)
    for place in range(8):
        plane = (codes >> place & 1).float() - 0.5
        sums += (product(pack(plane)).to(torch.int64) + total_of_weights) // 2 << place
    return sums
