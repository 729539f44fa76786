"""DFQ: eight bits without one image, by moving ranges and means to where the codes can hold them.

Paper:   [26] Nagel, van Baalen, Blankevoort and Welling, ICCV 2019, section 4, appendices A to D.
Formula: equalise     s_i = sqrt(r1_i / r2_i)            W1[i] / s_i, b1[i] / s_i, W2[:, i] · s_i; both ranges the same
         absorb       c = max(0, beta - 3 |gamma|)       b1 - c,  b2 + W2 c: ReLU passes c unchanged, 999 times of 1000
         correct      b - (Q(W) - W) · E[x]              E[x] from the batch norm: a normal cut at 0
         ranges       beta ± 6 |gamma|                   cut where the activation cuts
Lesson:  a scale shared by a whole tensor is as coarse as its widest channel; ReLU lets channels be made equal first.
Learn:   course/4_quantization/4_6_no_data.ipynb; lab 4.3

A batch norm may have learned a negative gamma: its size is the standard deviation, and formulas that use gamma itself
give ReLU a negative mean. ReLU6 is not homogeneous: ``transforms.without_relu6`` first. SiLU never is.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from frugal.graph.fold import fold_batchnorm, plan_folds
from frugal.quant.affine import QParams, qparams_from_range
from frugal.quant.config import QuantConfig, weights_and_activations
from frugal.quant.convert import Quantizer, convert, prepare
from frugal.quant.layers import MappedLayer, weight_of
from frugal.quant.statistics import Moments, input_moments, watch_inputs
from frugal.quant.transforms import (
    Batches,
    add_to_bias_,
    by_input,
    by_output,
    effective_weights,
    links,
    operation_of,
    rescale_,
)


def equalising_factors(first: Tensor, second: Tensor) -> Tensor:
    """Return s with max|first[i]| / s_i = s_i · max|second[i]|: both become sqrt(r1_i · r2_i).

    Args:
        first: the first weight by output channel, [channels, ...].
        second: the second weight by input channel, [channels, ...].

    Returns:
        [channels]; 1 where either is all zeros.

    >>> equalising_factors(torch.tensor([[8.0]]), torch.tensor([[2.0]]))
    tensor([2.])
    """
    if len(first) != len(second):
        raise ValueError(f"first has {len(first)} channels, second {len(second)}; they must be the same channels")
    r1, r2 = (weight.detach().flatten(1).abs().amax(1) for weight in (first, second))
    return torch.where(r1 * r2 > 0, torch.sqrt(r1 / r2), torch.ones_like(r1))


def precision(model: nn.Module) -> float:
    """The paper's objective, summed over all links: Σ_i (r1_i / R1) (r2_i / R2). Equalisation makes it largest."""
    total = 0.0
    for link in links(model):
        r1 = by_output(model, link).abs().amax(1)
        r2 = by_input(model.get_submodule(link.second)).abs().amax(1)
        total += ((r1 / r1.max()) * (r2 / r2.max())).sum().item()
    return total


def equalise(model: nn.Module, batches: Batches = None, *, rounds: int = 40, tolerance: float = 1e-4) -> nn.Module:
    """Return a copy that computes the same, its linked weight ranges equal channel by channel.

    Pairs are treated one after the other, again and again, until no factor is further than ``tolerance`` from 1.

    Args:
        model: traceable; batch norms folded or in place.
        batches: not used; here because a transform has it.
    """
    equal = copy.deepcopy(model)
    pairs = links(equal)
    for _ in range(rounds):
        furthest = 0.0
        for link in pairs:
            factors = equalising_factors(by_output(equal, link), by_input(equal.get_submodule(link.second)))
            rescale_(equal, link, factors)
            furthest = max(furthest, (factors - 1).abs().max().item())
        if furthest <= tolerance:
            break
    return equal


def absorb_biases(model: nn.Module, batches: Batches = None, *, deviations: float = 3.0) -> nn.Module:
    """Return a copy in which what ReLU always passes has moved on to the next layer's bias.

    The function stays as it was wherever the input of ReLU is at least c; at a padded border it changes a little,
    because the zeros of the padding are not h - c.

    Args:
        model: with its batch norms in place; they say where c is.
        batches: not used.
        deviations: c lies so many standard deviations below the mean.
    """
    absorbed = copy.deepcopy(model)
    norm_after = {layer: norm for norm, layer in plan_folds(absorbed).folds.items()}
    for link in links(absorbed):
        if link.norm is None or not link.has_relu:
            continue
        norm: Any = absorbed.get_submodule(link.norm)
        c = (norm.bias - deviations * norm.weight.abs()).detach().clamp(min=0)
        with torch.no_grad():
            norm.bias.sub_(c)
        second = absorbed.get_submodule(link.second)
        shift = through_weight(weight_of(second).detach(), c, int(getattr(second, "groups", 1)))
        add_to_bias_(absorbed, link.second, norm_after.get(link.second), shift)
    return absorbed


