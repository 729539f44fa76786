"""Trade-offs: what else changed? A card that every quantized network shows, and bits that are learned.

Paper:   [13] Garg, Jain, Lou and Nahmias, arXiv 2102.06366, 2021, sections 3 and 4.
Formula: b = 2^v, rounded straight through;  loss + λ · (max(0, mean bits_w - t_w) + max(0, mean bits_a - t_a)),  λ = 2
Lesson:  the paper proposes no quantizer. It shows that choices which papers rarely state (granularity, zero-points,
         first and last layer, average or maximum bits, which checkpoint) move accuracy more than what is compared.
Learn:   course/4_quantization/4_5_post_training.ipynb

Memory follows the *maximum* of the activations' bits, because buffers are reused; papers like to quote the mean.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite
from frugal.quant.config import QuantConfig, QuantSpec
from frugal.quant.granularity import PerChannel, PerTensor, PerToken
from frugal.quant.layers import quantizable_layers
from frugal.quant.ste import round_through

GRANULARITIES = {PerTensor: "per tensor", PerChannel: "per channel", PerToken: "per token"}


@dataclass(frozen=True)
class Card:
    """Everything that must be equal before two accuracies may be compared.

    network, checkpoint:         which one; the first 16 digits of the sha256 over its weights.
    weight_bits, activation_bits: of each layer, in order; 32 where it stays float.
    bias_bits, accumulator_bits: 32 unless stated.
    weight_granularity, activation_granularity: per tensor, per channel, per group, per token.
    weight_symmetric, activation_symmetric: whether real 0 is code 0.
    first_last_exempt:           whether the first or the last layer has more bits than the others.
    residual_bits:               of what a shortcut carries: the "precision highway" if more than the activations have.
    batchnorm_folded:            before ranges were chosen.
    calibration_source, calibration_images, calibration_labels: which data was seen, how much, with labels or without.
    weight_range, activation_range: the rule that clips.
    scale_format:                float, power of two, or fixed point.
    """

    network: str
    checkpoint: str
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    weight_granularity: str
    activation_granularity: str
    weight_symmetric: bool
    activation_symmetric: bool
    first_last_exempt: bool
    batchnorm_folded: bool
    calibration_source: str
    calibration_images: int
    calibration_labels: bool
    weight_range: str
    activation_range: str
    bias_bits: int = 32
    accumulator_bits: int = 32
    residual_bits: int = 32
    scale_format: str = "float"

    def __post_init__(self) -> None:
        if not self.weight_bits or len(self.weight_bits) != len(self.activation_bits):
            raise ValueError(
                "a card lists the bits of every layer, weights and activations alike, got "
                f"{len(self.weight_bits)} and {len(self.activation_bits)}"
            )
        if self.calibration_images < 0:
            raise ValueError(f"calibration_images must be 0 or more, got {self.calibration_images}")

    @property
    def mean_activation_bits(self) -> float:
        """What papers like to quote."""
        return sum(self.activation_bits) / len(self.activation_bits)

    @property
    def max_activation_bits(self) -> int:
        """What memory is bought for."""
        return max(self.activation_bits)

    def to_json(self) -> str:
        """Write the card, one line per choice."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: a choice is missing or unknown.
        """
        stored = json.loads(text)
        wanted = {field.name for field in fields(cls)}
        if not isinstance(stored, dict) or set(stored) != wanted:
            found = sorted(stored) if isinstance(stored, dict) else type(stored).__name__
            raise ValueError(f"a card states {', '.join(sorted(wanted))}; got {found}")
        choices: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
        return cls(**choices)


def differences(a: Card, b: Card) -> dict[str, tuple[object, object]]:
    """List what differs between two cards: more than one entry, and the comparison says nothing about either.

    Returns:
        Name of the choice -> its two values.
    """
    one, other = asdict(a), asdict(b)
    return {name: (one[name], other[name]) for name in one if one[name] != other[name]}


def card_of(
    model: nn.Module,
    config: QuantConfig,
    *,
    calibration_source: str,
    calibration_images: int,
    calibration_labels: bool = False,
    batchnorm_folded: bool = True,
) -> Card:
    """Fill in the card of a float network that will be quantized by ``config``.

    >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> card_of(net, QuantConfig(), calibration_source="noise", calibration_images=8).weight_bits
    (8, 8)
    """
    names = list(quantizable_layers(model))
    choices = config.for_layers(names)
    weights = [choice.weight if choice else None for choice in choices.values()]
    inputs = [choice.activation if choice else None for choice in choices.values()]
    weight_bits, input_bits = (tuple(spec.num_bits if spec else 32 for spec in specs) for specs in (weights, inputs))
    body = [*weight_bits[1:-1], *input_bits[1:-1]]
    ends = [weight_bits[0], weight_bits[-1], input_bits[0], input_bits[-1]]
    weight, activation = _first(weights), _first(inputs)
    return Card(
        network=type(model).__name__,
        checkpoint=fingerprint(model),
        weight_bits=weight_bits,
        activation_bits=input_bits,
        weight_granularity=_words(weight),
        activation_granularity=_words(activation),
        weight_symmetric=weight.symmetric if weight else True,
        activation_symmetric=activation.symmetric if activation else True,
        first_last_exempt=bool(body) and max(ends) > max(body),
        batchnorm_folded=batchnorm_folded,
        calibration_source=calibration_source,
        calibration_images=calibration_images,
        calibration_labels=calibration_labels,
        weight_range=weight.observer if weight else "none",
        activation_range=activation.observer if activation else "none",
    )


def fingerprint(model: nn.Module) -> str:
    """The first 16 digits of the sha256 over all parameters and buffers, in order."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _first(specs: Sequence[QuantSpec | None]) -> QuantSpec | None:
    return next((spec for spec in specs if spec is not None), None)


