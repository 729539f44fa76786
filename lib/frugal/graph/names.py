"""Names instead of values: what every operation of a network does to the channels of the tensors that it is given.

What only moves values (reshape, permute, concatenate, chunk, flatten) is applied to the names as it is, so a channel
shuffle or a flattened map needs no rule of its own. What adds or multiplies two tensors makes the names that meet one.
What mixes channels in a way that is not known here (matrix products, softmax) *freezes* them: they stay, with a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from frugal.core.errors import UnsupportedModel

NOBODY = -1  # a value that belongs to no channel: the pixels of the input
NAMES = torch.int32  # names travel in this type, which networks do not use: other integers are indices and stay

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.Upsample,
)  # fmt: skip
POOL_FUNCTIONS = frozenset((
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "boolean_dispatch",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "interpolate",
))  # fmt: skip
ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid,
    nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.AlphaDropout, nn.FeatureAlphaDropout, nn.LocalResponseNorm,
)  # fmt: skip
ELEMENTWISE_FUNCTIONS = frozenset((
    "relu", "relu_", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish", "hardsigmoid", "hardtanh",
    "sigmoid", "tanh", "softplus", "dropout", "dropout2d", "stochastic_depth", "neg", "abs", "sqrt", "rsqrt", "exp",
    "clamp", "pow", "float", "to", "detach",
))  # fmt: skip
MEETINGS = frozenset(("add", "iadd", "add_", "sub", "isub", "sub_", "mul", "imul", "mul_", "truediv", "div", "div_"))
MOVERS = frozenset((
    "view", "reshape", "permute", "transpose", "flatten", "unflatten", "cat", "concat", "stack", "chunk", "split",
    "getitem", "unsqueeze", "squeeze", "expand", "expand_as", "narrow", "select", "roll", "unbind", "movedim", "flip",
    "repeat_interleave", "tile", "repeat", "swapaxes", "contiguous", "clone",
))  # fmt: skip
REDUCTIONS = frozenset(("mean", "sum", "amax", "amin"))
FOLLOWED = MEETINGS | MOVERS | ELEMENTWISE_FUNCTIONS | REDUCTIONS | {"layer_norm", "pad"}
ASKING = frozenset(("size", "dim", "getattr", "shape", "eq", "ne", "floordiv", "int", "len", "numel", "_assert"))


@dataclass(frozen=True, eq=False)
class Slot:
    """One axis of one parameter, and the channel that each of its places belongs to.

    module:    name of the module that holds it; "" for the network itself.
    parameter: "weight", "bias", ... or a buffer such as "running_mean".
    axis:      of the parameter.
    channels:  int64, one per place along the axis; ``NOBODY`` where it belongs to none.
    role:      "out" where the layer makes these channels, "in" where it reads them, "along" where it keeps them.
    """

    module: str
    parameter: str
    axis: int
    channels: Tensor
    role: str


class OnNames(fx.Interpreter):
    """Runs a graph on tensors of names, unites names that meet, and keeps what it saw at each parameter."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(fx.GraphModule(model, graph))
        self.original = model
        self.parent: list[int] = []
        self.slots: list[Slot] = []
        self.frozen: dict[int, str] = {}
        self.of_module: dict[str, Tensor] = {}  # names that a module gave before: it may be called twice
        self.of_parameter: dict[str, Tensor] = {}
        self.here = ""
        self.node: fx.Node | None = None

    # Names: a forest in which the root of a name stands for its group.

    def fresh(self, count: int) -> Tensor:
        first = len(self.parent)
        self.parent.extend(range(first, first + count))
        return torch.arange(first, first + count, dtype=NAMES)

    def root(self, name: int) -> int:
        while self.parent[name] != name:
            self.parent[name] = self.parent[self.parent[name]]
            name = self.parent[name]
        return name

    def unite(self, a: Tensor, b: Tensor) -> None:
        """Make the names of two tensors that broadcast against each other one; what meets nobody is frozen."""
        small_a, small_b = torch.broadcast_tensors(_compact(a), _compact(b))
        pairs = torch.stack([small_a.reshape(-1), small_b.reshape(-1)])
        pairs = pairs[:, pairs[0] != pairs[1]].unique(dim=1)
        for x, y in pairs.T.tolist():
            if NOBODY in (x, y):
                self.freeze(torch.tensor([max(x, y)]), "it is added to values that belong to no channel")
            else:
                x, y = self.root(x), self.root(y)
                self.parent[max(x, y)] = min(x, y)

    def freeze(self, names: Tensor, reason: str) -> None:
        for name in _compact(names).unique().tolist():
            if name != NOBODY:
                self.frozen.setdefault(name, f"{self.here}: {reason}")

    def groups(self) -> tuple[Tensor, dict[int, str]]:
        """The group of each name, numbered from 0, and why some of them must stay."""
        roots = [self.root(name) for name in range(len(self.parent))]
        number = {root: position for position, root in enumerate(dict.fromkeys(roots))}
        group = torch.tensor([number[root] for root in roots], dtype=torch.int64)
        frozen: dict[int, str] = {}
        for name, reason in self.frozen.items():
            frozen.setdefault(int(group[name]), reason)
        return group, frozen

    # The graph's nodes.

    def run_node(self, n: fx.Node) -> Any:
        self.node, self.here = n, str(n.target) if n.op == "call_module" else n.name
        try:
            return super().run_node(n)
        except UnsupportedModel:
            raise
        except Exception as error:
            raise UnsupportedModel(
                f"{self.here} ({n.op}) cannot be followed: {str(error).strip().splitlines()[0]}"
            ) from error

    def output(self, target: Any, args: Any, kwargs: Any) -> Any:
        self.here = "output"
        for names in _tensors(args):
            self.freeze(names, "it is what the network returns")
        return super().output(target, args, kwargs)

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A parameter that the forward uses directly: every element has a name until it meets the channels'."""
        value = super().get_attr(target, args, kwargs)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        if not self.node or not all(_name_of(user) in FOLLOWED for user in self.node.users):
            return torch.tensor(NOBODY, dtype=NAMES).expand(value.shape)  # whoever reads it freezes what it meets
        if target not in self.of_parameter:
            self.of_parameter[target] = self.fresh(value.numel()).view(value.shape)
            module, _, name = target.rpartition(".")
            for axis in range(value.ndim):
                if value.shape[axis] > 1:
                    self.slots.append(Slot(module, name, axis, _along(self.of_parameter[target], axis).long(), "along"))
        return self.of_parameter[target]

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self.original.get_submodule(target)
        names = args[0] if args else next(iter(kwargs.values()))
        if isinstance(module, CONVS):
            return self.convolve(target, module, names)
        if isinstance(module, nn.Linear):
            return self.multiply(target, module, names)
        if isinstance(module, BATCH_NORMS):
            return self.normalise(target, module, names, axis=1)
        if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1:
            return self.normalise(target, module, names, axis=-1)
        if isinstance(module, nn.GroupNorm):
            self.unite_positions(_along(names, 1), module.num_groups)
            return self.normalise(target, module, names, axis=1)
        if isinstance(module, POOLS):
            return self.pool(module, names)
        if isinstance(module, ELEMENTWISE):
            return names
        if isinstance(module, (nn.Flatten, nn.Unflatten, nn.ChannelShuffle, nn.PixelUnshuffle)):
            return module(names)
        return self.unknown(_on_meta(module), args, kwargs, type(module).__name__)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self.operate(_name_of(self.node), target, args, kwargs)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self.operate(target, lambda x, *rest, **more: getattr(x, target)(*rest, **more), args, kwargs)

    def operate(self, name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        tensors = _tensors((args, kwargs))
        if not tensors or name in ASKING:
            return function(*args, **kwargs)
        if name in MEETINGS and not kwargs.get("out"):
            return self.meet(args)
        if name in MOVERS:
            moved = function(*args, **kwargs)
            if name == "chunk":  # the parts must stay equally large
                for part in moved[1:]:
                    if part.shape == moved[0].shape:
                        self.unite(moved[0], part)
                    else:
                        self.freeze(args[0], "chunk cuts its channels into parts of different sizes")
            self.freeze_fixed_sizes(name, args, moved)
            return moved
        if name in ELEMENTWISE_FUNCTIONS:
            return args[0]
        if name == "layer_norm":
            return self.layer_norm(*args, **kwargs)
        if name == "pad":
            return self.pad(function, args, kwargs)
        if name in REDUCTIONS:
            return self.reduce(function, args, kwargs)
        if name in POOL_FUNCTIONS:
            return self.pool(lambda x: function(x, *args[1:], **kwargs), args[0])
        return self.unknown(function, args, kwargs, name)

    # What each kind of operation does to names.

    def convolve(self, target: str, conv: Any, names: Tensor) -> Tensor:
        read = self.along(names, 1)
        made = self.names_of(target, conv.out_channels)
        if conv.groups == 1:
            self.slot(target, "weight", 1, read, "in")
        elif conv.groups == conv.in_channels:  # each input makes its own outputs: they go together
            self.unite(made, read.repeat_interleave(conv.out_channels // conv.in_channels))
        else:  # every group must keep as many as the others
            self.unite_positions(read, conv.groups)
            self.unite_positions(made, conv.groups)
            self.slot(target, "weight", 1, read[: conv.in_channels // conv.groups], "in")
        self.slot(target, "weight", 0, made, "out")
        if conv.bias is not None:
            self.slot(target, "bias", 0, made, "out")
        shape = _meta(conv, names)
        return made.view(1, -1, *[1] * (names.ndim - 2)).expand(shape)

    def multiply(self, target: str, linear: nn.Linear, names: Tensor) -> Tensor:
        read = self.along(names, -1)
        made = self.names_of(target, linear.out_features)
        self.slot(target, "weight", 1, read, "in")
        self.slot(target, "weight", 0, made, "out")
        if linear.bias is not None:
            self.slot(target, "bias", 0, made, "out")
        return made.expand(*names.shape[:-1], -1)

    def normalise(self, target: str, norm: Any, names: Tensor, axis: int) -> Tensor:
        along = self.along(names, axis)
        for parameter in ("weight", "bias", "running_mean", "running_var"):
            if getattr(norm, parameter, None) is not None:
                self.slot(target, parameter, 0, along, "along")
        return names

    def layer_norm(self, names: Tensor, shape: Any, weight: Any = None, bias: Any = None, *_: Any, **__: Any) -> Tensor:
        """The function: its parameters were fetched by ``get_attr`` and have names of their own."""
        along = self.along(names, -1)
        if len(shape) != 1:
            self.freeze(names, "layer_norm over several axes mixes its channels")
        for parameter in (weight, bias):
            if parameter is not None:
                self.unite(parameter, along)
        return names

    def pool(self, module: Callable[[Tensor], Any], names: Tensor) -> Tensor:
        along = self.along(names, 1)
        shape = _meta(module, names)
        return along.view(1, -1, *[1] * (len(shape) - 2)).expand(shape)

    def pad(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
        """Pixels around a picture change nothing; new channels have no name, and their count is written down."""
        names = args[0]
        shape = _meta(lambda x: function(x, *args[1:], **kwargs), names)
        if shape[1] == names.shape[1]:
            return self.along(names, 1).view(1, -1, *[1] * (len(shape) - 2)).expand(shape)
        self.freeze(names, "pad adds a written number of channels")
        return torch.tensor(NOBODY, dtype=NAMES).expand(shape)

    def meet(self, args: Any) -> Any:
        a, b = args[:2]
        if not _tensors(a) or not _tensors(b):  # a number, or a constant that does not depend on channels
            return a if _tensors(a) else b
        self.unite(a, b)
        wide_a, wide_b = torch.broadcast_tensors(a, b)
        return torch.where(_compact(wide_a) >= 0, _compact(wide_a), _compact(wide_b)).expand(wide_a.shape)

    def reduce(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        names = args[0]
        dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
        dims = tuple(range(names.ndim)) if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
        first = names
        for dim in dims:
            first = first.narrow(dim, 0, 1)
        if not torch.equal(*torch.broadcast_tensors(_compact(names), _compact(first))):
            self.freeze(names, "different channels are averaged")
        shape = _meta(lambda x: function(x, *args[1:], **kwargs), names)
        return first.reshape(shape)

    def unknown(self, function: Callable[..., Any], args: Any, kwargs: Any, name: str) -> Any:
        """Freeze what goes in; what comes out belongs to nobody."""
        for names in _tensors((args, kwargs)):
            self.freeze(names, f"{name} mixes its channels")
        on_meta = pytree.tree_map_only(Tensor, _meta_like, (args, kwargs))
        out = function(*on_meta[0], **on_meta[1])
        return pytree.tree_map_only(Tensor, lambda x: torch.tensor(NOBODY, dtype=NAMES).expand(x.shape), out)

    # Small parts.

    def along(self, names: Tensor, axis: int) -> Tensor:
        """The names along one axis, after uniting those that share a place on it (they never differ in practice)."""
        first = _along(names, axis)
        axis %= names.ndim
        shape = [1] * names.ndim
        shape[axis] = -1
        if not torch.equal(*torch.broadcast_tensors(_compact(names), first.view(shape))):
            self.unite(names, first.view(shape))
        return first

    def unite_positions(self, names: Tensor, groups: int) -> None:
        """Unite place j of every group with place j of the first."""
        cut = names.view(groups, -1)
        self.unite(cut[:1].expand_as(cut), cut)

    def names_of(self, target: str, count: int) -> Tensor:
        if target not in self.of_module:
            self.of_module[target] = self.fresh(count)
        return self.of_module[target]

    def slot(self, module: str, parameter: str, axis: int, channels: Tensor, role: str) -> None:
        for known in self.slots:
            if (known.module, known.parameter, known.axis) == (module, parameter, axis):
                self.unite(known.channels, channels)  # a shared module: both calls must lose the same places
                return
        self.slots.append(Slot(module, parameter, axis, channels.long(), role))

    def freeze_fixed_sizes(self, name: str, args: Any, moved: Any) -> None:
        """A size that is written down in the forward stays: a place goes from all of so many parts, or from none."""
        if name not in ("view", "reshape", "expand", "unflatten", "split", "narrow") or not isinstance(moved, Tensor):
            if name in ("split", "narrow", "getitem") and isinstance(args[0], Tensor):
                self.freeze_if_cut(name, args)
            return
        sizes = args[1] if len(args) > 1 and isinstance(args[1], (tuple, list)) else args[1:]
        for axis, size in enumerate(sizes):
            if isinstance(size, int) and size > 1 and axis < moved.ndim and self._written(axis, name):
                self.unite(moved.narrow(axis, 0, 1).expand_as(moved), moved)

    def freeze_if_cut(self, name: str, args: Any) -> None:
        """A slice by written numbers along a channel axis would cut elsewhere once channels are gone."""
        names, key = args[0], args[1] if len(args) > 1 else None
        keys = key if isinstance(key, tuple) else (key,)
        if name == "getitem" and not any(isinstance(each, slice) and each != slice(None) for each in keys):
            return
        for axis, each in enumerate(keys):
            if name == "getitem" and (not isinstance(each, slice) or each == slice(None)):
                continue
            at = axis if name == "getitem" else 1
            first = names.narrow(at, 0, 1)
            if not torch.equal(*torch.broadcast_tensors(_compact(names), _compact(first))):
                self.freeze(names, f"{name} cuts its channels at a written place")

    def _written(self, axis: int, name: str) -> bool:
        """Whether the size of this axis is a number in the graph, not one that was asked of a tensor."""
        node: Any = self.node
        sizes = node.args[1] if isinstance(node.args[1], (tuple, list)) else node.args[1:]
        return axis < len(sizes) and isinstance(sizes[axis], int)


def _name_of(node: Any) -> str:
    """What a node calls, in one word."""
    return str(getattr(node.target, "__name__", node.target))


def _compact(names: Tensor) -> Tensor:
    """The same without repetition: axes along which a view only repeats have length 1 here."""
    for axis, stride in enumerate(names.stride()):
        if stride == 0 and names.shape[axis] > 1:
            names = names.narrow(axis, 0, 1)
    return names


def _along(names: Tensor, axis: int) -> Tensor:
    """The names along one axis at the first place of all others."""
    return names.movedim(axis, 0).flatten(1)[:, 0] if names.ndim > 1 else names


def _tensors(value: Any) -> list[Tensor]:
    """All names in a nest of arguments."""
    if isinstance(value, Tensor):
        return [value] if value.dtype == NAMES else []
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [each for part in value for each in _tensors(part)]
    return []


def _meta(function: Callable[..., Any], names: Tensor) -> torch.Size:
    """The shape of what a function of one tensor returns; nothing is computed."""
    run = _on_meta(function) if isinstance(function, nn.Module) else function
    out = run(torch.empty(names.shape, device="meta"))
    return (out[0] if isinstance(out, tuple) else out).shape


def _on_meta(module: nn.Module) -> Callable[..., Any]:
    """The module as a function of meta tensors."""
    parameters = {name: value.float().to("meta") for name, value in module.state_dict().items()}
    return lambda *args, **kwargs: torch.func.functional_call(module, parameters, args, kwargs)


def _meta_like(x: Tensor) -> Tensor:
    """A tensor without values: names stand for reals, indices stay indices."""
    return torch.empty(x.shape, dtype=torch.float32 if x.dtype == NAMES else x.dtype, device="meta")
