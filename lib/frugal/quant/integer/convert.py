"""Turn a float network into one that runs on codes: ``to_int8``.

    fold batch norm ─► trace ─► run the calibration data, watching ─► find chains ─► one operator for each

Paper:   [19] Jacob et al., CVPR 2018, sections 2 and 3.
Learn:   course/4_quantization
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from frugal.core.check import check_finite, describe
from frugal.core.errors import UnsupportedModel
from frugal.graph.fold import fold_batchnorm, fold_into_, plan_folds
from frugal.graph.trace import Trace, trace
from frugal.quant.affine import QParams
from frugal.quant.config import QuantSpec
from frugal.quant.granularity import PerTensor
from frugal.quant.integer.infloat import InFloat
from frugal.quant.integer.layers import Int8Conv2d, Int8Linear
from frugal.quant.integer.network import INPUT, Int8Network, Step
from frugal.quant.integer.operator import Operator
from frugal.quant.integer.operators import (
    Add,
    AveragePool2d,
    Concat,
    Dequantize,
    Flatten,
    MaxPool2d,
    Multiply,
    Pad,
    Quantize,
    Table,
)
from frugal.quant.integer.plan import Chain, Plan, find_chains, normalise_
from frugal.quant.integer.recognise import Shapes, word_of
from frugal.quant.layers import MappedLayer, QuantizedLayer, replace_modules

ACTIVATION = QuantSpec(symmetric=False, signed=False)
SAME_CODES: dict[str, Callable[..., Operator]] = {"max_pool": MaxPool2d, "flatten": Flatten, "pad": Pad}
BUILDERS: dict[str, Callable[..., Operator]] = {"average_pool": AveragePool2d, "table": Table}


def to_int8(
    model: nn.Module,
    calibration: Iterable[Tensor],
    *,
    activation: QuantSpec | None = None,
    weight: QuantSpec | None = None,
    strict: bool = False,
    isa: str | None = None,
) -> Int8Network:
    """Return a network that computes what ``model`` does on int8 codes, and stays on codes from layer to layer.

    Batch norm is folded, and convolution or linear layer, residual addition and ReLU or ReLU6 become one kernel call.
    What has no integer form runs in float between two conversions; ``report`` of the result names it. ``model`` is
    unchanged.

    A model that ``quant.convert`` made is taken too: its weights and the inputs of its layers keep the parameters they
    have (int8 codes of activations become the uint8 codes for the same reals), and calibration chooses the others, such
    as those of sums and averages. Parameters per token or chosen anew for each input are calibrated, because the
    kernels' are constants.

    Args:
        model: a float network that torch.fx can trace, with one input and one output.
        calibration: inputs of the model, without labels; a tensor counts as one batch. Batches of one shape but for n.
        activation: how activations become codes; by default 8 bits, uint8, with a zero-point, over the range seen.
        weight: the same for weights; by default 8 bits, symmetric, per output channel.
        strict: refuse a network of which a part would run in float.
        isa: the kernels' path, one of ``frugal.kernels.available()``; None for the widest.

    Raises:
        UnsupportedModel: the network cannot be traced, has nothing to run on codes, or ``strict`` and a part would stay
            in float. The message names the modules.
        ValueError: no calibration batch came, or one is empty or not finite.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    >>> to_int8(net, torch.randn(4, 3, 8, 8))(torch.randn(2, 3, 8, 8)).shape
    torch.Size([2, 2])
    """
    activation = activation or ACTIVATION
    if not isinstance(activation.granularity, PerTensor):
        raise ValueError(f"activations must have one scale per tensor, got {activation.granularity}")
    plain, given = _with_float_layers(model, activation.signed)
    folded = fold_batchnorm(plain).eval().requires_grad_(False)
    for layer in plan_folds(plain).folds.values():
        if layer in given:
            given[layer] = replace(given[layer], weight=None)  # folding changed what the codes stood for
    _norms_to_depthwise_(folded)
    seen = trace(folded)
    _check_one_input(seen)
    normalise_(seen)

    batches = iter([calibration] if isinstance(calibration, Tensor) else calibration)
    first = next(batches, None)
    if first is None:
        raise ValueError("to_int8 needs at least one calibration batch, got none; a generator can be used only once")
    watching = _Watching(seen)
    shapes = _shapes(watching, first)
    plan = find_chains(seen, shapes)
    if not any(chain.piece.kind == "layer" for chain in plan.chains.values()):
        raise UnsupportedModel(f"{type(model).__name__} has no convolution or linear layer that could run on codes")
    qparams = _calibrate(watching, plan, given, activation, itertools.chain([first], batches))
    network = _Lowering(seen, shapes, plan, qparams, given, weight).lower()
    if strict and network.report:
        lines = "\n".join(f"  {line}" for line in network.report)
        raise UnsupportedModel(
            f"{len(network.report)} parts would run in float:\n{lines}\nPass strict=False to allow it."
        )
    return network.use_isa(isa)


def _norms_to_depthwise_(model: nn.Module) -> None:
    """Put a depthwise 1 x 1 convolution in place of each batch norm that could not be folded; it computes the same."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is not nn.BatchNorm2d or child.running_mean is None:
                continue
            conv = nn.Conv2d(child.num_features, child.num_features, 1, groups=child.num_features, bias=False)
            nn.init.ones_(conv.weight)
            fold_into_(conv, child)
            setattr(parent, name, conv.eval().requires_grad_(False))


