"""What to quantize, and how: a specification per tensor, a choice per layer.

Lecture: slides 20 to 24. The choices are those that [13] asks every paper to state: granularity, symmetric or not,
the first and the last layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from frugal.core.check import check_num_bits
from frugal.quant.granularity import Granularity, PerChannel, PerTensor
from frugal.quant.observers import Observer, observer_named


@dataclass(frozen=True)
class QuantSpec:
    """How one kind of tensor becomes codes.

    num_bits:    integer width, 2 to 8.
    symmetric:   real 0 at code 0, both signs with the same reach; otherwise a zero-point.
    granularity: which values share one scale.
    observer:    which range to cover: minmax, moving_average, percentile, kl, mse.
    signed:      int8 codes; otherwise uint8.
    """

    num_bits: int = 8
    symmetric: bool = True
    granularity: Granularity = field(default_factory=PerTensor)
    observer: str = "minmax"
    signed: bool = True

    def __post_init__(self) -> None:
        check_num_bits(self.num_bits)
        observer_named(self.observer)

    def new_observer(self, granularity: Granularity | None = None) -> Observer:
        """Make an observer that will choose parameters for this specification."""
        return observer_named(self.observer)(
            self.num_bits,
            symmetric=self.symmetric,
            granularity=granularity or self.granularity,
            signed=self.signed,
        )


@dataclass(frozen=True)
class LayerConfig:
    """The two tensors that a layer multiplies; None leaves one in float."""

    weight: QuantSpec | None = field(default_factory=lambda: QuantSpec(granularity=PerChannel(0)))
    activation: QuantSpec | None = field(default_factory=lambda: QuantSpec(symmetric=False))

    def with_bits(self, num_bits: int) -> LayerConfig:
        """Return the same choice at another width, for weights and activations."""
        return LayerConfig(
            self.weight and replace(self.weight, num_bits=num_bits),
            self.activation and replace(self.activation, num_bits=num_bits),
        )


@dataclass(frozen=True)
class QuantConfig:
    """How a whole network is quantized.

    default:         every convolution and linear layer, unless something below says otherwise.
    first_last_bits: the width of the first and the last layer, in the order of ``named_modules``; None: as the others.
    per_layer:       glob pattern of layer names -> its own choice, or None for float; the first match wins.
    """

    default: LayerConfig = field(default_factory=LayerConfig)
    first_last_bits: int | None = None
    per_layer: Mapping[str, LayerConfig | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.first_last_bits is not None:
            check_num_bits(self.first_last_bits)

    def for_layers(self, names: list[str]) -> dict[str, LayerConfig | None]:
        """Choose for each of the layers, given in order.

        Raises:
            ValueError: a pattern of ``per_layer`` matches none of them.
        """
        for pattern in self.per_layer:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(f"per_layer pattern {pattern!r} matches no layer; the layers are {', '.join(names)}")
        return {name: self._for_layer(name, name in (names[0], names[-1])) for name in names}

    def _for_layer(self, name: str, at_an_end: bool) -> LayerConfig | None:
        for pattern, choice in self.per_layer.items():
            if fnmatchcase(name, pattern):
                return choice
        if at_an_end and self.first_last_bits is not None:
            return self.default.with_bits(self.first_last_bits)
        return self.default


def weights_and_activations(
    weight_bits: int | None,
    activation_bits: int | None,
    *,
    per_channel: bool = True,
    symmetric_activations: bool = False,
    observer: str = "minmax",
    first_last_bits: int | None = None,
) -> QuantConfig:
    """Spell the usual choices in one line: W8A8 is ``weights_and_activations(8, 8)``.

    Weights are symmetric, per output channel or per tensor, over all their values; activations are per tensor, over
    the range that ``observer`` chooses on calibration data. None bits leave the tensor in float.
    """
    weight_granularity = PerChannel(0) if per_channel else PerTensor()
    weight = None if weight_bits is None else QuantSpec(weight_bits, granularity=weight_granularity)
    activation = (
        None
        if activation_bits is None
        else QuantSpec(activation_bits, symmetric=symmetric_activations, observer=observer)
    )
    return QuantConfig(LayerConfig(weight, activation), first_last_bits=first_last_bits)
