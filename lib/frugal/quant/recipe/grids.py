"""Grids: which reals the codes can say. The table that recipes name them from, and a layer for the uneven ones.

Papers:  [12] PWLQ, [14][15] Ristretto, [10] OMSE's sums, TWN, XNOR-Net, FP8, MX and NVFP4, HQQ.
Learn:   course/4_quantization/4_5_post_training.ipynb

A uniform grid ends as integer codes (``layers.QuantizedLayer``), ternary and binary weights too. What has no such
codes is kept as the reals that it stands for, with the bits that each value would take.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from frugal.quant.affine import QParams
from frugal.quant.granularity import Granularity
from frugal.quant.layers import MappedLayer
from frugal.quant.methods import microscaling
from frugal.quant.methods import pwlq as pwlq_method
from frugal.quant.methods.aciq import Aciq
from frugal.quant.methods.fp8 import E4M3, E5M2
from frugal.quant.methods.hqq import hqq as hqq_method
from frugal.quant.methods.omse import sum_of_codes
from frugal.quant.methods.ristretto import PowerOfTwoGrid
from frugal.quant.methods.ristretto import minifloat as minifloat_grid
from frugal.quant.methods.twn import FACTOR, ternarize
from frugal.quant.methods.xnor_net import binary_scale

UNIFORM = "uniform"
FLOAT8 = {"e4m3": E4M3, "e5m2": E5M2}
MX = {
    "mxfp4": microscaling.MXFP4,
    "mxfp6_e2m3": microscaling.MXFP6_E2M3,
    "mxfp6_e3m2": microscaling.MXFP6_E3M2,
    "mxfp8": microscaling.MXFP8_E4M3,
}


@dataclass(frozen=True, eq=False)
class OnGrid:
    """A weight on its grid.

    values:  the reals that are multiplied, the shape of the weight.
    bits:    per weight, with its share of scales.
    qparams: where the grid is uniform.
    """

    values: Tensor
    bits: float
    qparams: QParams | None = None


def pwlq(weight: Tensor, num_bits: int, granularity: Granularity, *, rule: str = "normal") -> OnGrid:
    """A fine step near 0, a coarse one in the tails; one bit more says which."""
    grid = pwlq_method.choose_grid(weight, num_bits, granularity=granularity, rule=rule)
    return OnGrid(grid.quantize(weight), num_bits + 1 + 64 * grid.limit.numel() / weight.numel())


def power_of_two(weight: Tensor, num_bits: int, granularity: Granularity) -> OnGrid:
    """Signs and exponents, down from the largest weight's: products are shifts."""
    return OnGrid(_powers(weight, num_bits, _largest(weight)), num_bits + 8 / weight.numel())


def minifloat(weight: Tensor, num_bits: int, granularity: Granularity, *, exponent_bits: int | None = None) -> OnGrid:
    """A small float; its largest value is moved, by a power of two, over the largest weight."""
    return OnGrid(_minifloat(weight, num_bits, _largest(weight), exponent_bits), num_bits + 8 / weight.numel())


def fp8(weight: Tensor, num_bits: int, granularity: Granularity, *, form: str = "e4m3") -> OnGrid:
    """FP8 with a scale for each block."""
    grid = _named(FLOAT8, form)
    largest = granularity.blocks(weight.abs()).amax(-1)
    scale = granularity.spread(torch.where(largest > 0, largest / grid.max_value, torch.ones_like(largest)), weight)
    return OnGrid(grid.quantize(weight / scale) * scale, 8 + 32 * largest.numel() / weight.numel())


def mx(weight: Tensor, num_bits: int, granularity: Granularity, *, form: str = "mxfp4") -> OnGrid:
    """Small floats in blocks of 32 of an output's weights, which share a power of two; ``nvfp4``: blocks of 16."""
    return OnGrid(_in_blocks(weight.flatten(1), form).view_as(weight), _block_bits(form))


def ternary(weight: Tensor, num_bits: int, granularity: Granularity, *, factor: float = FACTOR) -> OnGrid:
    """-α, 0, α."""
    made = ternarize(weight, factor, granularity)
    qparams = QParams(made.scale, torch.zeros_like(made.scale, dtype=torch.int32), -1, 1, granularity)
    return OnGrid(made.values.to(weight.dtype), 2 + 32 * made.scale.numel() / weight.numel(), qparams)


def binary(weight: Tensor, num_bits: int, granularity: Granularity) -> OnGrid:
    """-α, α."""
    scale = binary_scale(weight, granularity).clamp(min=torch.finfo(weight.dtype).tiny)
    qparams = QParams(scale, torch.zeros_like(scale, dtype=torch.int32), -1, 1, granularity)
    values = torch.where(weight < 0, -1.0, 1.0).to(weight.dtype) * granularity.spread(scale, weight)
    return OnGrid(values, 1 + 32 * scale.numel() / weight.numel(), qparams)


def hqq(weight: Tensor, num_bits: int, granularity: Granularity, *, group_size: int = 64, steps: int = 20) -> OnGrid:
    """Groups with a real zero-point, fitted to the weight alone."""
    rows = weight.flatten(1)
    group = largest_divisor(rows.shape[1], group_size)
    found = hqq_method(rows, num_bits, group_size=group, steps=steps)
    return OnGrid(found.dequantize().view_as(weight), num_bits + 64 / group)


def codes_sum(weight: Tensor, num_bits: int, granularity: Granularity, *, count: int = 2) -> OnGrid:
    """Several tensors of codes added up."""
    total = sum_of_codes(weight, num_bits, count, granularity=granularity)
    scales = sum(each.scale.numel() for each in total.qparams)
    return OnGrid(total.dequantize(), num_bits * count + 32 * scales / weight.numel())