def _words(spec: QuantSpec | None) -> str:
    return "none" if spec is None else GRANULARITIES.get(type(spec.granularity), "per group")


def confounders(config: QuantConfig) -> dict[str, QuantConfig]:
    """List the variations of one configuration that the paper warns of: each differs in one unstated choice only."""
    base = config.default
    if base.weight is None or base.activation is None:
        raise ValueError("confounders needs a configuration that quantizes weights and activations")
    per_channel = isinstance(base.weight.granularity, PerChannel)
    other = PerTensor() if per_channel else PerChannel(0)

    def with_default(**change: QuantSpec) -> QuantConfig:
        return replace(config, default=replace(base, **change))

    return {
        "as stated": config,
        "weights per tensor" if per_channel else "weights per channel": with_default(
            weight=replace(base.weight, granularity=other)
        ),
        "weights the other way about 0": with_default(weight=replace(base.weight, symmetric=not base.weight.symmetric)),
        "activations the other way about 0": with_default(
            activation=replace(base.activation, symmetric=not base.activation.symmetric)
        ),
        "first and last like the others" if config.first_last_bits else "first and last at 8 bits": replace(
            config, first_last_bits=None if config.first_last_bits else 8
        ),
    }


class LearnedBits(nn.Module):
    """A quantizer whose width is learned: the range is that of the data, b = 2^v counts its steps.

    Formula: y = low + s · round((clamp(x, low, high) - low) / s),  s = (high - low) / (2^b - 1),  b = round(2^v)

    The gradient reaches v through s: more bits, smaller steps, less error. Straight through both roundings.
    """

    def __init__(self, low: float, high: float, num_bits: float = 8.0) -> None:
        super().__init__()
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        if not 1 <= num_bits <= 16:
            raise ValueError(f"num_bits must be from 1 to 16, got {num_bits}")
        self.low, self.high = nn.Parameter(torch.tensor(float(low))), nn.Parameter(torch.tensor(float(high)))
        self.log_bits = nn.Parameter(torch.tensor(float(num_bits)).log2())

    def bits(self) -> Tensor:
        """The width in force, a whole number; its gradient is that of 2^v."""
        return round_through(torch.exp2(self.log_bits))

    def forward(self, x: Tensor) -> Tensor:
        check_finite(x, "x")
        step = (self.high - self.low) / (torch.exp2(self.bits()) - 1)
        inside = torch.minimum(torch.maximum(x, self.low), self.high)
        return self.low + step * round_through((inside - self.low) / step)


def excess_bits(
    weight_bits: Sequence[Tensor], activation_bits: Sequence[Tensor], targets: Mapping[str, float], factor: float = 2.0
) -> Tensor:
    """The penalty λ · (max(0, mean bits of weights - target) + the same of activations).

    Args:
        weight_bits, activation_bits: ``LearnedBits.bits()`` of each layer.
        targets: ``{"weights": …, "activations": …}``, mean bits.
        factor: λ; the paper uses 2.
    """
    if set(targets) != {"weights", "activations"}:
        raise ValueError(f"targets must name weights and activations, got {sorted(targets)}")
    over_w = torch.stack(list(weight_bits)).mean() - targets["weights"]
    over_a = torch.stack(list(activation_bits)).mean() - targets["activations"]
    return factor * (over_w.clamp(min=0) + over_a.clamp(min=0))
