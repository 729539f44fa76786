"""A recipe: everything that is decided before a network is quantized, as one value that reads like a card.

    Recipe(
        weights=Operand(4, range="omse", granularity="per_channel"),
        activations=Operand(4, range="mse", symmetric=False),
        transforms=("fold_batchnorm",),
        rounding=step("adaround", steps=400),
        allocation=step("first_last", bits=8),
        corrections="bias",
    )

Lecture: slides 20 to 24 and 31 to 33: what [13] asks every paper to state.
Learn:   course/4_quantization/4_5_post_training.ipynb
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from frugal.core.check import check_num_bits
from frugal.quant.granularity import Granularity
from frugal.quant.recipe.data import DATA, NORMS_ONLY
from frugal.quant.recipe.grids import ACTIVATION_GRIDS, UNIFORM, WEIGHT_GRIDS
from frugal.quant.recipe.ranges import RANGES
from frugal.quant.recipe.steps import Step, as_step, as_steps, check_step
from frugal.quant.recipe.tables import ALLOCATIONS, CORRECTIONS, FOLD, GRANULARITIES, ROUNDINGS, TRANSFORMS

BLOCK_RANGES = ("minmax", "percentile", "kl", "mse")  # of activations, as BRECQ's own observers have them


@dataclass(frozen=True)
class Operand:
    """How one of the two tensors of a layer becomes codes.

    bits:        width, 1 to 8; 1 for binary weights alone.
    range:       where the codes end: minmax, percentile, kl, mse, omse, aciq, ristretto.
    symmetric:   real 0 at code 0; otherwise a zero-point.
    granularity: per_tensor, per_channel, per_group; of activations also per_token (chosen anew for each input).
    grid:        uniform, or one of ``grids``.
    """

    bits: int = 8
    range: Any = "minmax"
    symmetric: bool = True
    granularity: Any = "per_tensor"
    grid: Any = UNIFORM

    def __post_init__(self) -> None:
        for name in ("range", "granularity", "grid"):
            object.__setattr__(self, name, as_step(getattr(self, name)))
        check_num_bits(self.bits, 1 if self.grid.name == "binary" else 2)
        check_step(RANGES, self.range, "range", lambda function: function)
        check_step(GRANULARITIES, self.granularity, "granularity", lambda function: function)

    @property
    def is_uniform(self) -> bool:
        return bool(self.grid.name == UNIFORM)

    def sharing(self) -> Granularity:
        """Which values share a scale."""
        return GRANULARITIES[self.granularity.name](**self.granularity.options)

    def to_json(self) -> dict[str, Any]:
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}


def _weights() -> Operand:
    return Operand(8, granularity="per_channel")


def _activations() -> Operand:
    return Operand(8, symmetric=False)


@dataclass(frozen=True)
class Recipe:
    """What to do to a network, in the order of the lines.

    data:        what calibrates: "batches" (given by the caller), "distilled" (drawn from the batch norms [3]), or
                 "norms" (no picture at all: ranges and means are computed from the batch norms [26]).
    transforms:  before anything is rounded; "fold_batchnorm" stands where batch norms are folded.
    weights, activations: how each becomes codes; None leaves it in float.
    allocation:  changes the widths of some layers: first_last, per_layer, channel_bits, pareto.
    rounding:    nearest, stochastic, adaround, gptq; brecq and qdrop fit whole blocks.
    corrections: weight_moments, bias, bias_from_norms.
    name:        for tables; any words.

    Raises:
        ValueError: a name or an option is unknown (the message lists those there are), or two choices do not go
            together.
    """

    weights: Operand | None = field(default_factory=_weights)
    activations: Operand | None = field(default_factory=_activations)
    transforms: Any = (FOLD,)
    rounding: Any = "nearest"
    allocation: Any = ()
    corrections: Any = ()
    data: Any = "batches"
    name: str = ""

    def __post_init__(self) -> None:
        for slot in ("transforms", "allocation", "corrections"):
            object.__setattr__(self, slot, as_steps(getattr(self, slot)))
        for slot in ("rounding", "data"):
            object.__setattr__(self, slot, as_step(getattr(self, slot)))
        self._check_names()
        self._check_order()
        self._check_together()

    def _check_names(self) -> None:
        for each in self.transforms:
            check_step(TRANSFORMS, each, "transform", lambda entry: entry.run)
        check_step(ROUNDINGS, self.rounding, "rounding", lambda entry: entry.run)
        for each in self.allocation:
            check_step(ALLOCATIONS, each, "allocation", lambda function: function)
        for each in self.corrections:
            check_step(CORRECTIONS, each, "correction", lambda words: _no_options)
        check_step(DATA, self.data, "data", lambda function: function)
        for operand, table, what in (
            (self.weights, WEIGHT_GRIDS, "weight grid"),
            (self.activations, ACTIVATION_GRIDS, "activation grid"),
        ):
            if operand is not None:
                check_step(table, operand.grid, what, lambda function: function or _no_options)

    def _check_order(self) -> None:
        names = [each.name for each in self.transforms]
        fold = names.index(FOLD) if FOLD in names else len(names)
        for position, name in enumerate(names):
            norms = TRANSFORMS[name].norms
            if norms == "needed" and position > fold:
                raise ValueError(f"transform {name!r} reads the batch norms; put it before {FOLD!r}")
            if norms == "folded" and position < fold and FOLD in names:
                raise ValueError(f"transform {name!r} changes the layers' inputs; put it after {FOLD!r}")

    def _check_together(self) -> None:
        rounding, corrections = ROUNDINGS[self.rounding.name], {each.name for each in self.corrections}
        if self.weights is None and self.activations is None:
            raise ValueError("weights and activations are both None, so nothing would be quantized")
        if self.weights is None and (self.rounding.name != "nearest" or "weight_moments" in corrections):
            raise ValueError("weights is None: there is nothing to round or to correct; give weights=Operand(...)")
        if self.weights is not None and not self.weights.is_uniform and self.rounding.name != "nearest":
            raise ValueError(
                f"rounding {self.rounding.name!r} chooses between neighbouring codes of a uniform grid; "
                f"the grid {self.weights.grid.name!r} takes the nearest"
            )
        self._check_granularities()
        if self.data.name == NORMS_ONLY:
            self._check_without_pictures(rounding.data, corrections)
        if rounding.block:
            self._check_blocks()
        if any(each.name == "channel_bits" for each in self.allocation):
            self._check_channel_bits()

    def _check_granularities(self) -> None:
        weights, activations = self.weights, self.activations
        if weights is not None and weights.granularity.name == "per_token":
            raise ValueError("weights have no tokens; their granularity is per_tensor, per_channel or per_group")
        if activations is None:
            return
        if activations.granularity.name == "per_group":
            raise ValueError("activations have one scale per tensor, per channel or per token, not per group")
        if activations.granularity.name == "per_channel" and not activations.symmetric:
            raise ValueError("activations with a scale per channel must be symmetric; say symmetric=True")

    def _check_without_pictures(self, looks_at_data: bool, corrections: set[str]) -> None:
        readers = [each.name for each in self.transforms if TRANSFORMS[each.name].batches]
        readers += [self.rounding.name] if looks_at_data else []
        readers += [each.name for each in self.allocation if each.name == "pareto"]
        readers += ["bias"] if "bias" in corrections else []
        readers += [] if self.activations is None or self.activations.is_uniform else [self.activations.grid.name]
        if readers:
            raise ValueError(
                f"{', '.join(readers)} looks at data, and data='norms' has none; data='distilled' draws some from the "
                "batch norms, 'bias_from_norms' corrects without any"
            )

    def _check_blocks(self) -> None:
        weights, activations = self.weights, self.activations
        assert weights is not None
        if any(each.name == "weight_moments" for each in self.corrections):
            raise ValueError(f"{self.rounding.name} fits its weights to the data; weight_moments would spoil that")
        if weights.range.name != "mse":
            raise ValueError(f"{self.rounding.name} takes the weight grid of least squared error; say range='mse'")
        if activations is not None and not (
            activations.is_uniform and activations.granularity.name == "per_tensor"
            and activations.range.name in BLOCK_RANGES and not activations.range.options
        ):  # fmt: skip
            raise ValueError(
                f"{self.rounding.name} learns one uniform scale per activation, from a range {', '.join(BLOCK_RANGES)} "
                f"without options; got {activations.granularity}, {activations.grid}, {activations.range}"
            )

    def _check_channel_bits(self) -> None:
        weights = self.weights
        if (
            self.rounding.name != "nearest" or weights is None or not weights.is_uniform
            or weights.range.name not in ("minmax", "aciq")
        ):  # fmt: skip
            raise ValueError(
                "channel_bits rounds a uniform weight to the nearest, its range minmax or aciq; got rounding "
                f"{self.rounding}, weights {_words(weights)}"
            )

    def to_json(self) -> dict[str, Any]:
        """Lists, numbers and words alone; ``Recipe.from_json`` reads them."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def from_json(cls, card: Mapping[str, Any] | str) -> Recipe:
        """Read what ``to_json`` gave, or its text; what is left out keeps its default.

        >>> Recipe.from_json(Recipe(rounding="gptq").to_json()).rounding.name
        'gptq'
        """
        words = json.loads(card) if isinstance(card, str) else dict(card)
        unknown = sorted(set(words) - {each.name for each in fields(cls)})
        if unknown:
            raise ValueError(
                f"a recipe has no {', '.join(unknown)}; it has {', '.join(each.name for each in fields(cls))}"
            )
        for slot in ("weights", "activations"):
            if isinstance(words.get(slot), Mapping):
                words[slot] = Operand(**words[slot])
        return cls(**words)

    def __str__(self) -> str:
        lines = [self.name] if self.name else []
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name != "name" and value != ():
                lines.append(f"{each.name:<12} {_words(value)}")
        return "\n".join(lines)


def _no_options() -> None:
    """Stands for an entry that is not a function."""


def _plain(value: Any) -> Any:
    if isinstance(value, (Step, Operand)):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _words(value: Any) -> str:
    if isinstance(value, Operand):
        kind = "symmetric" if value.symmetric else "affine"
        return f"{value.bits} bits, {kind}, {value.granularity}, {value.range}, {value.grid}"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "float" if value is None else str(value)
