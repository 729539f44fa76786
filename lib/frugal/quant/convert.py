"""Quantize a whole network: prepare, calibrate, convert.

Papers:  [19] section 3, [20] section 3; the three words are torch.ao's. Lecture: slides 19 to 24.

    prepare     every convolution and linear layer gets a quantizer for its weight and one for its input
    calibrate   some batches pass through; the quantizers watch, then fix scale and zero-point
    convert     float weights are replaced by their integer codes

A prepared and calibrated network still has float weights and gradients through the straight-through estimator, so it
can be trained on; a converted one cannot.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from frugal.quant.affine import QParams
from frugal.quant.config import LayerConfig, QuantConfig, QuantSpec
from frugal.quant.fake import fake_quantize
from frugal.quant.granularity import Granularity, PerToken
from frugal.quant.layers import (
    MappedLayer,
    QuantizedLayer,
    map_layers,
    quantizable_layers,
    replace_modules,
    weight_granularity,
    weight_of,
)


class Quantizer(nn.Module):
    """Fake-quantizes the tensors that pass, once it has seen enough of them to choose a range.

    It watches while ``watching`` is set and lets the tensor through unchanged; after ``freeze`` it quantizes. A
    ``dynamic`` one chooses its range from each tensor anew and needs no calibration.
    """

    def __init__(self, spec: QuantSpec, granularity: Granularity, dynamic: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.granularity = granularity
        self.dynamic = dynamic
        self.watching = False
        self.qparams: QParams | None = None
        self.observer = spec.new_observer(granularity)
        self.count = 0

    def watch(self) -> None:
        """Forget what was seen, and observe from now on."""
        self.observer = self.spec.new_observer(self.granularity)
        self.qparams = None
        self.count = 0
        self.watching = True

    def freeze(self) -> None:
        """Choose the parameters from what was observed, and quantize from now on."""
        self.watching = False
        if not self.dynamic:
            self.qparams = self.observer.qparams()

    def forward(self, x: Tensor) -> Tensor:
        if self.watching:
            self.count += 1
            if not self.dynamic:
                self.observer.observe(x)
            return x
        return fake_quantize(x, self.qparams_for(x))

    def qparams_for(self, x: Tensor) -> QParams:
        """Return the fixed parameters, or those that ``x`` itself asks for."""
        if self.dynamic:
            observer = self.spec.new_observer(self.granularity)
            observer.observe(x)
            return observer.qparams()
        return self.fixed_qparams()

    def fixed_qparams(self) -> QParams:
        """Return the parameters that calibration fixed."""
        if self.qparams is None:
            raise RuntimeError("this quantizer has no range yet; call calibrate(model, batches) before using the model")
        return self.qparams


def prepare(model: nn.Module, config: QuantConfig) -> nn.Module:
    """Return a copy of ``model`` whose layers hold quantizers; fold batch norm before (``graph.fold``).

    Raises:
        ValueError: there is nothing to quantize, or a ``per_layer`` pattern matches no layer.
    """
    choices = config.for_layers(list(quantizable_layers(model)))
    return map_layers(model, lambda name, layer: _prepared(layer, choices[name]))


def _prepared(layer: nn.Module, choice: LayerConfig | None) -> nn.Module:
    if choice is None:
        return layer
    weight = activation = None
    if choice.weight is not None:
        granularity = weight_granularity(layer, choice.weight.granularity)
        weight = Quantizer(choice.weight, granularity, dynamic=True)
    if choice.activation is not None:
        granularity = choice.activation.granularity
        activation = Quantizer(choice.activation, granularity, dynamic=isinstance(granularity, PerToken))
    return MappedLayer(layer, weight, activation)


@torch.no_grad()
def calibrate(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Run the batches through a prepared model in eval mode and fix its activation ranges, in place.

    Args:
        model: what ``prepare`` returned.
        batches: inputs of the model, without labels. A tensor [n, ...] counts as one batch.

    Returns:
        The same model.

    Raises:
        ValueError: no batch came, the model is not prepared, or a layer was never reached.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, MappedLayer)}
    if not layers:
        raise ValueError("this model has no quantizers; call prepare(model, config) before calibrate")
    quantizers = {
        name: layer.activation_map for name, layer in layers.items() if isinstance(layer.activation_map, Quantizer)
    }
    weights = [layer.weight_map for layer in layers.values() if isinstance(layer.weight_map, Quantizer)]
    was_training = model.training
    model.eval()
    for quantizer in [*quantizers.values(), *weights]:
        quantizer.watch()
    try:
        count = 0
        for batch in [batches] if isinstance(batches, Tensor) else batches:
            model(batch)
            count += 1
    finally:
        for quantizer in [*quantizers.values(), *weights]:
            quantizer.watching = False
        model.train(was_training)
    if count == 0:
        raise ValueError("calibrate needs at least one batch, got none; a generator can be used only once")
    unseen = [name for name, quantizer in quantizers.items() if quantizer.count == 0]
    if unseen:
        raise ValueError(
            f"no calibration batch reached {', '.join(unseen)}; leave these out with per_layer={{name: None}}"
        )
    for quantizer in quantizers.values():
        quantizer.freeze()
    return model


def convert(model: nn.Module) -> nn.Module:
    """Return a copy of a calibrated model, in eval mode, whose float weights are replaced by integer codes.

    Raises:
        ValueError: the model is not prepared.
        RuntimeError: it is not calibrated.
    """
    layers = [module for module in model.modules() if isinstance(module, MappedLayer)]
    if not layers:
        raise ValueError("this model has no quantizers; call prepare and calibrate before convert")
    return replace_modules(model, {id(mapped): _converted(mapped) for mapped in layers}).eval()


def _converted(mapped: MappedLayer) -> QuantizedLayer:
    weight, activation = mapped.weight_map, mapped.activation_map
    return QuantizedLayer(
        mapped.layer,
        weight.qparams_for(weight_of(mapped.layer)) if isinstance(weight, Quantizer) else None,
        _activation_parameters(activation) if isinstance(activation, Quantizer) else None,
    )


def _activation_parameters(quantizer: Quantizer) -> QParams | QuantSpec:
    return quantizer.spec if quantizer.dynamic else quantizer.fixed_qparams()


def quantize_model(model: nn.Module, config: QuantConfig, batches: Iterable[Tensor]) -> nn.Module:
    """Fold nothing, train nothing: prepare, calibrate and convert in one call. The model itself is unchanged.

    >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> quantize_model(net, QuantConfig(), torch.randn(8, 4))[0].codes.dtype
    torch.int8
    """
    return convert(calibrate(prepare(model, config), batches))


def weight_bytes(model: nn.Module) -> float:
    """Count the bytes of all parameters and codes, at ``num_bits`` per code and with every scale and zero-point.

    Codes of fewer than 8 bits are counted as if packed; in memory each takes an int8.
    """
    bits = sum(p.numel() * p.element_size() * 8 for p in model.parameters())
    for layer in model.modules():
        if isinstance(layer, QuantizedLayer) and layer.weight_qparams is not None:
            stored = layer.weight_qparams
            levels = stored.quant_max - stored.quant_min + 1
            per_scale = 64 if stored.zero_point.any() else 32
            bits += layer.codes.numel() * (levels - 1).bit_length() + stored.scale.numel() * per_scale
    return bits / 8
