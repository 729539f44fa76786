"""Round a network layer by layer: each layer sees the inputs that the rounded layers before it produce.

Papers:  GPTQ, AdaRound and AWQ all walk a network like this; [26] corrects biases on the same walk.

    batches ─► layer 1 ─► layer 2 ─► layer 3 ─► …
               rounded    rounded    ►now◄       still float
                                     └ its inputs carry the errors of 1 and 2, and it may make up for them
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from frugal.quant.layers import quantizable_layers, weight_of
from frugal.quant.rounding import LayerInputs, layer_inputs
from frugal.quant.statistics import watch_inputs

RoundLayer = Callable[[nn.Module, LayerInputs], Tensor]


@torch.no_grad()
def round_layers(
    model: nn.Module,
    round_layer: RoundLayer,
    batches: Iterable[Tensor],
    *,
    names: Sequence[str] | None = None,
    rows: int | None = None,
) -> nn.Module:
    """Return a copy whose weights are rounded one after another, in the order of ``named_modules``.

    Args:
        model: stays as it was.
        round_layer: a function of a layer and its inputs that returns the rounded weight.
        batches: inputs of the model; labels are not needed.
        names: the layers to round; all convolutions and linear layers by default.
        rows: rows of each layer's inputs that are kept, drawn at random; all by default.

    Raises:
        ValueError: a rounded weight has another shape, or a layer is never reached.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> whole = round_layers(net, lambda layer, inputs: layer.weight.round(), [torch.randn(8, 4)])
    >>> bool((whole[2].weight == net[2].weight.round()).all())
    True
    """
    batches = [batches] if isinstance(batches, Tensor) else list(batches)
    rounded = copy.deepcopy(model).eval()
    layers = quantizable_layers(rounded)
    chosen = list(layers) if names is None else list(names)
    unknown = [name for name in chosen if name not in layers]
    if unknown:
        raise ValueError(f"there is no layer {', '.join(unknown)}; the layers are {', '.join(layers)}")
    for name in chosen:
        x, x_float = (watch_inputs(each, batches, [name])[name] for each in (rounded, model))
        weight = weight_of(layers[name])
        new = round_layer(layers[name], layer_inputs(layers[name], x, x_float, rows=rows))
        if new.shape != weight.shape:
            raise ValueError(f"the rounded weight of {name} must be {list(weight.shape)}, got {list(new.shape)}")
        weight.copy_(new)
    return rounded
