"""One layer at a time: choose its grids, round its weight, mend its bias, measure what is left.

x, as it is ──► range ──► codes of the input ─┐
                                              ├─► rounding ─► moments ─► bias ─► layer of codes
weight ───────► range ──► grid of the weight ─┘
x_float ──────► what the float layer answers: the target of rounding and bias
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from frugal.quant.affine import QParams, choose_qparams, dequantize, quantize
from frugal.quant.config import QuantSpec
from frugal.quant.granularity import Granularity, PerChannel, PerGroup
from frugal.quant.layers import QuantizedLayer, StoredQParams, weight_granularity, weight_of
from frugal.quant.methods.aciq import correct_weight
from frugal.quant.methods.spiq import input_qparams
from frugal.quant.recipe.card import Operand, Recipe
from frugal.quant.recipe.grids import UNIFORM, WEIGHT_GRIDS, GridInput, GridLayer, OnGrid, channel_bits, largest_divisor
from frugal.quant.recipe.ranges import RANGES, Codes, thinned
from frugal.quant.recipe.report import LayerReport, sqnr_db
from frugal.quant.recipe.tables import ROUNDINGS, Bits, LayerBits
from frugal.quant.sequential import sample_inputs
from frugal.quant.statistics import Moments
from frugal.quant.transforms import effective_weight, operation_of, scale_inputs_

Input = QParams | QuantSpec | GridInput | None  # what happens to a layer's input
OWN_WIDTH = ("ternary", "binary", "fp8", "mx")  # grids that exist at one width


class CodesInput(nn.Module):
    """Quantizes a layer's input with fixed parameters, for a layer whose weight has no uniform codes."""

    def __init__(self, qparams: QParams) -> None:
        super().__init__()
        self.stored = StoredQParams(qparams)

    def forward(self, x: Tensor) -> Tensor:
        return through(self.stored(), x)


class DynamicInput(nn.Module):
    """Quantizes a layer's input with parameters chosen anew for each."""

    def __init__(self, spec: QuantSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, x: Tensor) -> Tensor:
        return through(self.spec, x)


def through(chosen: Input, x: Tensor) -> Tensor:
    """What a layer's input becomes."""
    if chosen is None:
        return x
    if isinstance(chosen, GridInput):
        return chosen(x)
    if isinstance(chosen, QuantSpec):
        chosen = choose_qparams(
            x, chosen.num_bits, symmetric=chosen.symmetric, granularity=chosen.granularity, signed=chosen.signed
        )
    return dequantize(quantize(x, chosen), chosen)


