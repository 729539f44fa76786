"""Ristretto: scales that are powers of two, small floats, and weights that are shifts.

Paper:   [14] Gysel, Motamedi and Ghiasi, ICLR workshop 2016; [15] Gysel, Pimentel, Motamedi, Ghiasi, IEEE TNNLS 2018.
Formula: dynamic fixed point   x ≈ q · 2^-FL,  q in [-2^(B-1), 2^(B-1) - 1],  FL = B - IL
                               IL = ⌈log2 max|w| + 1⌉ for parameters,  ⌈log2 max|x|⌉ for activations (they may saturate)
         minifloat             sign, e exponent bits, m = B - 1 - e mantissa bits, bias 2^(e-1) - 1, saturating
         power of two          w ≈ sign(w) · 2^clamp(round(log2|w|), -8, -1): a product is a shift; 4 bits, no zero
Lesson:  a scale that is a power of two costs no multiplier, only a shift, and at most one bit of range.
Learn:   course/4_quantization/4_7_straight_through.ipynb

The lecture lists both papers under training: they fine-tune with float shadow weights, quantized on the way forward,
which is the straight-through estimator. Their subject is number formats. Halves are rounded away from 0, as in Caffe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.core.check import check_finite, describe
from frugal.quant.affine import QParams
from frugal.quant.grids import FloatGrid
from frugal.quant.rounding import ROUNDINGS

KINDS = ("parameters", "activations")


@dataclass(frozen=True)
class DynamicFixedPoint:
    """Whole numbers of steps of 2^-fractional_length; "dynamic" because each layer and kind of tensor has its own.

    num_bits:          B, 2 to 32.
    fractional_length: FL; below 0 the step is larger than 1.
    rounding:          half_away as in the paper, or stochastic, or another of ``rounding.ROUNDINGS``.

    >>> DynamicFixedPoint(4, 2).quantize(torch.tensor([0.3, 0.375, 9.0, -9.0])).tolist()
    [0.25, 0.5, 1.75, -2.0]
    """

    num_bits: int
    fractional_length: int
    rounding: str = "half_away"

    def __post_init__(self) -> None:
        if not 2 <= self.num_bits <= 32:
            raise ValueError(f"num_bits must be from 2 to 32, got {self.num_bits}; for 1 bit see the binary methods")
        if self.rounding not in ROUNDINGS:
            raise ValueError(f"rounding must be one of {', '.join(ROUNDINGS)}; got {self.rounding!r}")

    @property
    def scale(self) -> float:
        """Real units per step."""
        return 2.0**-self.fractional_length

    def codes(self, x: Tensor) -> Tensor:
        """Return q, int32."""
        check_finite(x, "x")
        largest = 1 << self.num_bits - 1
        q = ROUNDINGS[self.rounding](x.double() / self.scale)
        return q.clamp(-largest, largest - 1).to(torch.int32)

    def quantize(self, x: Tensor) -> Tensor:
        return (self.codes(x).double() * self.scale).to(x.dtype)

    def qparams(self) -> QParams:
        """The same grid for the int8 kernels; up to 8 bits."""
        if self.num_bits > 8:
            raise ValueError(f"codes of {self.num_bits} bits do not fit int8; use at most 8 bits")
        largest = 1 << self.num_bits - 1
        return QParams(torch.tensor(self.scale), torch.tensor(0, dtype=torch.int32), -largest, largest - 1)


def integer_length(x: Tensor, kind: str = "parameters") -> int:
    """IL: the bits before the point, the sign among them for parameters.

    >>> integer_length(torch.tensor([0.9])), integer_length(torch.tensor([0.9]), "activations")
    (1, 0)
    """
    check_finite(x, "x")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    largest = x.detach().abs().max().item()
    if largest == 0:
        return 1  # any step will do
    return math.ceil(math.log2(largest) + (1 if kind == "parameters" else 0))


def choose_grid(
    x: Tensor, num_bits: int = 8, kind: str = "parameters", rounding: str = "half_away"
) -> DynamicFixedPoint:
    """Choose the step for a tensor: 2^-FL with FL = num_bits - IL.

    A largest parameter that is itself a power of two saturates by one step: 1.0 has the code 128, and 127 is the last.
    """
    return DynamicFixedPoint(num_bits, num_bits - integer_length(x, kind), rounding)


def choose_qparams(x: Tensor, num_bits: int = 8, kind: str = "parameters") -> QParams:
    """The same as parameters of codes: symmetric, the scale a power of two."""
    return choose_grid(x, num_bits, kind).qparams()


def exponent_bits(largest: float) -> int:
    """The exponent bits of a minifloat that reaches ``largest``: max(4, ⌈log2(log2 largest - 1) + 1⌉)."""
    if not 0 < largest < math.inf:
        raise ValueError(f"largest must be above 0, got {largest}")
    octaves = math.log2(largest) - 1
    return 4 if octaves <= 0 else max(4, math.ceil(math.log2(octaves) + 1))


def minifloat(num_bits: int, exponent: int = 4) -> FloatGrid:
    """A float of ``num_bits``: no infinity, no nan, no denormals; what is too large saturates.

    >>> minifloat(8).max_value  # 1.111 · 2^(15 - 7)
    480.0
    """
    mantissa = num_bits - 1 - exponent
    if mantissa < 0:
        raise ValueError(f"{num_bits} bits hold a sign, {exponent} exponent bits and no mantissa; give more bits")
    return FloatGrid(exponent, mantissa, denormals=False, ties="half_away")


@dataclass(frozen=True)
class PowerOfTwoGrid:
    """Signed powers of two, for products that are shifts; 0 is not among them.

    lowest, highest: exponents; -8 to -1 take a sign and 3 bits.

    The exponent is rounded: between 2^e and 2^(e+1) the decision lies at sqrt(2) · 2^e, not in the middle.
    """

    lowest: int = -8
    highest: int = -1

    def __post_init__(self) -> None:
        if self.lowest > self.highest:
            raise ValueError(f"lowest must not exceed highest, got {self.lowest} and {self.highest}")

    @property
    def num_bits(self) -> int:
        """A sign, and what counts the exponents."""
        return 1 + (self.highest - self.lowest).bit_length()

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return sign (+1 or -1; 0 counts as +) and exponent, int32 each."""
        check_finite(x, "x")
        sign = torch.where(x < 0, -1, 1).to(torch.int32)
        exponent = torch.round(torch.log2(x.double().abs().clamp(min=2.0 ** (self.lowest - 2))))
        return sign, exponent.clamp(self.lowest, self.highest).to(torch.int32)

    def quantize(self, x: Tensor) -> Tensor:
        sign, exponent = self.codes(x)
        return (sign * torch.exp2(exponent.double())).to(x.dtype)

    def values(self) -> Tensor:
        """All values, ascending."""
        positive = torch.exp2(torch.arange(self.lowest, self.highest + 1, dtype=torch.float64))
        return torch.cat([-positive.flip(0), positive])

    def dot(self, x_codes: Tensor, weight: Tensor) -> Tensor:
        """Multiply integer inputs [..., in] with a weight [out, in] by shifts and additions alone.

        Returns:
            int64 sums, in units of 2^lowest: each product is sign · (x << (exponent - lowest)).
        """
        if x_codes.is_floating_point() or weight.ndim != 2:
            raise TypeError(
                f"dot takes integer codes and a weight [out, in], got {describe(x_codes)}, {describe(weight)}"
            )
        sign, exponent = self.codes(weight)
        shift = (exponent - self.lowest).long()
        shifted = x_codes.long().unsqueeze(-2) << shift  # [..., out, in]
        return (shifted * sign.long()).sum(-1)  # a sign is a negation, not a product


def search_bits(
    score: Callable[[int], float], baseline: float, margin: float, widths: Sequence[int] = (16, 8, 4, 2)
) -> int:
    """Try narrower and narrower widths, and return the last whose score is at least ``baseline - margin``.

    Ristretto does this for the weights of convolutions, those of linear layers, and activations, one after the other.

    Args:
        score: accuracy at a width.
        baseline, margin: of the float network, and what may be lost.
        widths: descending.

    Returns:
        The width; 32 where not even the first is good enough.
    """
    if list(widths) != sorted(widths, reverse=True):
        raise ValueError(f"widths must descend, got {list(widths)}")
    found = 32
    for width in widths:
        if score(width) < baseline - margin:
            break
        found = width
    return found
