"""Microscaling: tiny floating point numbers in small blocks, each block with a scale of its own.

Paper:   OCP Microscaling Formats (MX) 1.0, 2023; Rouhani et al., 2310.10537. NVFP4: NVIDIA's 4-bit format.
Formula: MX      32 values share X = 2^(floor(log2 max|x|) - e_max): a power of two, 8 bits
                 MXFP4 E2M1, MXFP6 E3M2 or E2M3, MXFP8 E4M3 or E5M2       bits per value: 4.25, 6.25, 8.25
         NVFP4   16 values share an E4M3 scale, the tensor one more:  g = max|x| / (448 · 6)
                 s = E4M3(max|block| / (6 g)),   x ≈ E2M1(x / (s g)) · s g             bits per value: 4.5
Learn:   course/4_quantization/4_9_the_tables.ipynb

The MX scale is a power of two: dividing by it is exact and costs hardware nothing. But its floor puts the largest value
of a block anywhere from 4 to 8 times the scale where E2M1 ends at 6: what lies above saturates. NVFP4 has finer scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.core.check import check_finite
from frugal.quant.granularity import PerGroup
from frugal.quant.grids import FloatGrid

E4M3 = FloatGrid(4, 3, largest=448.0)
E2M1 = FloatGrid(2, 1)
LOWEST_SCALE, HIGHEST_SCALE = -127, 127  # exponents of E8M0, the eight-bit power of two


@dataclass(frozen=True)
class MXFormat:
    """One of the OCP formats: which element, and how many share a scale.

    element:    the grid of a value after its block's scale is divided out.
    block_size: values per scale, along the last axis.
    """

    element: FloatGrid
    block_size: int = 32

    @property
    def bits_per_value(self) -> float:
        """Sign, exponent and mantissa, and the value's share of the scale's 8 bits."""
        return 1 + self.element.exponent_bits + self.element.mantissa_bits + 8 / self.block_size

    @property
    def e_max(self) -> int:
        """The exponent of the element's largest value."""
        return torch.frexp(torch.tensor(self.element.max_value)).exponent.item() - 1  # type: ignore[return-value]


MXFP4 = MXFormat(E2M1)
MXFP6_E3M2 = MXFormat(FloatGrid(3, 2))
MXFP6_E2M3 = MXFormat(FloatGrid(2, 3))
MXFP8_E4M3 = MXFormat(E4M3)
MXFP8_E5M2 = MXFormat(FloatGrid(5, 2, largest=57344.0))


@dataclass(frozen=True, eq=False)
class Blocks:
    """Values and the scales that they share.

    values:     on the element's grid, the shape of the tensor.
    scale:      one per block, [..., blocks]; all that multiplies a value, the tensor's own scale included.
    block_size: values per block.
    """

    values: Tensor
    scale: Tensor
    block_size: int

    def dequantize(self) -> Tensor:
        """Return the reals that values and scales stand for."""
        return self.values * PerGroup(self.block_size).spread(self.scale, self.values)


def quantize_mx(x: Tensor, form: MXFormat = MXFP4) -> Blocks:
    """Store a tensor in an MX format.

    Args:
        x: [..., n], finite; the block size divides n.
        form: ``MXFP4``, ``MXFP6_E3M2``, ``MXFP6_E2M3``, ``MXFP8_E4M3`` or ``MXFP8_E5M2``.

    >>> blocks = quantize_mx(torch.tensor([[7.9, 1.0] + [0.0] * 30]))
    >>> blocks.scale.item(), blocks.dequantize()[0, :2].tolist()  # 7.9 saturates at 6
    (1.0, [6.0, 1.0])
    """
    check_finite(x, "x")
    largest = PerGroup(form.block_size).blocks(x.detach().abs()).amax(dim=-1)
    exponent = torch.frexp(largest).exponent - 1 - form.e_max  # of 0: any; its block is all zeros
    scale = torch.exp2(exponent.clamp(LOWEST_SCALE, HIGHEST_SCALE).double()).to(x.dtype)
    return _blocks(x, scale, form.element, form.block_size)


def quantize_nvfp4(x: Tensor, block_size: int = 16) -> Blocks:
    """Store a tensor in NVFP4: E2M1 values, an E4M3 scale for each 16 of them, one float32 scale for all.

    The largest block's scale is exactly 448, the largest that E4M3 has.
    """
    check_finite(x, "x")
    largest = PerGroup(block_size).blocks(x.detach().abs()).amax(dim=-1)
    whole = largest.max() / (E4M3.max_value * E2M1.max_value)
    if whole == 0:
        return _blocks(x, torch.ones_like(largest), E2M1, block_size)
    scale = E4M3.quantize(largest / (E2M1.max_value * whole)) * whole
    return _blocks(x, scale, E2M1, block_size)


def _blocks(x: Tensor, scale: Tensor, element: FloatGrid, block_size: int) -> Blocks:
    spread = PerGroup(block_size).spread(scale, x)
    divided = torch.where(spread > 0, x / spread.clamp(min=torch.finfo(x.dtype).tiny), 0.0)  # a scale may round to 0
    return Blocks(element.quantize(divided), scale, block_size)