def channel_bits(weight: Tensor, num_bits: int, *, clip: bool = False) -> OnGrid:
    """Uniform, with more bits for wide output channels: what allocation ``channel_bits`` asks for."""
    values = Aciq(num_bits, clip=clip, correct=False).quantize(weight)
    return OnGrid(values, num_bits + 64 * len(weight) / weight.numel())


WEIGHT_GRIDS: dict[str, Callable[..., OnGrid] | None] = {
    UNIFORM: None,  # a range and a rounding choose its codes
    "pwlq": pwlq,
    "power_of_two": power_of_two,
    "minifloat": minifloat,
    "fp8": fp8,
    "mx": mx,
    "ternary": ternary,
    "binary": binary,
    "hqq": hqq,
    "codes_sum": codes_sum,
}


def input_power_of_two(x: Tensor, num_bits: int, largest: Tensor) -> Tensor:
    """Signs and exponents; 0 becomes the smallest."""
    return _powers(x, num_bits, largest)


def input_minifloat(x: Tensor, num_bits: int, largest: Tensor, *, exponent_bits: int | None = None) -> Tensor:
    """A small float over the range that calibration saw."""
    return _minifloat(x, num_bits, largest, exponent_bits)


def input_fp8(x: Tensor, num_bits: int, largest: Tensor, *, form: str = "e4m3") -> Tensor:
    """FP8, with the scale that calibration gave."""
    grid = _named(FLOAT8, form)
    scale = torch.where(largest > 0, largest / grid.max_value, torch.ones_like(largest))
    return grid.quantize(x / scale) * scale


def input_mx(x: Tensor, num_bits: int, largest: Tensor, *, form: str = "mxfp4") -> Tensor:
    """Blocks along the channels, whose scales follow every input."""
    axis = 1 if x.ndim == 4 else -1
    return _in_blocks(x.movedim(axis, -1), form).movedim(-1, axis)


ACTIVATION_GRIDS: dict[str, Callable[..., Tensor] | None] = {
    UNIFORM: None,
    "power_of_two": input_power_of_two,
    "minifloat": input_minifloat,
    "fp8": input_fp8,
    "mx": input_mx,
}


class GridInput(nn.Module):
    """Puts a layer's input on a grid of ``ACTIVATION_GRIDS``.

    Args:
        grid, options: its name and its options.
        num_bits: of each value.
        largest: the largest magnitude of calibration, [].
    """

    largest: Tensor

    def __init__(self, grid: str, options: Mapping[str, Any], num_bits: int, largest: Tensor) -> None:
        super().__init__()
        self.grid, self.options, self.num_bits = grid, dict(options), num_bits
        self.register_buffer("largest", largest)

    def forward(self, x: Tensor) -> Tensor:
        function = ACTIVATION_GRIDS[self.grid]
        assert function is not None
        return function(x, self.num_bits, self.largest, **self.options)


class GridLayer(MappedLayer):
    """A layer whose weight is kept as the reals that it stands for, because its codes are not uniform.

    Args:
        layer: the float layer.
        values: its weight on the grid.
        bits: that each weight would take.
        activation: what its input passes through, or None.
    """

    def __init__(self, layer: nn.Module, values: Tensor, bits: float, activation: nn.Module | None) -> None:
        copied: Any = copy.deepcopy(layer).requires_grad_(False)
        copied.weight = nn.Parameter(values.to(copied.weight.dtype), requires_grad=False)
        super().__init__(copied, None, activation)
        self.bits = bits


def largest_divisor(n: int, limit: int) -> int:
    """The largest size of groups that divides n and is at most ``limit``.

    >>> largest_divisor(172, 16), largest_divisor(27, 64)
    (4, 27)
    """
    return max(size for size in range(1, min(n, limit) + 1) if n % size == 0)


def _largest(x: Tensor) -> Tensor:
    return x.detach().abs().max()


def _powers(x: Tensor, num_bits: int, largest: Tensor) -> Tensor:
    highest = round(math.log2(largest.item())) if largest > 0 else 0
    return PowerOfTwoGrid(highest - (1 << num_bits - 1) + 1, highest).quantize(x)


def _minifloat(x: Tensor, num_bits: int, largest: Tensor, exponent_bits: int | None) -> Tensor:
    grid = minifloat_grid(num_bits, exponent_bits or max(1, min(4, num_bits - 2)))
    scale = torch.exp2(torch.ceil(torch.log2(largest / grid.max_value))) if largest > 0 else torch.ones_like(largest)
    return grid.quantize(x / scale) * scale


def _in_blocks(x: Tensor, form: str) -> Tensor:
    """Give the last axis to an MX format; a last block that is not full is filled with zeros and cut again."""
    size = 16 if form == "nvfp4" else _named(MX, form).block_size
    n = x.shape[-1]
    filled = pad(x, (0, -n % size))
    blocks = microscaling.quantize_nvfp4(filled) if form == "nvfp4" else microscaling.quantize_mx(filled, MX[form])
    return blocks.dequantize()[..., :n].to(x.dtype)


def _block_bits(form: str) -> float:
    return 4.5 if form == "nvfp4" else _named(MX, form).bits_per_value


def _named(table: Mapping[str, Any], form: str) -> Any:
    if form not in table:
        more = ", nvfp4" if table is MX else ""
        raise ValueError(f"form must be one of {', '.join(table)}{more}; got {form!r}")
    return table[form]