@dataclass(frozen=True)
class Given:
    """What a quantized layer already knows: parameters of its weight and of its input, or None where it has none."""

    weight: QParams | None = None
    activation: QParams | None = None


def _with_float_layers(model: nn.Module, signed: bool) -> tuple[nn.Module, dict[str, Given]]:
    """Return a copy of ``model`` with float layers in place of quantized ones, and what these knew, by their names."""
    prepared = [name for name, module in model.named_modules() if isinstance(module, MappedLayer)]
    if prepared:
        raise UnsupportedModel(f"{prepared[0]} is prepared, not converted; call quant.convert.convert(model) first")
    layers = {name: m for name, m in model.named_modules() if isinstance(m, QuantizedLayer)}
    given = {name: _given(name, layer, signed) for name, layer in layers.items()}
    return replace_modules(model, {id(layer): _float_layer(layer) for layer in layers.values()}), given


def _given(name: str, layer: QuantizedLayer, signed: bool) -> Given:
    weight = layer.weight_qparams() if layer.weight_qparams is not None else None
    if weight is not None and (weight.zero_point.any() or weight.quant_min >= 0 or weight.quant_min < -127):
        raise UnsupportedModel(f"the weight of {name} has a zero-point; the kernels multiply symmetric weights only")
    if weight is not None and weight.scale.ndim > 1:
        raise UnsupportedModel(f"the weight of {name} has a scale per group; the kernels have one per output channel")
    activation = layer.activation_qparams() if layer.activation_qparams is not None else None
    if activation is not None and not isinstance(activation.granularity, PerTensor):
        activation = None
    return Given(weight, activation and _of_type(activation, signed))


def _of_type(qparams: QParams, signed: bool) -> QParams:
    """Return the parameters whose codes, all moved by 128, stand for the same reals in the other integer type."""
    if (qparams.quant_min < 0) == signed:
        return qparams
    move = -128 if signed else 128
    return replace(
        qparams,
        zero_point=qparams.zero_point + move,
        quant_min=qparams.quant_min + move,
        quant_max=qparams.quant_max + move,
    )


def _float_layer(layer: QuantizedLayer) -> nn.Module:
    plain = copy.deepcopy(layer.operation)
    if layer.weight_qparams is not None:
        plain.weight = nn.Parameter(layer.dequantized_weight(), requires_grad=False)
    return plain


