"""Transforms: rewrite a float network so that it computes the same and quantizes better (or, to test, worse).

Paper:   [26] Nagel et al., ICCV 2019, section 4.1.1: ReLU(s x) = s ReLU(x) for s > 0.
Formula: W1[i, :] / s_i   b1[i] / s_i   W2[:, i] · s_i            leaves W2 relu(W1 x + b1) + b2 as it was
Learn:   course/4_quantization/4_6_no_data.ipynb

A transform is a function ``(model, batches or None) -> model``; the model that it is given stays as it was. Batch norms
may be folded or not: the first layer of a link is rescaled through its batch norm where it has one.

    conv1 ─► bn1 ─► relu ─► conv2       a link: conv1's channels go to conv2 alone, through nothing but ReLU or pooling
      └─────────────────► add           no link: conv1's channels go elsewhere too
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, describe
from frugal.core.seed import generator
from frugal.graph.fold import NORMS
from frugal.graph.trace import ELEMENTWISE, layer_pairs, trace
from frugal.quant.layers import MappedLayer, QuantizedLayer, weight_of

Batches = Iterable[Tensor] | None
LINKED = (nn.Conv1d, nn.Conv2d, nn.Linear)
POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.MaxPool1d, nn.MaxPool2d)
HOMOGENEOUS = (*(kind for kind in ELEMENTWISE if kind is not nn.ReLU6), *POOLS, *NORMS)


@dataclass(frozen=True)
class Link:
    """Two layers whose shared channels may be rescaled.

    first, second: layer names.
    norm:          the batch norm right after the first, or None where it is folded.
    has_relu:      whether a ReLU lies between them.
    """

    first: str
    norm: str | None
    second: str
    has_relu: bool


def links(model: nn.Module) -> list[Link]:
    """Find the pairs of layers whose shared channels may be rescaled without changing the function.

    A ReLU6 between two layers breaks the pair, ``without_relu6`` takes it away; so do SiLU, sums, and a batch norm that
    comes after the activation.

    >>> links(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3)))
    [Link(first='0', norm='1', second='3', has_relu=True)]
    """
    seen = trace(model)
    found = []
    for pair in layer_pairs(model, LINKED, HOMOGENEOUS):
        between = [(name, model.get_submodule(name)) for name in pair.between]
        between = [(name, module) for name, module in between if not isinstance(module, nn.Identity)]
        norms = [name for name, module in between if isinstance(module, NORMS)]
        if norms and (norms != [between[0][0]] or len(seen.calls(between[0][1])) != 1):
            continue
        if norms and (norm := model.get_submodule(norms[0])) and (norm.weight is None or norm.running_mean is None):
            continue
        first, second = model.get_submodule(pair.first), model.get_submodule(pair.second)
        if _out_channels(first) != _in_channels(second):
            continue
        has_relu = any(isinstance(module, nn.ReLU) for _, module in between)
        found.append(Link(pair.first, norms[0] if norms else None, pair.second, has_relu))
    return found


def rescale_(model: nn.Module, link: Link, factors: Tensor) -> None:
    """Divide the channels between two layers by ``factors`` [channels], and multiply the second's weight by them."""
    first, second = model.get_submodule(link.first), model.get_submodule(link.second)
    check_finite(factors, "factors")
    if factors.shape != (_out_channels(first),) or (factors <= 0).any():
        raise ValueError(f"factors must be {_out_channels(first)} numbers above 0, got {describe(factors)}")
    with torch.no_grad():
        if link.norm is not None:
            norm: Any = model.get_submodule(link.norm)
            norm.weight.div_(factors)
            norm.bias.div_(factors)
        else:
            weight = weight_of(first)
            weight.div_(factors.view(-1, *[1] * (weight.ndim - 1)))
            if isinstance(first.bias, Tensor):
                first.bias.div_(factors)
    scale_inputs_(second, factors)


def by_input(layer: nn.Module) -> Tensor:
    """The weight seen from its inputs, [in, all that one input is multiplied with]; a copy.

    Group g of the inputs feeds group g of the outputs: a depthwise weight [c, 1, kh, kw] becomes [c, kh · kw].
    """
    weight, groups = weight_of(layer).detach(), int(getattr(layer, "groups", 1))
    grouped = weight.unflatten(0, (groups, -1))  # [groups, out / groups, in / groups, ...]
    return grouped.transpose(1, 2).flatten(0, 1).flatten(1).clone()


