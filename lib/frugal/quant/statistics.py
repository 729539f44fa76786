"""Statistics without data: run a network on distributions instead of numbers.

Papers:  [26] sections 4.1.2 and 4.2.2, appendix C (clipped normal); [3] and [41] read the same batch norms.
Formula: after a batch norm   x ~ N(beta, gamma²)                             gamma may be negative: its size counts
         after ReLU           E = s φ(l) + m (1 - Φ(l)),  l = -m / s          m = beta, s = |gamma|
                              V = (m² + s²) (1 - Φ(l)) + m s φ(l) - E²
         after a sum          means add; variances too, as if independent
Learn:   course/4_quantization/4_6_no_data.ipynb

Each value of the network is replaced by four: its mean, its variance, and the ends between which practically all of it
lies, ``REACH`` standard deviations from the mean unless an activation cuts it. Convolutions send means through their
weight and variances through its square; batch norms forget all that and say what they were trained to say.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from frugal.core.check import describe
from frugal.core.errors import UnsupportedModel
from frugal.graph.fold import NORMS
from frugal.graph.trace import trace
from frugal.quant.layers import QUANTIZABLE, quantizable_layers

REACH = 6.0
NODES = 64  # points of the Gauss-Hermite rule for activations without a formula


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of a tensor without having seen it, per value or per channel; float64, one shape.

    mean, var: of its distribution.
    low, high: practically all of it lies between these.
    """

    mean: Tensor
    var: Tensor
    low: Tensor
    high: Tensor

    @property
    def std(self) -> Tensor:
        return self.var.sqrt()

    def map(self, function: Callable[[Tensor], Tensor]) -> Moments:
        """Apply what only moves or averages values, such as pooling, to all four."""
        return Moments(function(self.mean), function(self.var), function(self.low), function(self.high))

    def per_channel(self) -> Moments:
        """Average over all axes but the second; the ends become the outermost ones.  [channels]"""
        rest = [dim for dim in range(self.mean.ndim) if dim != 1]
        mean = self.mean.mean(rest)
        var = (self.var + self.mean**2).mean(rest) - mean**2  # what differs from pixel to pixel varies too
        return Moments(mean, var.clamp(min=0), self.low.amin(rest), self.high.amax(rest))


def normal(mean: Tensor, std: Tensor | float, reach: float = REACH) -> Moments:
    """Moments of a normal distribution, [same shape]; the sign of ``std`` does not matter.

    >>> normal(torch.zeros(2), -1.0).high
    tensor([6., 6.], dtype=torch.float64)
    """
    mean = mean.detach().double()
    size = torch.as_tensor(std).detach().double().abs().expand_as(mean)
    return Moments(mean, size**2, mean - reach * size, mean + reach * size)


def normal_density(x: Tensor) -> Tensor:
    """φ(x) = exp(-x²/2) / sqrt(2π)."""
    return torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def normal_share_below(x: Tensor) -> Tensor:
    """Φ(x): the share of a standard normal that is below ``x``."""
    return torch.special.ndtr(x)


def clipped_normal(mean: Tensor, std: Tensor, low: float = 0.0, high: float = math.inf) -> tuple[Tensor, Tensor]:
    """Mean and variance of clamp(x, low, high) for x ~ N(mean, std²): ReLU by default, ReLU6 with ``high=6``.

    Args:
        mean, std: one shape; the sign of ``std``, which is a batch norm's gamma, does not matter.

    >>> mean, var = clipped_normal(torch.zeros(1), torch.ones(1))
    >>> round(mean.item(), 4), round(var.item(), 4)  # 1 / sqrt(2π) and 1/2 - 1 / 2π
    (0.3989, 0.3408)
    """
    if not low <= high:
        raise ValueError(f"low must not exceed high, got {low} and {high}")
    m, s = mean.double(), std.double().abs()
    spread = s.clamp(min=1e-300)
    below, above = (low - m) / spread, (high - m) / spread  # in standard deviations
    inside = normal_share_below(above) - normal_share_below(below)
    share_low, share_high = normal_share_below(below), normal_share_below(-above)
    edge_low, edge_high = normal_density(below), normal_density(above)
    at_low, at_high = (0.0 if math.isinf(end) else end for end in (low, high))  # no share lies at an infinite end
    first = m * inside + s * (edge_low - edge_high) + at_low * share_low + at_high * share_high
    low_term = 0.0 if math.isinf(low) else (m + at_low) * edge_low
    high_term = 0.0 if math.isinf(high) else (m + at_high) * edge_high
    second = (m**2 + s**2) * inside + s * (low_term - high_term) + at_low**2 * share_low + at_high**2 * share_high
    certain = s == 0
    fixed = m.clamp(low, high)
    return torch.where(certain, fixed, first), torch.where(certain, 0.0, (second - first**2).clamp(min=0))