def _check_one_input(seen: Trace) -> None:
    inputs = [node for node in seen.graph.nodes if node.op == "placeholder"]
    for extra in inputs[1:]:
        if extra.users:
            raise UnsupportedModel(f"the network has several inputs ({', '.join(map(str, inputs))}); one is supported")
        seen.graph.erase_node(extra)
    output = next(node for node in seen.graph.nodes if node.op == "output")
    if not isinstance(output.args[0], fx.Node):
        raise UnsupportedModel(f"the network must return one tensor, it returns {output.args[0]}")


class _Watching(fx.Interpreter):
    """Runs a graph and shows every node's value to a function."""

    def __init__(self, seen: Trace) -> None:
        module = fx.GraphModule(seen.model, seen.graph)
        super().__init__(module)
        self.nodes = dict(zip(module.graph.nodes, seen.graph.nodes, strict=True))  # the module has a copy
        self.show: Callable[[fx.Node, Any], None] = lambda node, value: None

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.show(self.nodes[n], value)
        return value

    @torch.no_grad()
    def watch(self, batch: Tensor, show: Callable[[fx.Node, Any], None]) -> None:
        """Run one batch of calibration data; ``show`` is called before a later node can write over a value."""
        check_finite(batch, "calibration")
        self.show = show
        self.run(batch)


def _shapes(watching: _Watching, batch: Tensor) -> Shapes:
    shapes: Shapes = {}

    def note(node: fx.Node, value: Any) -> None:
        if isinstance(value, Tensor):
            shapes[node] = value.shape

    watching.watch(batch, note)
    return shapes


def _calibrate(
    watching: _Watching, plan: Plan, given: dict[str, Given], spec: QuantSpec, batches: Iterable[Tensor]
) -> dict[fx.Node, QParams]:
    """Choose parameters for every value that needs its own; what a quantized layer knows of its input stands."""
    known = {node: found for node in plan.quantized() if (found := _known(plan, given, node)) is not None}
    observers = {node: spec.new_observer() for node in plan.quantized() if node not in known}

    def observe(node: fx.Node, value: Any) -> None:
        if node in observers:
            if not isinstance(value, Tensor) or not torch.isfinite(value).all():
                raise ValueError(f"calibration made {node} {describe(value)}; its range cannot be chosen")
            observers[node].observe(value)

    for batch in batches:
        watching.watch(batch, observe)
    return known | {node: observer.qparams() for node, observer in observers.items()}


def _known(plan: Plan, given: dict[str, Given], node: fx.Node) -> QParams | None:
    """Look for the parameters that a quantized layer has for the value of ``node``, maybe after pooling or padding."""
    for chain in plan.chains.values():
        if node not in chain.piece.inputs:
            continue
        if chain.piece.kind == "layer":
            found = given.get(chain.piece.settings["name"], Given()).activation
        else:
            found = _known(plan, given, chain.end) if chain.piece.kind in SAME_CODES else None
        if found is not None:
            return found
    return None