@dataclass(eq=False)
class Fitter:
    """Makes the layers of a network one after another, and keeps a report of each.

    recipe:  what to do.
    bits:    of each layer.
    moments: of each layer's input, where there is no data.
    made:    layers that are made already (block by block); they get their bias and their report here.
    watch:   is shown each report.
    """

    recipe: Recipe
    bits: LayerBits
    moments: Mapping[str, Moments] | None = None
    made: Mapping[str, nn.Module] | None = None
    watch: Callable[[LayerReport], None] | None = None
    reports: list[LayerReport] = field(default_factory=list)

    @torch.no_grad()
    def visit(self, name: str, layer: nn.Module, x: Tensor, x_float: Tensor) -> nn.Module:
        """Make a layer on data: for ``sequential.walk``."""
        new = self.made[name] if self.made is not None else self._layer(name, layer, x, x_float)
        target, answer = layer(x_float), new(x)
        if new is not layer and self._corrects("bias"):
            shift = channel_means(layer, answer.double() - target.double())
            add_bias_(new, -shift)
            answer = answer - lay_along(layer, shift.to(answer.dtype), answer)
        self._report(name, layer, new, sqnr_db(target, answer))
        return new

    @torch.no_grad()
    def alone(self, name: str, layer: nn.Module) -> nn.Module:
        """Make a layer without data."""
        new = self._layer(name, layer, None, None)
        self._report(name, layer, new, None)
        return new

    def _layer(self, name: str, layer: nn.Module, x: Tensor | None, x_float: Tensor | None) -> nn.Module:
        bits = self.bits[name]
        if bits.weight is None and bits.activation is None:
            return layer
        chosen = self._input(name, layer, bits, x)
        if bits.weight is None:
            return _assembled(layer, None, chosen)
        seen = None if x is None else through(chosen, x)
        return _assembled(layer, self._weight(layer, bits, chosen, seen, x_float), chosen)

    def _input(self, name: str, layer: nn.Module, bits: Bits, x: Tensor | None) -> Input:
        operand = self.recipe.activations
        if operand is None or bits.activation is None:
            return None
        if x is None:
            return self._input_from_norms(name, layer, operand, bits.activation)
        if operand.grid.name != UNIFORM and not _leaves_grid(operand, bits.activation):
            return GridInput(operand.grid.name, operand.grid.options, bits.activation, x.abs().max())
        granularity = operand.sharing()
        if operand.granularity.name == "per_token":
            return QuantSpec(bits.activation, operand.symmetric, granularity)
        if isinstance(granularity, PerChannel):
            granularity = PerChannel(channel_axis(layer))
        # With a scale for each channel and no zero-point, what ReLU made positive need not pay for a sign.
        signed = not (operand.symmetric and isinstance(granularity, PerChannel) and bool((x >= 0).all()))
        codes = Codes(bits.activation, operand.symmetric, signed, granularity)
        return _ranged(operand, x if operand.range.name == "minmax" else thinned(x), codes)

    def _input_from_norms(self, name: str, layer: nn.Module, operand: Operand, num_bits: int) -> QParams:
        assert self.moments is not None
        moments = self.moments[name if name in self.moments else name.removesuffix(".layer")]
        if operand.granularity.name == "per_channel":
            return replace(input_qparams(moments, num_bits), granularity=PerChannel(channel_axis(layer)))
        low, high = moments.low.min().float(), moments.high.max().float()
        return _ranged(replace(operand, range="minmax"), torch.stack([low, high]), Codes(num_bits, operand.symmetric))

    def _weight(
        self, layer: nn.Module, bits: Bits, chosen: Input, seen: Tensor | None, x_float: Tensor | None
    ) -> OnGrid:
        if isinstance(chosen, QParams) and isinstance(chosen.granularity, PerChannel):
            return self._weight_in_input_units(layer, bits, chosen, seen, x_float)
        operand, weight = self.recipe.weights, weight_of(layer).detach()
        assert operand is not None
        assert bits.weight is not None
        granularity = fitting(layer, operand.sharing())
        grid = WEIGHT_GRIDS[operand.grid.name]
        if bits.channels:
            found = channel_bits(weight, bits.weight, clip=operand.range.name == "aciq")
        elif grid is not None and not _leaves_grid(operand, bits.weight):
            found = grid(weight, bits.weight, granularity, **operand.grid.options)
        else:
            qparams = _ranged(operand, weight, Codes(bits.weight, operand.symmetric, True, granularity))
            found = OnGrid(self._rounded(layer, qparams, seen, x_float), bits.weight, qparams)
        if self._corrects("weight_moments"):
            corrected = correct_weight(weight, found.values)
            return OnGrid(corrected, found.bits + 64 * len(weight) / weight.numel())
        return found

    def _weight_in_input_units(
        self, layer: nn.Module, bits: Bits, inputs: QParams, seen: Tensor | None, x_float: Tensor | None
    ) -> OnGrid:
        """After [41]: a scale per input channel cannot leave the sum; the weight takes it in before it is rounded."""
        inside = copy.deepcopy(layer)
        scale_inputs_(inside, inputs.scale)
        if seen is not None and x_float is not None:
            steps = lay_along(layer, inputs.scale, seen)
            seen, x_float = seen / steps, x_float / steps
        found = self._weight(inside, bits, None, seen, x_float)
        weight_of(inside).copy_(found.values)
        scale_inputs_(inside, 1 / inputs.scale)
        weight = weight_of(inside).detach()
        return OnGrid(weight, found.bits + 32 * (weight.shape[0] + inputs.scale.numel()) / weight.numel())

    def _rounded(self, layer: nn.Module, qparams: QParams, seen: Tensor | None, x_float: Tensor | None) -> Tensor:
        entry, options = ROUNDINGS[self.recipe.rounding.name], dict(self.recipe.rounding.options)
        inputs = None
        if entry.data:
            assert seen is not None
            assert x_float is not None
            rows = options.get("rows", DEFAULT_ROWS)
            inputs = sample_inputs(layer, seen, x_float, rows)
        weight: Tensor = entry.run(weight_of(layer).detach(), qparams, inputs, **options)
        return weight

    def _corrects(self, name: str) -> bool:
        return any(each.name == name for each in self.recipe.corrections)

    def _report(self, name: str, layer: nn.Module, new: nn.Module, output_sqnr_db: float | None) -> None:
        bits = self.bits[name]
        weight_sqnr = sqnr_db(weight_of(layer), effective_weight(new))
        size = layer_bytes(new, bits)
        report = LayerReport(name, bits.weight or 32, bits.activation or 32, weight_sqnr, output_sqnr_db, size)
        self.reports.append(report)
        if self.watch is not None:
            self.watch(report)