def through(activation: Callable[[Tensor], Tensor], x: Moments) -> Moments:
    """Send moments through any function of single values: E[f(x)] and V[f(x)] by Gauss-Hermite quadrature."""
    nodes, weights = _hermite()
    points = activation(x.mean[..., None] + x.std[..., None] * nodes)
    mean = (points * weights).sum(-1)
    var = ((points - mean[..., None]) ** 2 * weights).sum(-1)
    steps = torch.linspace(0, 1, 257, dtype=torch.float64)
    curve = activation(x.low[..., None] + (x.high - x.low)[..., None] * steps)
    return Moments(mean, var, curve.amin(-1), curve.amax(-1))


def _hermite() -> tuple[Tensor, Tensor]:
    """Points and weights of a rule for the mean over a standard normal."""
    k = torch.arange(1, NODES, dtype=torch.float64).sqrt()
    points, vectors = torch.linalg.eigh(torch.diag(k, 1) + torch.diag(k, -1))  # Golub and Welsch 1969
    return points, vectors[0] ** 2


def input_moments(model: nn.Module, shape: tuple[int, ...], pixels: Moments | None = None) -> dict[str, Moments]:
    """Say what reaches every convolution and linear layer, from the batch norms alone, per input channel.

    Args:
        model: with its batch norms in place (not folded), traceable by torch.fx.
        shape: of one input, without the batch: (3, 32, 32).
        pixels: what the input looks like, per channel; by default mean 0 and variance 1, as of normalised pictures.

    Returns:
        Layer name -> moments of its input, [in] each.

    Raises:
        UnsupportedModel: the network cannot be traced, or holds an operation that is not known here.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    >>> round(input_moments(net, (3, 8, 8))["3"].mean[0].item(), 4)  # a fresh batch norm says N(0, 1)
    0.3989
    """
    twin = copy.deepcopy(model).eval().double()
    seen = trace(twin)
    if pixels is None:
        pixels = normal(torch.zeros(shape[0]), 1.0)
    if pixels.mean.shape != shape[:1]:
        raise ValueError(f"pixels must have one value for each of the {shape[0]} channels, got {describe(pixels.mean)}")
    picture = pixels.map(lambda v: v.double().reshape(1, -1, *[1] * (len(shape) - 1)).expand(1, *shape))
    names = {module: name for name, module in quantizable_layers(twin).items()}
    runner = _OnDistributions(twin, seen.graph, names)
    with torch.no_grad():
        runner.run(picture)
    return runner.reached


ACTIVATIONS = (
    nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.ELU, nn.Softplus, nn.Mish,
)  # fmt: skip
MOVERS = (
    nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten,
    nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.MaxPool1d, nn.MaxPool2d,
)  # fmt: skip


class _OnDistributions(fx.Interpreter):
    """Runs a graph with ``Moments`` where tensors would be, and keeps what reaches each layer."""

    def __init__(self, model: nn.Module, graph: fx.Graph, names: dict[nn.Module, str]) -> None:
        super().__init__(fx.GraphModule(model, graph))
        self.names = names
        self.reached: dict[str, Moments] = {}
        self.original = model

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module, x = self.original.get_submodule(target), args[0]
        if module in self.names:
            self.reached[self.names[module]] = x.per_channel()
        if isinstance(module, QUANTIZABLE):
            return _through_layer(module, x)
        if isinstance(module, NORMS):
            return _after_norm(module, x)
        if isinstance(module, (nn.ReLU, nn.ReLU6)):
            return _clamped(x, 0.0, 6.0 if isinstance(module, nn.ReLU6) else math.inf)
        if isinstance(module, ACTIVATIONS):
            return through(module, x)
        if isinstance(module, MOVERS):
            return x.map(module)
        raise UnsupportedModel(
            f"{target} ({type(module).__name__}) is not known here: moments pass convolutions, linear layers, batch "
            "norms, activations, pooling, sums and products"
        )

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = getattr(target, "__name__", str(target))
        if name in ("relu", "relu6", "relu_"):
            return _clamped(args[0], 0.0, 6.0 if name == "relu6" else math.inf)
        if name in ("add", "iadd", "mul", "imul"):
            return (_sum if "add" in name else _product)(*args[:2])
        return _moved(lambda *rest: target(*rest, **kwargs), args)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target in ("add", "add_", "mul", "mul_"):
            return (_sum if "add" in target else _product)(*args[:2])
        return _moved(lambda x, *rest: getattr(x, target)(*rest, **kwargs), args)