def through_weight(weight: Tensor, means: Tensor, groups: int = 1) -> Tensor:
    """What a layer makes of an input that has the same value ``means`` [in] at every pixel: [out]."""
    kernel_sums = weight.flatten(2).sum(2) if weight.ndim > 2 else weight  # [out, in / groups]
    grouped = kernel_sums.unflatten(0, (groups, -1))  # [groups, out / groups, in / groups]
    return torch.einsum("goi,gi->go", grouped, means.to(weight.dtype).view(groups, -1)).flatten()


def correct_biases(
    float_model: nn.Module,
    quantized_model: nn.Module,
    batches: Batches = None,
    *,
    shape: tuple[int, ...] = (3, 32, 32),
    pixels: Moments | None = None,
) -> nn.Module:
    """Return a copy of the quantized network whose layers have the mean output of the float ones.

    Each layer answers for its own weight error: E[y] is corrected by (Q(W) - W) · E[x], where E[x] is that of the float
    network. Correcting for the errors of all layers before as well was seen to collapse at 4 bits.

    Args:
        float_model: with batch norms in place if ``batches`` is None, in either state otherwise.
        quantized_model: the same network folded and quantized; layer names agree.
        batches: a few inputs, whose means are measured; None computes E[x] from the batch norms, without data.
        shape, pixels: of one input, and what it looks like; for the way without data.
    """
    folded = fold_batchnorm(float_model)
    corrected = copy.deepcopy(quantized_model)
    weights, rounded = effective_weights(folded), effective_weights(corrected)
    if missing := sorted(set(weights) ^ set(rounded)):
        raise ValueError(f"the two networks have different layers: {', '.join(missing[:5])}")
    if batches is None:
        means = {name: each.mean for name, each in input_moments(float_model, shape, pixels).items()}
    else:
        means = {name: _channel_means(x, weights[name]) for name, x in watch_inputs(folded, batches, weights).items()}
    for name, weight in weights.items():
        layer: Any = operation_of(corrected.get_submodule(name))
        error = rounded[name] - weight
        shift = through_weight(error.double(), means[name].double(), int(getattr(layer, "groups", 1)))
        bias = torch.zeros_like(shift) if layer.bias is None else layer.bias.detach().double()
        layer.bias = nn.Parameter((bias - shift).to(weight.dtype), requires_grad=False)
    return corrected


def _channel_means(x: Tensor, weight: Tensor) -> Tensor:
    axis = 1 if weight.ndim > 2 else x.ndim - 1
    return x.double().mean([dim for dim in range(x.ndim) if dim != axis])


def input_ranges(
    model: nn.Module,
    shape: tuple[int, ...] = (3, 32, 32),
    num_bits: int = 8,
    *,
    symmetric: bool = False,
    pixels: Moments | None = None,
) -> dict[str, QParams]:
    """Choose the range of every layer's input without data: from the lowest to the highest of its channels' ends."""
    return {
        name: qparams_from_range(
            each.low.min().float(), each.high.max().float(), num_bits, symmetric=symmetric
        )
        for name, each in input_moments(model, shape, pixels).items()
    }  # fmt: skip


def quantize_without_data(
    model: nn.Module,
    config: QuantConfig | None = None,
    *,
    shape: tuple[int, ...] = (3, 32, 32),
    pixels: Moments | None = None,
) -> nn.Module:
    """The paper's pipeline, whole: equalise, absorb, quantize with ranges from the batch norms, correct the biases.

    Args:
        model: with batch norms in place, no ReLU6.
        config: what to quantize; W8A8, one scale per tensor, by default. Its observers are not asked.
        shape, pixels: of one input, and what it looks like; by default normalised pictures.

    Returns:
        What ``convert`` returns: layers of integer codes, eval mode.
    """
    config = config or weights_and_activations(8, 8, per_channel=False)
    ready = absorb_biases(equalise(model))
    moments = input_moments(ready, shape, pixels)
    prepared = prepare(fold_batchnorm(ready), config)
    for name, module in prepared.named_modules():
        if isinstance(module, MappedLayer) and isinstance(module.activation_map, Quantizer):
            set_range_(module.activation_map, moments[name])
    return correct_biases(ready, convert(prepared), shape=shape, pixels=pixels)


def set_range_(quantizer: Quantizer, moments: Moments) -> None:
    """Fix a quantizer's parameters from moments, in place of calibration."""
    spec = quantizer.spec
    quantizer.watching = False
    quantizer.qparams = qparams_from_range(
        moments.low.min().float(),
        moments.high.max().float(),
        spec.num_bits,
        symmetric=spec.symmetric,
        signed=spec.signed,
    )