def scale_inputs_(layer: nn.Module, factors: Tensor) -> None:
    """Multiply the weights of each input channel by its factor, [in]."""
    weight, groups = weight_of(layer), int(getattr(layer, "groups", 1))
    if factors.shape != (_in_channels(layer),):
        raise ValueError(f"factors must be {_in_channels(layer)} numbers, got {describe(factors)}")
    laid = factors.to(weight.dtype).view(groups, 1, -1, *[1] * (weight.ndim - 2))
    with torch.no_grad():
        weight.copy_((weight.unflatten(0, (groups, -1)) * laid).flatten(0, 1))


def by_output(model: nn.Module, link: Link) -> Tensor:
    """The first layer's weight by output channel, as it will be once its batch norm is folded; a copy.  [out, k]"""
    weight = weight_of(model.get_submodule(link.first)).detach().flatten(1)
    if link.norm is None:
        return weight.clone()
    norm: Any = model.get_submodule(link.norm)
    return weight * (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()[:, None]


def add_to_bias_(model: nn.Module, layer_name: str, norm_name: str | None, shift: Tensor) -> None:
    """Add ``shift`` [out] to what a layer puts out before its batch norm, if it has one."""
    layer = model.get_submodule(layer_name)
    with torch.no_grad():
        if isinstance(layer.bias, Tensor):
            layer.bias.add_(shift.to(layer.bias.dtype))
        elif norm_name is not None:
            norm: Any = model.get_submodule(norm_name)
            norm.running_mean.sub_(shift.to(norm.running_mean.dtype))  # (y + shift) - mean = y - (mean - shift)
        else:
            layer.bias = nn.Parameter(shift.to(weight_of(layer).dtype))


def without_relu6(model: nn.Module, batches: Batches = None) -> nn.Module:
    """Return a copy with ReLU in place of ReLU6: the function changes where a value exceeded 6, then links appear."""
    changed = copy.deepcopy(model)
    for parent in list(changed.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU6):
                setattr(parent, name, nn.ReLU(child.inplace))
    return changed


def unequalise(model: nn.Module, strength: float = 1.5, seed: int = 0) -> nn.Module:
    """Return a twin that computes the same and quantizes badly: its hidden channels have very different ranges.

    Every channel of every link is scaled by a power of two near exp(strength · N(0, 1)). Powers of two change no
    mantissa: the twin's outputs equal the model's to the last bit or nearly so.

    Raises:
        ValueError: the network has no link; after ReLU6, see ``without_relu6``.
    """
    if not 0 <= strength <= 8:
        raise ValueError(f"strength must be from 0 to 8, got {strength}; 1.5 spoils 8 bits per tensor")
    twin = copy.deepcopy(model)
    found = links(twin)
    if not found:
        raise ValueError("this network has no pair of layers with ReLU between; replace ReLU6 by without_relu6(model)")
    for link in found:
        channels = _out_channels(twin.get_submodule(link.first))
        draw = torch.randn(channels, generator=generator("unequalise", seed, link.first))
        rescale_(twin, link, torch.exp2(torch.round(strength * draw / torch.log(torch.tensor(2.0)))))
    return twin


def operation_of(layer: nn.Module) -> nn.Module:
    """The convolution or linear layer inside a quantized or mapped one: it holds bias, stride and padding."""
    if isinstance(layer, QuantizedLayer):
        return layer.operation
    return layer.layer if isinstance(layer, MappedLayer) else layer


def effective_weight(layer: nn.Module) -> Tensor:
    """The weight that a float, mapped or quantized layer really multiplies with."""
    with torch.no_grad():
        if isinstance(layer, QuantizedLayer) and layer.weight_qparams is not None:
            return layer.dequantized_weight()
        weight = weight_of(operation_of(layer)).detach()
        if isinstance(layer, MappedLayer) and layer.weight_map is not None:
            return layer.weight_map(weight)
        return weight


def effective_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that a network really multiplies with, by layer name; wrapped layers keep the name of their place."""
    wrapped = {
        name: module for name, module in model.named_modules() if isinstance(module, (MappedLayer, QuantizedLayer))
    }
    inside = tuple(f"{name}." for name in wrapped)
    plain = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, LINKED) and not name.startswith(inside or ("\0",))
    }
    return {name: effective_weight(module) for name, module in {**wrapped, **plain}.items()}


def _out_channels(layer: Any) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _in_channels(layer: Any) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