def _moved(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Indexing, padding, flattening, averaging, joining: what treats every value alike."""
    first = args[0]
    if isinstance(first, Moments):
        return first.map(lambda v: function(v, *args[1:]))
    if isinstance(first, (tuple, list)) and first and all(isinstance(part, Moments) for part in first):
        pick = [[getattr(part, word) for part in first] for word in ("mean", "var", "low", "high")]
        return Moments(*(function(parts, *args[1:]) for parts in pick))
    return function(*args)


def _through_layer(layer: Any, x: Moments) -> Moments:
    """Means through the weight, variances through its square; the sum of many is nearly normal."""
    if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear)):
        raise UnsupportedModel(f"moments do not pass {type(layer).__name__} yet; use data for this network")
    mean = layer(x.mean)
    weight = layer.weight**2
    if isinstance(layer, nn.Linear):
        var = F.linear(x.var, weight)
    else:
        convolve = F.conv1d if isinstance(layer, nn.Conv1d) else F.conv2d
        var = convolve(x.var, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)  # type: ignore[operator]
    return Moments(mean, var, mean - REACH * var.sqrt(), mean + REACH * var.sqrt())


def _after_norm(norm: Any, x: Moments) -> Moments:
    """N(beta, gamma²) in every channel."""
    channels = x.mean.shape[1]
    beta = torch.zeros(channels, dtype=torch.float64) if norm.bias is None else norm.bias
    gamma = torch.ones(channels, dtype=torch.float64) if norm.weight is None else norm.weight
    shape = (1, -1, *[1] * (x.mean.ndim - 2))
    return normal(beta.view(shape).expand_as(x.mean), gamma.view(shape).expand_as(x.mean))


def _clamped(x: Moments, low: float, high: float) -> Moments:
    mean, var = clipped_normal(x.mean, x.std, low, high)
    return Moments(mean, var, x.low.clamp(low, high), x.high.clamp(low, high))


def _sum(a: Any, b: Any) -> Moments:
    """Add two distributions, or a distribution and a number."""
    if not (isinstance(a, Moments) and isinstance(b, Moments)):
        x, number = (a, b) if isinstance(a, Moments) else (b, a)
        return Moments(x.mean + number, x.var, x.low + number, x.high + number)
    mean, var = a.mean + b.mean, a.var + b.var
    reach = REACH * var.sqrt()  # both at their far ends at once is rarer than either
    return Moments(mean, var, torch.maximum(a.low + b.low, mean - reach), torch.minimum(a.high + b.high, mean + reach))


def _product(a: Any, b: Any) -> Moments:
    """Multiply two independent distributions, or a distribution and a number."""
    if not (isinstance(a, Moments) and isinstance(b, Moments)):
        x, number = (a, b) if isinstance(a, Moments) else (b, a)
        ends = torch.stack(torch.broadcast_tensors(x.low * number, x.high * number))
        return Moments(x.mean * number, x.var * number**2, ends.amin(0), ends.amax(0))
    var = a.var * b.var + a.var * b.mean**2 + b.var * a.mean**2
    corners = torch.stack(torch.broadcast_tensors(*(x * y for x in (a.low, a.high) for y in (b.low, b.high))))
    return Moments(a.mean * b.mean, var, corners.amin(0), corners.amax(0))


@torch.no_grad()
def watch_inputs(model: nn.Module, batches: Iterable[Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Run batches through a network in eval mode and keep what reaches the named modules, joined along the batch."""
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _module, args, store=store: store.append(args[0].detach())
        )
        for name, store in kept.items()
    ]
    was_training = model.training
    model.eval()
    try:
        for batch in [batches] if isinstance(batches, Tensor) else batches:
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    missed = [name for name, store in kept.items() if not store]
    if missed:
        raise ValueError(f"no batch reached {', '.join(missed)}; give at least one batch, and only layers that run")
    return {name: torch.cat(store) for name, store in kept.items()}
