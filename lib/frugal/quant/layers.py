"""Layers with their two operands in other hands: weights and inputs that pass through a function before they meet.

    x ──► activation(x) ──┐
                          ├──► the layer's own operation ──► y
    w ──► weight(w) ──────┘

The function may fake-quantize, count, draw, or be a student's answer. ``QuantizedLayer`` is the end of the road: it
holds integer codes and no float weight.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from frugal.quant.affine import QParams, choose_qparams, dequantize, quantize
from frugal.quant.config import QuantSpec
from frugal.quant.granularity import Granularity, PerChannel

TensorMap = Callable[[Tensor], Tensor]
QUANTIZABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


def quantizable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the convolutions and linear layers of a network by name, in the order of ``named_modules``.

    Left out: the projections inside ``nn.MultiheadAttention``, which never calls them as layers.

    Raises:
        ValueError: there are none.
    """
    attention = tuple(
        f"{name}." if name else ""
        for name, module in model.named_modules()
        if isinstance(module, nn.MultiheadAttention)
    )
    layers: dict[str, nn.Module] = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, QUANTIZABLE) and not name.startswith(attention)
    }
    if not layers:
        raise ValueError(f"{type(model).__name__} has no convolution and no linear layer, so nothing can be quantized")
    return layers


def weight_granularity(layer: nn.Module, granularity: Granularity) -> Granularity:
    """Turn "per output channel" into the axis that holds the output channels: 1 in transposed convolutions, else 0."""
    transposed = isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    return PerChannel(1) if transposed and granularity == PerChannel(0) else granularity


def weight_of(layer: nn.Module) -> Tensor:
    """Return the float weight of a convolution or linear layer, [out, in, ...] or, transposed, [in, out, ...]."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


class MappedLayer(nn.Module):
    """A layer whose weight passes through ``weight`` and whose input passes through ``activation``."""

    layer: nn.Module

    def __init__(self, layer: nn.Module, weight: TensorMap | None, activation: TensorMap | None) -> None:
        super().__init__()
        self.layer = layer
        self.weight_map = weight
        self.activation_map = activation

    def forward(self, x: Tensor) -> Tensor:
        if self.activation_map is not None:
            x = self.activation_map(x)
        if self.weight_map is None:
            return self.layer(x)
        return torch.func.functional_call(self.layer, {"weight": self.weight_map(weight_of(self.layer))}, (x,))


class StoredQParams(nn.Module):
    """The same as ``QParams``, kept in buffers, so that it is saved and moved with its network."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, qparams: QParams) -> None:
        super().__init__()
        self.register_buffer("scale", qparams.scale)
        self.register_buffer("zero_point", qparams.zero_point)
        self.quant_min = qparams.quant_min
        self.quant_max = qparams.quant_max
        self.granularity = qparams.granularity

    def forward(self) -> QParams:
        return QParams(self.scale, self.zero_point, self.quant_min, self.quant_max, self.granularity)

    def extra_repr(self) -> str:
        return f"codes {self.quant_min} to {self.quant_max}, {self.granularity}"


class QuantizedLayer(nn.Module):
    """A layer that holds the integer codes of its weight, and quantizes its input with fixed parameters.

    The codes are multiplied as the reals they stand for; integer kernels multiply the codes themselves.

    Args:
        layer: the float layer; its bias and settings are kept, its weight is not.
        weight: parameters for its weight, or None to keep it in float.
        activation: parameters for its input; a ``QuantSpec`` chooses them anew for every input; None keeps it in float.
    """

    codes: Tensor  # the shape of the weight, int8 or uint8
    weight_qparams: StoredQParams | None
    activation_qparams: StoredQParams | None

    def __init__(self, layer: nn.Module, weight: QParams | None, activation: QParams | QuantSpec | None) -> None:
        super().__init__()
        self.operation = copy.deepcopy(layer).requires_grad_(False)
        self.weight_qparams = None if weight is None else StoredQParams(weight)
        self.activation_qparams = StoredQParams(activation) if isinstance(activation, QParams) else None
        self.dynamic_activation = activation if isinstance(activation, QuantSpec) else None
        if weight is not None:
            self.register_buffer("codes", quantize(weight_of(layer).detach(), weight))
            self.operation.register_parameter("weight", None)  # the codes are the weight now

    def forward(self, x: Tensor) -> Tensor:
        x = self._quantized_input(x)
        if self.weight_qparams is None:
            return self.operation(x)
        return torch.func.functional_call(self.operation, {"weight": self.dequantized_weight()}, (x,))

    def dequantized_weight(self) -> Tensor:
        """Return the weight that the codes stand for, in float."""
        if self.weight_qparams is None:
            raise ValueError("this layer kept its weight in float; it has no codes")
        return dequantize(self.codes, self.weight_qparams())

    def _quantized_input(self, x: Tensor) -> Tensor:
        if self.dynamic_activation is not None:
            spec = self.dynamic_activation
            qparams = choose_qparams(
                x, spec.num_bits, symmetric=spec.symmetric, granularity=spec.granularity, signed=spec.signed
            )
        elif self.activation_qparams is not None:
            qparams = self.activation_qparams()
        else:
            return x
        return dequantize(quantize(x, qparams), qparams)


def replace_modules(model: nn.Module, new: Mapping[int, nn.Module]) -> nn.Module:
    """Return a copy of ``model`` in which modules are replaced, found by their ``id``; all else is copied deeply.

    A module that stands in several places is replaced by one and the same new one.
    """
    return copy.deepcopy(model, dict(new))  # deepcopy takes what its memo holds instead of copying


def map_layers(model: nn.Module, new_layer: Callable[[str, nn.Module], nn.Module]) -> nn.Module:
    """Return a copy of ``model`` in which each quantizable layer is replaced by ``new_layer(name, copy of it)``."""
    layers = quantizable_layers(model)
    return replace_modules(model, {id(layer): new_layer(name, copy.deepcopy(layer)) for name, layer in layers.items()})


def map_tensors(model: nn.Module, weight: TensorMap | None = None, activation: TensorMap | None = None) -> nn.Module:
    """Return a copy of ``model`` whose weights pass through ``weight`` and whose layer inputs through ``activation``.

    Args:
        model: any network of convolutions and linear layers.
        weight: a function of a weight, [out, in, ...], that keeps its shape; None leaves the weights alone.
        activation: a function of a layer's input that keeps its shape; None leaves the inputs alone.

    >>> net = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> halved = map_tensors(net, weight=lambda w: w / 2)
    >>> bool(torch.allclose(halved(torch.ones(1, 2)), net(torch.ones(1, 2)) / 2))
    True
    """
    return map_layers(model, lambda name, layer: MappedLayer(layer, weight, activation))
