"""Grids: which real numbers the codes can say. The uniform one is ``affine``; these are the others.

Papers:  [14][15] minifloat; OCP 8-bit floating point 2023 and Microscaling 2023 name the formats below.
Formula: uniform   … -2s  -s  0  s  2s …                              equal steps: the error is the same everywhere
         float     ± (1 + m / 2^M) · 2^(e - bias)                     M steps per octave: the error grows with the value
                   ± (m / 2^M) · 2^(1 - bias), where e = 0            denormals: equal steps down to 0
Learn:   course/4_quantization/4_5_post_training.ipynb

Every grid has ``quantize(x)``, which gives each real its nearest value, and ``values()``, all of them in order. Halfway
between two float values the one whose last bit is 0 wins, as in IEEE 754.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from frugal.core.check import check_finite, check_float
from frugal.quant.affine import QParams, dequantize, quantize
from frugal.quant.rounding import ROUNDINGS


class Grid(Protocol):
    """Anything that gives each real the value that stands for it."""

    def quantize(self, x: Tensor) -> Tensor:
        """Return the value of the grid that stands for each real, in the shape of ``x``."""
        ...


@dataclass(frozen=True, eq=False)
class UniformGrid:
    """The codes of ``affine`` as a grid: equal steps, one scale per block."""

    qparams: QParams

    def quantize(self, x: Tensor) -> Tensor:
        return dequantize(quantize(x, self.qparams), self.qparams).to(x.dtype)

    def values(self) -> Tensor:
        """All values, ascending.  [..., codes]"""
        codes = torch.arange(self.qparams.quant_min, self.qparams.quant_max + 1)
        return (codes - self.qparams.zero_point[..., None]) * self.qparams.scale[..., None]


@dataclass(frozen=True, eq=False)
class ValueGrid:
    """Any list of values, such as a codebook. Halfway between two the smaller wins.

    >>> ValueGrid(torch.tensor([-1.0, 0.0, 4.0])).quantize(torch.tensor([-9.0, 1.9, 2.0, 2.1]))
    tensor([-1.,  0.,  0.,  4.])
    """

    table: Tensor  # [codes]

    def __post_init__(self) -> None:
        check_finite(self.table, "table")
        if self.table.ndim != 1 or (self.table.diff() <= 0).any():
            raise ValueError(f"table must be one ascending row without repeats, got {self.table.tolist()}")

    def codes(self, x: Tensor) -> Tensor:
        """Return the position of the nearest value, int64."""
        check_finite(x, "x")
        table = self.table.to(x.dtype)
        return torch.bucketize(x, (table[1:] + table[:-1]) / 2)

    def quantize(self, x: Tensor) -> Tensor:
        return self.table.to(x.dtype)[self.codes(x)]

    def values(self) -> Tensor:
        """All values, ascending."""
        return self.table


@dataclass(frozen=True)
class FloatGrid:
    """Small floating point numbers: a sign, ``exponent_bits``, ``mantissa_bits``. What is too large saturates.

    exponent_bits, mantissa_bits: E and M of the name ExMy.
    bias:      of the exponent; 2^(E-1) - 1 by default.
    largest:   the largest value; by default that of the highest exponent and a full mantissa (no infinity, no nan).
    denormals: whether exponent 0 has equal steps down to 0; without them, what is below the smallest normal is 0.
    ties:      a rounding of ``rounding.ROUNDINGS``.

    >>> FloatGrid(2, 1).values().tolist()[7:]  # E2M1, the elements of MXFP4 and NVFP4
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int | None = None
    largest: float | None = None
    denormals: bool = True
    ties: str = "half_even"

    def __post_init__(self) -> None:
        if not (1 <= self.exponent_bits <= 8 and 0 <= self.mantissa_bits <= 23):
            raise ValueError(
                "a float grid has 1 to 8 exponent bits and 0 to 23 mantissa bits, "
                f"got {self.exponent_bits} and {self.mantissa_bits}"
            )
        if self.ties not in ROUNDINGS:
            raise ValueError(f"ties must be one of {', '.join(ROUNDINGS)}; got {self.ties!r}")

    @property
    def exponent_bias(self) -> int:
        return (1 << self.exponent_bits - 1) - 1 if self.bias is None else self.bias

    @property
    def lowest_exponent(self) -> int:
        """Of the smallest normal number; exponent field 0 belongs to 0 and to the denormals, where there are any."""
        return 1 - self.exponent_bias

    @property
    def max_value(self) -> float:
        """The largest value."""
        top = (1 << self.exponent_bits) - 1 - self.exponent_bias
        return (2 - 2.0**-self.mantissa_bits) * 2.0**top if self.largest is None else self.largest

    def quantize(self, x: Tensor) -> Tensor:
        check_finite(x, "x")
        exact = x.double()
        exponent = (torch.frexp(exact).exponent - 1).clamp(
            min=self.lowest_exponent
        )  # 2^exponent ≤ |x| < 2^(exponent+1)
        step = torch.exp2((exponent - self.mantissa_bits).double())
        y = ROUNDINGS[self.ties](exact / step) * step  # a mantissa that rounds up to 2 is the next exponent's 1
        if not self.denormals:
            y = torch.where(exact.abs() < 2.0**self.lowest_exponent, 0.0, y)
        return y.clamp(-self.max_value, self.max_value).to(x.dtype)

    def values(self) -> Tensor:
        """All values, ascending, 0 once; float64."""
        mantissas = torch.arange(1 << self.mantissa_bits, dtype=torch.float64) / (1 << self.mantissa_bits)
        top = (1 << self.exponent_bits) - 1 - self.exponent_bias
        exponents = torch.arange(self.lowest_exponent, top + 1, dtype=torch.float64)
        positive = ((1 + mantissas) * torch.exp2(exponents)[:, None]).flatten()
        if self.denormals:
            positive = torch.cat([mantissas[1:] * 2.0**self.lowest_exponent, positive])
        positive = positive[positive <= self.max_value]
        return torch.cat([-positive.flip(0), torch.zeros(1, dtype=torch.float64), positive])


def squared_error(x: Tensor, grid: Grid) -> float:
    """Mean squared error of giving ``x`` to a grid, summed in float64."""
    check_float(x, "x")
    return (grid.quantize(x).double() - x.double()).pow(2).mean().item()
