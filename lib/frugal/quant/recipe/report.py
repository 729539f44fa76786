"""What a recipe made: the network, and what can be said of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from frugal.core.errors import UnsupportedModel
from frugal.measure.results import lay_out
from frugal.quant.integer import Int8Network, to_int8
from frugal.quant.layers import QuantizedLayer, quantizable_layers
from frugal.quant.recipe.grids import GridLayer

if TYPE_CHECKING:
    from frugal.quant.recipe.card import Recipe


@dataclass(frozen=True)
class LayerReport:
    """One layer.

    name:            of the layer.
    weight_bits:     of each code; 32 where it stayed in float.
    activation_bits: of its input; 32 likewise.
    weight_sqnr_db:  10 log10 of the weight's squares over those of its error; infinite without error.
    output_sqnr_db:  the same for what it puts out on the calibration data, against the float network's: the errors of
                     all layers before are in it. None where there was no data.
    size_bytes:      weight, scales and bias.
    """

    name: str
    weight_bits: int
    activation_bits: int
    weight_sqnr_db: float
    output_sqnr_db: float | None
    size_bytes: float


@dataclass(frozen=True)
class Report:
    """The whole network.

    layers:      in the order in which they run.
    size_bytes:  of all of it, codes as if packed.
    float_bytes: of the network before, its batch norms folded.
    seconds:     that the recipe took.
    score:       what the caller's function says of the result, such as accuracy; None without one.
    """

    layers: tuple[LayerReport, ...]
    size_bytes: float
    float_bytes: float
    seconds: float
    score: float | None = None

    def __str__(self) -> str:
        head = ("layer", "W", "A", "weight dB", "output dB", "bytes")
        rows = [
            (
                each.name,
                str(each.weight_bits),
                str(each.activation_bits),
                f"{each.weight_sqnr_db:.1f}",
                "" if each.output_sqnr_db is None else f"{each.output_sqnr_db:.1f}",
                f"{each.size_bytes:,.0f}",
            )
            for each in self.layers
        ]
        words = f"{self.size_bytes:,.0f} bytes of {self.float_bytes:,.0f}, {self.seconds:.1f} s"
        score = "" if self.score is None else f", score {self.score:.2f}"
        return f"{lay_out(head, rows)}\n{words}{score}"


@dataclass(frozen=True, eq=False)
class Quantized:
    """What ``quantize`` and ``load`` return.

    network: in eval mode; its layers hold integer codes, or reals on a grid that has none.
    recipe:  what made it.
    report:  sizes and errors.
    source:  class and shapes of the float network that it was made from.
    """

    network: nn.Module
    recipe: Recipe
    report: Report
    source: dict[str, object]

    def __call__(self, *inputs: Tensor) -> Tensor:
        with torch.no_grad():
            result: Tensor = self.network(*inputs)
        return result

    def to_int8(self, calibration: Tensor, *, isa: str | None = None) -> Int8Network:
        """Give the network to the int8 kernels: weights and inputs of layers keep their codes.

        ``integer.agreement(result, x)`` counts the codes that differ from fake quantization. Sums of branches become
        codes too there, with the parameters of the layer that reads them; here they stay real.

        Args:
            calibration: inputs that choose the parameters that the recipe did not, such as those of averages.
            isa: the kernels' path; None for the widest.

        Raises:
            UnsupportedModel: a layer has no codes of 8 bits or fewer; the message names them.
        """
        refused = [name for name, reason in _without_codes(self.network).items() if reason]
        if refused:
            raise UnsupportedModel(
                f"{len(refused)} layers have no uniform codes for weight and input ({', '.join(refused[:5])}); the "
                "int8 kernels need grid='uniform' and bits for both"
            )
        return to_int8(self.network, calibration, isa=isa)


def _without_codes(network: nn.Module) -> dict[str, bool]:
    wrapped = {name: m for name, m in network.named_modules() if isinstance(m, (QuantizedLayer, GridLayer))}
    inside = tuple(f"{name}." for name in wrapped) or ("\0",)
    plain = [name for name in quantizable_layers(network) if not name.startswith(inside)]
    return {name: not has_codes(layer) for name, layer in wrapped.items()} | dict.fromkeys(plain, True)


def has_codes(layer: nn.Module) -> bool:
    """Whether weight and input are integer codes."""
    return isinstance(layer, QuantizedLayer) and None not in (layer.weight_qparams, layer.activation_qparams)


def sqnr_db(signal: Tensor, noisy: Tensor) -> float:
    """Signal over quantization noise, 10 log10(Σ x² / Σ (x - x̂)²); infinite without noise.

    >>> round(sqnr_db(torch.ones(4), torch.full((4,), 1.1)), 1)
    20.0
    """
    noise = (signal - noisy).double().square().sum().item()
    power = signal.double().square().sum().item()
    if noise == 0:
        return math.inf
    return 10 * math.log10(power / noise) if power else -math.inf
