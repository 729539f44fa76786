"""The other tables that recipes name their steps from: transforms, roundings, allocations, corrections.

Papers:  [26] transforms and corrections, [42] OCS, [3] data and bits, [2] moments and channel bits, AdaRound, GPTQ,
         BRECQ and QDrop, SmoothQuant, AWQ, QuaRot's rotation. Each entry is a few words around the paper's own file.
Learn:   course/4_quantization/4_5_post_training.ipynb

    transform    (model, batches)                      -> model that computes (nearly) the same
    rounding     (weight, qparams, inputs)             -> weight on its grid
    allocation   (bits of each layer, model, batches)  -> bits of each layer
    correction   of a weight, of a layer's bias, or of all biases at once from the batch norms
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from frugal.core.check import check_num_bits
from frugal.core.seed import generator
from frugal.graph.fold import fold_batchnorm
from frugal.nets.llama import Llama
from frugal.quant.affine import QParams
from frugal.quant.granularity import Granularity, PerChannel, PerGroup, PerTensor, PerToken
from frugal.quant.methods import adaround as adaround_method
from frugal.quant.methods import awq, dfq, hadamard, smooth_quant, zeroq
from frugal.quant.methods.brecq import Schedule
from frugal.quant.methods.gptq import gptq as gptq_method
from frugal.quant.methods.ocs import split_channels
from frugal.quant.recipe.grids import largest_divisor
from frugal.quant.rounding import ROUNDINGS as WHOLE_NUMBERS
from frugal.quant.rounding import LayerInputs, round_nearest
from frugal.quant.transforms import Batches, unequalise, without_relu6


def per_tensor() -> Granularity:
    return PerTensor()


def per_channel() -> Granularity:
    return PerChannel(0)


def per_token() -> Granularity:
    return PerToken()


def per_group(*, group_size: int = 16) -> Granularity:
    """A layer whose inputs the size does not divide takes the next smaller one that does."""
    return PerGroup(group_size)


GRANULARITIES: dict[str, Callable[..., Granularity]] = {
    "per_tensor": per_tensor,
    "per_channel": per_channel,
    "per_group": per_group,
    "per_token": per_token,
}


@dataclass(frozen=True)
class Transform:
    """A transform, and where it may stand.

    run:      (model, batches, options) -> model.
    norms:    "needed" before batch norms are folded only, "folded" after that only, "any".
    reshapes: whether it changes modules and shapes; then loading does it again.
    batches:  whether it looks at data.
    """

    run: Callable[..., nn.Module]
    norms: str = "any"
    reshapes: bool = False
    batches: bool = False


def fold(model: nn.Module, batches: Batches = None) -> nn.Module:
    return fold_batchnorm(model)


def unequal(model: nn.Module, batches: Batches = None, *, strength: float = 1.5, seed: int = 0) -> nn.Module:
    return unequalise(model, strength, seed)


def smooth(model: nn.Module, batches: Batches = None, *, alpha: float = 0.5) -> nn.Module:
    return smooth_quant.smooth(_language_model(model, "smooth"), batches or (), alpha)


def scale_salient(model: nn.Module, batches: Batches = None, *, num_bits: int = 4, group_size: int = 16) -> nn.Module:
    llama = _language_model(model, "scale_salient")
    group = largest_divisor(math.gcd(llama.shape.dim, llama.shape.hidden), group_size)
    return awq.scale_salient(llama, batches or (), num_bits, group_size=group)


def rotate(model: nn.Module, batches: Batches = None, *, seed: int = 0) -> nn.Module:
    return hadamard.rotate(_language_model(model, "rotate"), seed)


def _language_model(model: nn.Module, name: str) -> Llama:
    if not isinstance(model, Llama):
        raise ValueError(f"transform {name!r} is for language models (nets.llama.Llama), got {type(model).__name__}")
    return model


FOLD = "fold_batchnorm"
TRANSFORMS: dict[str, Transform] = {
    FOLD: Transform(fold, reshapes=True),
    "without_relu6": Transform(without_relu6, reshapes=True),
    "unequalise": Transform(unequal),
    "equalise": Transform(dfq.equalise),
    "absorb_biases": Transform(dfq.absorb_biases, norms="needed"),
    "split_channels": Transform(split_channels, norms="folded", reshapes=True),
    "smooth": Transform(smooth, batches=True),
    "scale_salient": Transform(scale_salient, batches=True),
    "rotate": Transform(rotate),
}


@dataclass(frozen=True)
class Rounding:
    """A rounding: what it needs, and whether it treats a layer or a block at once.

    run:   (weight, qparams, inputs, options) -> weight on its grid; of a block, its options make a ``Schedule``.
    data:  whether it looks at the layer's inputs.
    block: whether it fits whole blocks.
    """

    run: Callable[..., Any]
    data: bool = False
    block: bool = False


def stochastic(weight: Tensor, qparams: QParams, inputs: LayerInputs | None = None, *, seed: int = 0) -> Tensor:
    """Up or down by chance, so that the mean stays."""
    scale = qparams.granularity.spread(qparams.scale, weight)
    zero_point = qparams.granularity.spread(qparams.zero_point, weight)
    drawn = WHOLE_NUMBERS["stochastic"]
    codes = drawn(weight / scale, generator("recipe", seed, *weight.shape)) + zero_point  # type: ignore[call-arg]
    return (codes.clamp(qparams.quant_min, qparams.quant_max) - zero_point) * scale


def adaround(
    weight: Tensor,
    qparams: QParams,
    inputs: LayerInputs,
    *,
    steps: int = 400,
    rows: int = 20_000,
    learning_rate: float = 0.02,
    strength: float = 0.3,
) -> Tensor:
    with torch.enable_grad():
        return adaround_method.round_weight(
            weight, qparams, inputs, steps=steps, learning_rate=learning_rate, strength=strength
        )


def gptq(
    weight: Tensor,
    qparams: QParams,
    inputs: LayerInputs,
    *,
    rows: int = 20_000,
    damping: float = 0.01,
    act_order: bool = False,
) -> Tensor:
    return gptq_method(weight, qparams, inputs, damping=damping, act_order=act_order)


def brecq(
    *, steps: int = 1000, batch_size: int = 32, bias_rate: float = 0.0, metric: str = "mse"
) -> tuple[Schedule, str]:
    return Schedule(steps=steps, batch_size=batch_size, bias_rate=bias_rate, drop=0.0), metric


def qdrop(
    *, steps: int = 1000, batch_size: int = 32, bias_rate: float = 0.0, drop: float = 0.5
) -> tuple[Schedule, str]:
    return Schedule(steps=steps, batch_size=batch_size, bias_rate=bias_rate, drop=drop), "mse"


ROUNDINGS: dict[str, Rounding] = {
    "nearest": Rounding(lambda weight, qparams, inputs=None: round_nearest(weight, qparams)),
    "stochastic": Rounding(stochastic),
    "adaround": Rounding(adaround, data=True),
    "gptq": Rounding(gptq, data=True),
    "brecq": Rounding(brecq, data=True, block=True),
    "qdrop": Rounding(qdrop, data=True, block=True),
}


@dataclass(frozen=True)
class Bits:
    """Widths of one layer; None leaves a tensor in float. channels: whether wide output channels get more [2]."""

    weight: int | None
    activation: int | None
    channels: bool = False


LayerBits = dict[str, Bits]


def first_last(given: LayerBits, model: nn.Module, batches: Batches = None, *, bits: int = 8) -> LayerBits:
    """The first and the last layer, in the order of ``named_modules``, at another width."""
    check_num_bits(bits)
    ends = (next(iter(given)), list(given)[-1])
    return {name: _at(each, bits, bits) if name in ends else each for name, each in given.items()}


def per_layer(
    given: LayerBits, model: nn.Module, batches: Batches = None, *, patterns: Mapping[str, Any] | None = None
) -> LayerBits:
    """Glob pattern of layer names -> [weight bits, activation bits], one number for both, or None for float."""
    chosen = dict(given)
    for pattern, bits in (patterns or {}).items():
        names = [name for name in given if fnmatchcase(name, pattern)]
        if not names:
            raise ValueError(f"pattern {pattern!r} matches no layer; the layers are {', '.join(given)}")
        weight, activation = bits if isinstance(bits, (list, tuple)) else (bits, bits)
        for name in names:
            chosen[name] = _at(given[name], weight, activation) if bits is not None else Bits(None, None)
    return chosen


def channel_bits(given: LayerBits, model: nn.Module, batches: Batches = None) -> LayerBits:
    """The same bits on average in each weight, more of them for its wide output channels."""
    return {name: replace(each, channels=True) for name, each in given.items()}


def pareto(
    given: LayerBits,
    model: nn.Module,
    batches: Batches = None,
    *,
    budget: float = 5.0,
    choices: tuple[int, ...] = (2, 4, 8),
) -> LayerBits:
    """Weight bits by sensitivity, ``budget`` on average; activations keep theirs."""
    if batches is None:
        raise ValueError("allocation 'pareto' measures on inputs; give batches, or data='distilled' to draw them")
    found = zeroq.allocate_bits(model, batches, budget, choices=tuple(choices))
    return {name: replace(each, weight=found[name]) for name, each in given.items()}


def _at(given: Bits, weight: int | None, activation: int | None) -> Bits:
    """Change widths; what is float stays float."""
    return replace(given, weight=weight if given.weight else None, activation=activation if given.activation else None)


ALLOCATIONS: dict[str, Callable[..., LayerBits]] = {
    "first_last": first_last,
    "per_layer": per_layer,
    "channel_bits": channel_bits,
    "pareto": pareto,
}

CORRECTIONS: dict[str, str] = {
    "weight_moments": "each output channel of a rounded weight gets its mean and norm back [2]",
    "bias": "each layer's mean output on the data becomes that of the float layer",
    "bias_from_norms": "the same for the weight's error alone, from the batch norms, without data [26]",
}
