"""Carry a recipe out: transforms, bits, then one pass over the layers; the network itself is unchanged.

    model ─► transforms ─► bits of each layer ─► walk: range, round, correct ─► Quantized
                                                  ▲ each layer sees what the layers before it have become
Learn:   course/4_quantization/4_5_post_training.ipynb
"""

from __future__ import annotations

import copy
import glob
import time
from collections.abc import Callable

from torch import Tensor, nn

from frugal.quant.config import LayerConfig, QuantConfig, QuantSpec
from frugal.quant.layers import map_layers, quantizable_layers
from frugal.quant.methods.brecq import reconstruct
from frugal.quant.methods.dfq import correct_biases
from frugal.quant.recipe.card import Recipe
from frugal.quant.recipe.data import DATA, Batches, Calibration
from frugal.quant.recipe.fit import Fitter
from frugal.quant.recipe.report import LayerReport, Quantized, Report
from frugal.quant.recipe.saved import describe_model
from frugal.quant.recipe.tables import ALLOCATIONS, FOLD, ROUNDINGS, TRANSFORMS, Bits, LayerBits
from frugal.quant.sequential import walk


def quantize(
    model: nn.Module,
    recipe: Recipe,
    batches: Batches = None,
    *,
    score: Callable[[nn.Module], float] | None = None,
    watch: Callable[[LayerReport], None] | None = None,
) -> Quantized:
    """Quantize a network by a recipe.

    Args:
        model: float: a convolutional network, a transformer, a graph network; it stays as it was.
        recipe: what to do.
        batches: inputs without labels, or None where the recipe's data is "distilled" or "norms". A tensor counts as
            one batch; a batch of several inputs is a tuple, [(nodes, edges)].
        score: a function of the quantized network for the report, such as its accuracy.
        watch: called with the report of each layer as it is made.

    Returns:
        The network with layers of integer codes (of reals where a grid has none), the recipe, and the report.

    Raises:
        ValueError: the recipe does not fit the network or the data.
        UnsupportedModel: a transform cannot handle the network, or it mixes the rows of its inputs.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> small = quantize(net, Recipe(corrections="bias"), torch.randn(16, 8))
    >>> small.network[0].codes.dtype, small.report.size_bytes < small.report.float_bytes
    (torch.int8, True)
    """
    started = time.perf_counter()
    calibration = DATA[recipe.data.name](model, batches, **recipe.data.options)
    ready, with_norms = _transformed(model, recipe, calibration)
    bits = _allocated(ready, recipe, calibration)
    network, reports = _rounded(ready, with_norms, recipe, bits, calibration, watch)
    if any(each.name == "bias_from_norms" for each in recipe.corrections):
        network = correct_biases(with_norms, network, shape=_shape(recipe, calibration))
    network = network.requires_grad_(False).eval()
    parameters = _bytes_beside(ready)
    report = Report(
        tuple(reports),
        size_bytes=parameters + sum(each.size_bytes for each in reports),
        float_bytes=4.0 * sum(p.numel() for p in ready.parameters()),
        seconds=time.perf_counter() - started,
        score=None if score is None else score(network),
    )
    return Quantized(network, recipe, report, describe_model(model))


def _transformed(model: nn.Module, recipe: Recipe, calibration: Calibration) -> tuple[nn.Module, nn.Module]:
    """Return the float network that will be rounded, and the same before its batch norms were folded."""
    ready = with_norms = copy.deepcopy(model).eval()
    for each in recipe.transforms:
        if each.name == FOLD:
            with_norms = ready
        ready = TRANSFORMS[each.name].run(ready, calibration.batches(), **each.options)
        if FOLD not in [step.name for step in recipe.transforms]:
            with_norms = ready
    return ready.eval().requires_grad_(False), with_norms


def _allocated(ready: nn.Module, recipe: Recipe, calibration: Calibration) -> LayerBits:
    weights, activations = recipe.weights, recipe.activations
    default = Bits(weights and weights.bits, activations and activations.bits)  # type: ignore[arg-type]
    bits = dict.fromkeys(quantizable_layers(ready), default)
    for each in recipe.allocation:
        bits = ALLOCATIONS[each.name](bits, ready, calibration.batches(), **each.options)
    return bits


def _rounded(
    ready: nn.Module,
    with_norms: nn.Module,
    recipe: Recipe,
    bits: LayerBits,
    calibration: Calibration,
    watch: Callable[[LayerReport], None] | None,
) -> tuple[nn.Module, list[LayerReport]]:
    if calibration.inputs is None:
        assert calibration.moments is not None
        fitter = Fitter(recipe, bits, moments=calibration.moments(with_norms), watch=watch)
        return map_layers(ready, fitter.alone), fitter.reports
    made = None
    if ROUNDINGS[recipe.rounding.name].block:
        made = _blocks(ready, recipe, bits, calibration.inputs)
    fitter = Fitter(recipe, bits, made=made, watch=watch)
    return walk(ready, fitter.visit, calibration.inputs), fitter.reports


def _blocks(
    ready: nn.Module, recipe: Recipe, bits: LayerBits, inputs: Tensor | tuple[Tensor, ...]
) -> dict[str, nn.Module]:
    """Fit block by block, and return the layers by name."""
    if not isinstance(inputs, Tensor):
        raise ValueError(f"{recipe.rounding.name} takes networks of one input; this one has {len(inputs)}")
    schedule, metric = ROUNDINGS[recipe.rounding.name].run(**recipe.rounding.options)
    config = QuantConfig(per_layer={glob.escape(name): _config(recipe, each) for name, each in bits.items()})
    network = reconstruct(ready, config, inputs, schedule=schedule, metric=metric)
    return {name: network.get_submodule(name) for name in bits}


def _config(recipe: Recipe, bits: Bits) -> LayerConfig | None:
    """The same choice in the words of ``quant.config``."""
    weights, activations = recipe.weights, recipe.activations
    weight = activation = None
    if weights is not None and bits.weight is not None:
        weight = QuantSpec(bits.weight, weights.symmetric, weights.sharing(), "mse")
    if activations is not None and bits.activation is not None:
        activation = QuantSpec(bits.activation, activations.symmetric, activations.sharing(), activations.range.name)
    return None if weight is None and activation is None else LayerConfig(weight, activation)


def _shape(recipe: Recipe, calibration: Calibration) -> tuple[int, ...]:
    """Of one input."""
    if isinstance(calibration.inputs, Tensor):
        return tuple(calibration.inputs.shape[1:])
    return tuple(recipe.data.options.get("shape", (3, 32, 32)))


def _bytes_beside(network: nn.Module) -> float:
    """Bytes of the parameters that are no layer's: embeddings, norms."""
    inside = {id(p) for layer in quantizable_layers(network).values() for p in layer.parameters()}
    return 4.0 * sum(p.numel() for p in network.parameters() if id(p) not in inside)
