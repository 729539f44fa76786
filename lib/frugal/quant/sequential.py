"""Round a network layer by layer: each layer sees the inputs that the rounded layers before it produce.

Papers:  GPTQ, AdaRound and AWQ all walk a network like this; [26] corrects biases on the same walk.

    batches ─► layer 1 ─► layer 2 ─► layer 3 ─► …
               rounded    rounded    ►now◄       still float
                                     └ its inputs carry the errors of 1 and 2, and it may make up for them

``round_layers`` is the definition: it runs both networks from the start for every layer. ``walk`` needs one pass: it
gives the network every input twice, and each layer sends the first half through the float layer, the second through
what it has become. Whatever lies between layers treats rows one by one, and so it does not notice.

    [x, x] ─► layer 1 ─► relu ─► layer 2 ─► …      upper half: the float network
              ▲ replaced when it is reached         lower half: the network as it is so far
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from frugal.core.errors import UnsupportedModel
from frugal.nets.graph_net import GraphNet
from frugal.quant.layers import map_layers, quantizable_layers, replace_modules, weight_of
from frugal.quant.rounding import LayerInputs, layer_inputs
from frugal.quant.statistics import watch_inputs

RoundLayer = Callable[[nn.Module, LayerInputs], Tensor]
Visit = Callable[[str, nn.Module, Tensor, Tensor], nn.Module]
MIXED = 1e-3  # of the largest output: sums in other orders differ by less, rows that were mixed by more


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


@torch.no_grad()
def walk(model: nn.Module, visit: Visit, inputs: Tensor | tuple[Tensor, ...]) -> nn.Module:
    """Replace the layers of a network one after another, in the order of execution, in a single pass.

    Args:
        model: stays as it was; runs in eval mode, where it must treat the rows of its inputs one by one.
        visit: called with a layer's name, a copy of it, its input as the replaced layers before produce it, and as the
            float ones do, [n, ...] each; returns what takes the layer's place. Called once for each layer.
        inputs: of the model, all at once, [n, ...]; a tuple where it takes several. A graph network takes nodes and
            edges.

    Returns:
        A copy in eval mode with the new layers.

    Raises:
        UnsupportedModel: the network mixes the rows of its inputs.
        ValueError: a layer is never reached.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> names = []
    >>> same = walk(net, lambda name, layer, x, x_float: names.append(name) or layer, torch.randn(8, 4))
    >>> names
    ['0', '2']
    """
    twins: dict[str, _Twin] = {}

    def double(name: str, layer: nn.Module) -> nn.Module:
        twins[name] = _Twin(name, layer, visit)
        return twins[name]

    walked = map_layers(model, double).eval()
    both = walked(*doubled(model, inputs))
    missed = [name for name, twin in twins.items() if twin.new is None]
    if missed:
        raise ValueError(
            f"the inputs never reached {', '.join(missed)}; give inputs that do, or leave these layers out"
        )
    _check_rows(model, inputs, both)
    return replace_modules(walked, {id(twin): twin.new for twin in twins.values() if twin.new is not None}).eval()


class _Twin(nn.Module):
    """Sends the first half of its input through the float layer, the rest through what ``visit`` makes of it."""

    def __init__(self, name: str, layer: nn.Module, visit: Visit) -> None:
        super().__init__()
        self.name, self.layer, self.visit = name, layer, visit
        self.new: nn.Module | None = None

    def forward(self, both: Tensor) -> Tensor:
        x_float, x = both.chunk(2)
        if self.new is None:
            self.new = self.visit(self.name, copy.deepcopy(self.layer), x, x_float).eval()
        return torch.cat([self.layer(x_float), self.new(x)])


def doubled(model: nn.Module, inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Give a network everything twice, side by side: rows after rows, and of a graph a second copy beside the first."""
    if isinstance(model, GraphNet):
        nodes, edges = inputs
        return torch.cat([nodes, nodes]), torch.cat([edges, edges + len(nodes)], dim=1)
    several = (inputs,) if isinstance(inputs, Tensor) else inputs
    return tuple(torch.cat([each, each]) for each in several)


def _check_rows(model: nn.Module, inputs: Tensor | tuple[Tensor, ...], both: Tensor) -> None:
    """Compare the upper half of the outputs with what the model gives for its first rows alone."""
    several = (inputs,) if isinstance(inputs, Tensor) else inputs
    if not isinstance(model, GraphNet):
        several = tuple(each[:2] for each in several)
    was_training = model.training
    alone = model.eval()(*several)
    model.train(was_training)
    if not torch.allclose(both[: len(alone)], alone, rtol=0, atol=MIXED * alone.abs().max().item()):
        raise UnsupportedModel(
            f"{type(model).__name__} mixes the rows of its inputs, so that layers cannot see two networks in one pass; "
            "round_layers runs them one after the other"
        )


def sample_inputs(
    layer: nn.Module, x: Tensor, x_float: Tensor, rows: int, *, seed: int = 0, together: int = 32
) -> LayerInputs:
    """Do what ``layer_inputs`` does, with about ``rows`` rows in all, without ever laying out those of all pictures.

    Args:
        layer, x, x_float: as in ``layer_inputs``.
        rows: wanted; every part of the data gives the same share of them.
        seed: of the draw.
        together: pictures that are laid out at once.
    """
    if not isinstance(layer, nn.Conv2d):
        return layer_inputs(layer, x, x_float, rows=rows, seed=seed)
    parts = list(zip(x.split(together), x_float.split(together), strict=True))
    share = max(rows // len(parts), 1)
    drawn = [layer_inputs(layer, a, b, rows=share, seed=seed + i) for i, (a, b) in enumerate(parts)]
    return LayerInputs(torch.cat([part.x for part in drawn], 1), torch.cat([part.x_float for part in drawn], 1))