DEFAULT_ROWS = 20_000


def fitting(layer: nn.Module, granularity: Granularity) -> Granularity:
    """Turn a granularity into one that fits the layer: its own output axis, groups that divide its inputs."""
    if isinstance(granularity, PerGroup):
        inputs = weight_of(layer).shape[1]
        return PerGroup(largest_divisor(inputs, granularity.group_size), axis=1)
    return weight_granularity(layer, granularity)


def channel_axis(layer: nn.Module) -> int:
    """Where a layer's inputs and outputs count their channels."""
    return -1 if isinstance(layer, nn.Linear) else 1


def lay_along(layer: nn.Module, values: Tensor, x: Tensor) -> Tensor:
    """Give one value per channel a shape that broadcasts against the layer's input or output ``x``."""
    return values if channel_axis(layer) == -1 else values.view(-1, *[1] * (x.ndim - 2))


def channel_means(layer: nn.Module, y: Tensor) -> Tensor:
    """Mean of each channel of a layer's output.  [out]"""
    axis = channel_axis(layer) % y.ndim
    return y.mean([dim for dim in range(y.ndim) if dim != axis])


def add_bias_(new: nn.Module, shift: Tensor) -> None:
    """Add ``shift`` [out] to the bias of a layer, which gets one if it has none."""
    operation: Any = operation_of(new)
    weight_dtype = torch.float32 if operation.bias is None else operation.bias.dtype
    bias = torch.zeros_like(shift) if operation.bias is None else operation.bias.detach().double()
    operation.bias = nn.Parameter((bias + shift).to(weight_dtype), requires_grad=False)


def layer_bytes(layer: nn.Module, bits: Bits) -> float:
    """Codes as if packed, scales, zero-points where there are any, bias."""
    operation: Any = operation_of(layer)
    total = 0.0 if operation.bias is None else 32.0 * operation.bias.numel()
    if isinstance(layer, GridLayer):
        total += layer.bits * operation.weight.numel()
    elif isinstance(layer, QuantizedLayer) and layer.weight_qparams is not None:
        stored = layer.weight_qparams
        assert bits.weight is not None
        total += bits.weight * layer.codes.numel() + (64 if stored.zero_point.any() else 32) * stored.scale.numel()
    else:
        total += 32 * operation.weight.numel()
    return total / 8


def _leaves_grid(operand: Operand, bits: int) -> bool:
    """Whether an allocation gave the layer another width than the one at which its grid exists: then it is uniform."""
    return operand.grid.name in OWN_WIDTH and bits != operand.bits


def _ranged(operand: Operand, x: Tensor, codes: Codes) -> QParams:
    return RANGES[operand.range.name](x, codes, **operand.range.options)


def _assembled(layer: nn.Module, weight: OnGrid | None, chosen: Input) -> nn.Module:
    """Integer codes where both operands have them, else a layer of reals on a grid."""
    uniform = weight is None or weight.qparams is not None
    if uniform and not isinstance(chosen, GridInput):
        rounded = copy.deepcopy(layer)
        if weight is None:
            return QuantizedLayer(rounded, None, chosen)
        weight_of(rounded).copy_(weight.values)
        return QuantizedLayer(rounded, weight.qparams, chosen)
    values = weight_of(layer).detach() if weight is None else weight.values
    return GridLayer(layer, values, 32 if weight is None else weight.bits, as_module(chosen))


def as_module(chosen: Input) -> nn.Module | None:
    """What happens to a layer's input, as a module."""
    if isinstance(chosen, QParams):
        return CodesInput(chosen)
    return DynamicInput(chosen) if isinstance(chosen, QuantSpec) else chosen