@dataclass
class _Lowering:
    """Writes the steps of the int8 network, node by node, and the conversions between codes and reals."""

    seen: Trace
    shapes: Shapes
    plan: Plan
    qparams: dict[fx.Node, QParams]
    given: dict[str, Given]
    weight: QuantSpec | None
    steps: list[Step] = field(default_factory=list)
    report: list[str] = field(default_factory=list)
    codes: dict[fx.Node, int] = field(default_factory=dict)  # where a node's value lies as codes, by number of its step
    reals: dict[fx.Node, int] = field(default_factory=dict)

    def lower(self) -> Int8Network:
        for node in self.seen.graph.nodes:
            if node.op == "placeholder":
                self.reals[node] = INPUT
                shape = self.shapes[node]
            elif node.op == "output":
                output = self._real(node.args[0])
            elif node in self.plan.chains:
                self._lower_chain(self.plan.chains[node])
            elif node not in self.plan.absorbed:
                self._lower_float(node)
        return Int8Network(self.steps, output, tuple(shape), tuple(self.report))

    def _add(self, name: str, operator: Operator, inputs: tuple[int, ...]) -> int:
        self.steps.append(Step(name, operator, inputs))
        return len(self.steps) - 1

    def _codes(self, node: fx.Node) -> int:
        if node not in self.codes:
            quantize = Quantize(self.qparams[node])
            self.codes[node] = self._add(f"quantize {self._name(node)}", quantize, (self._real(node),))
        return self.codes[node]

    def _real(self, node: fx.Node) -> int:
        if node not in self.reals:
            qparams = self._qparams(node)
            self.reals[node] = self._add(f"dequantize {self._name(node)}", Dequantize(qparams), (self.codes[node],))
        return self.reals[node]

    def _qparams(self, node: fx.Node) -> QParams:
        """Say what the codes of a node's value stand for."""
        if node in self.qparams:
            return self.qparams[node]
        found = self.steps[self.codes[node]].operator.output_qparams()
        assert found is not None, f"{node} is made as reals"
        return found

    def _lower_chain(self, chain: Chain) -> None:
        inputs = tuple(self._codes(node) for node in chain.reads)
        operator = self._operator(chain)
        where = self.codes if self.plan.makes_codes(chain.end) else self.reals
        where[chain.end] = self._add(self._chain_name(chain), operator, inputs)

    def _operator(self, chain: Chain) -> Operator:
        piece, settings = chain.piece, chain.piece.settings
        read = [self._qparams(node) for node in chain.reads]
        output = self.qparams.get(chain.end) if self.plan.makes_codes(chain.end) else None
        if piece.kind == "layer":
            return self._layer(chain, read, output)
        if piece.kind in SAME_CODES:
            return SAME_CODES[piece.kind](input=read[0], **settings)
        assert output is not None
        if piece.kind == "add":
            return Add(first=read[0], second=read[1], output=output, clamp=chain.clamp)
        if piece.kind == "multiply":
            return Multiply(first=read[0], second=read[1], output=output)
        if piece.kind == "concat":
            return Concat(*read, output=output, **settings)
        return BUILDERS[piece.kind](input=read[0], output=output, **settings)

    def _layer(self, chain: Chain, read: list[QParams], output: QParams | None) -> Operator:
        name = chain.piece.settings["name"]
        layer = self.seen.model.get_submodule(name)
        known = self.given.get(name, Given())
        kind: Any = Int8Conv2d if isinstance(layer, nn.Conv2d) else Int8Linear
        residual = read[1] if chain.residual is not None else None
        try:
            return kind.from_float(
                layer, read[0], output, clamp=chain.clamp, residual=residual, weight=known.weight or self.weight
            )
        except ValueError as error:
            raise UnsupportedModel(f"{name} cannot run on codes: {error}") from error

    def _lower_float(self, node: fx.Node) -> None:
        sources = list(node.all_input_nodes)
        operator = InFloat.from_node(node, sources, self.seen)
        self.reals[node] = self._add(self._name(node), operator, tuple(self._real(source) for source in sources))
        makes_tensors = node.op == "call_module" or node in self.shapes  # rather than sizes; a module may make several
        if makes_tensors and node.op != "get_attr" and operator.words != "getitem":
            self.report.append(f"{self._name(node)}: {operator.words} runs in float")

    def _name(self, node: fx.Node) -> str:
        return str(node.target) if node.op == "call_module" else node.name

    def _chain_name(self, chain: Chain) -> str:
        """The module's name, or the function's with the module that it stands in."""
        if chain.piece.kind == "layer":
            return str(chain.piece.settings["name"])
        inside = list(chain.end.meta.get("nn_module_stack", {}).values())
        where = inside[-1][0] if inside and isinstance(inside[-1], tuple) else ""
        word = word_of(chain.end, self.seen.module(chain.end))
        return self._name(chain.end) if chain.end.op == "call_module" else f"{where}.{word}".lstrip(".")
