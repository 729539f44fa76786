"""Recognise what can be done on codes in a trace: one ``Piece`` for each node of torch.fx that has an integer form.

A piece only says what is asked for. Whether its inputs are codes, and which pieces become one kernel call, is decided
in ``plan``.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from frugal.quant.integer.layers import conv_refusal
from frugal.quant.integer.operator import RELU, RELU6, Clamp

#: Modules and functions that are one function of each value, by the word for it in a table of codes.
FUNCTION_OF = {
    "ReLU": "relu",
    "relu": "relu",
    "ReLU6": "relu6",
    "relu6": "relu6",
    "Hardswish": "hardswish",
    "hardswish": "hardswish",
    "Hardsigmoid": "hardsigmoid",
    "hardsigmoid": "hardsigmoid",
    "Sigmoid": "sigmoid",
    "sigmoid": "sigmoid",
    "Tanh": "tanh",
    "tanh": "tanh",
    "SiLU": "silu",
    "silu": "silu",
    "GELU": "gelu",
    "gelu": "gelu",
}
CLAMPS: dict[str, Clamp] = {"relu": RELU, "relu6": RELU6}


Shapes = dict[fx.Node, torch.Size]


@dataclass(frozen=True)
class Piece:
    """Something that has an integer form.

    kind:     layer, add, multiply, concat, max_pool, average_pool, flatten, pad or table.
    inputs:   the nodes whose values it takes.
    settings: what else it needs, by the names that its operator uses.
    """

    kind: str
    inputs: tuple[fx.Node, ...]
    settings: dict[str, Any] = field(default_factory=dict)


def word_of(node: fx.Node, module: nn.Module | None) -> str:
    """The name of what a node calls: a class of torch.nn, a function of torch or operator, a tensor's method."""
    if node.op == "call_module":
        return type(module).__name__ if type(module).__module__.startswith("torch.nn") else ""
    if node.op == "call_method":
        return str(node.target).rstrip("_")
    if node.op == "call_function":
        origin = getattr(node.target, "__module__", None) or "torch"
        name = getattr(node.target, "__name__", "")
        return name.strip("_") if origin.split(".")[0] in ("torch", "_operator") else ""
    return ""


def recognise(node: fx.Node, module: Any, shapes: Shapes) -> Piece | None:
    """Return what ``node`` asks for, or None where it has no integer form.

    Args:
        node: of a trace in eval mode.
        module: the module that it calls, or None.
        shapes: of each node's tensor; a node without one has no tensor.
    """
    word = word_of(node, module)
    source = node.args[0] if node.args else None
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        return _layer(node, module, shapes)
    if word in FUNCTION_OF:
        return _function(node, module, FUNCTION_OF[word])
    if word == "Hardtanh" and module is not None and (module.min_val, module.max_val) == (0, 6):
        return _function(node, None, "relu6")
    if word in ("add", "iadd", "mul", "imul"):
        return _two_tensors(node, "add" if "add" in word else "multiply", shapes)
    if word == "cat":
        return _concat(node, shapes)
    if not isinstance(source, fx.Node) or ndim(source, shapes) != 4:
        return None  # what follows is about pictures
    if word in ("MaxPool2d", "max_pool2d", "max_pool2d_with_indices", "boolean_dispatch"):
        return _max_pool(node, module)
    if word in ("AvgPool2d", "avg_pool2d"):
        return _average_pool(node, module)
    if word in ("AdaptiveAvgPool2d", "adaptive_avg_pool2d"):
        size = module.output_size if module is not None else _arguments(node, ("input", "output_size"))["output_size"]
        return Piece("average_pool", (source,)) if size in (1, (1, 1), [1, 1]) else None
    if word in ("flatten", "Flatten"):
        return _flatten(node, module)
    if word in ("pad", "getitem"):
        return _pad(node) if word == "pad" else _slices(node)
    return None


def _layer(node: fx.Node, module: nn.Conv2d | nn.Linear, shapes: Shapes) -> Piece | None:
    source = node.args[0]
    if type(module) not in (nn.Conv2d, nn.Linear) or not isinstance(source, fx.Node):
        return None
    if isinstance(module, nn.Conv2d) and (conv_refusal(module) or ndim(source, shapes) != 4):
        return None
    if isinstance(module, nn.Linear) and ndim(source, shapes) not in (2, 3):
        return None
    return Piece("layer", (source,), {"name": str(node.target)})


def _function(node: fx.Node, module: nn.Module | None, function: str) -> Piece | None:
    approximate = getattr(module, "approximate", None) or node.kwargs.get("approximate", "none")
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or approximate != "none":
        return None
    return Piece("table", (source,), {"function": function})


def _two_tensors(node: fx.Node, kind: str, shapes: Shapes) -> Piece | None:
    inputs = tuple(arg for arg in node.args if isinstance(arg, fx.Node) and arg in shapes)
    if len(node.args) != 2 or len(inputs) != 2 or node.kwargs:
        return None
    first, second = (shapes[each] for each in inputs)
    fits = len(first) == len(second) if kind == "multiply" else first == second
    return Piece(kind, inputs) if fits else None


def _concat(node: fx.Node, shapes: Shapes) -> Piece | None:
    found = _arguments(node, ("tensors", "dim"), dim=0)
    tensors, axis = found["tensors"], found["dim"]
    if not isinstance(tensors, (list, tuple)) or not all(isinstance(t, fx.Node) for t in tensors):
        return None
    dims = ndim(tensors[0], shapes)
    if dims not in (2, 4) or not isinstance(axis, int) or axis % dims != 1:
        return None
    return Piece("concat", tuple(tensors), {"axis": 3 if dims == 4 else 1})


def _max_pool(node: Any, module: Any) -> Piece | None:
    names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    defaults = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False}
    found = _module_settings(module, names) if module is not None else _arguments(node, names, **defaults)
    if found["ceil_mode"] or found["return_indices"]:
        return None
    kernel = _pair(found["kernel_size"])
    stride = _pair(found["stride"]) if found["stride"] else kernel
    settings = {"padding": _pair(found["padding"]), "dilation": _pair(found["dilation"])}
    return _whole(Piece("max_pool", (node.args[0],), {"kernel_size": kernel, "stride": stride, **settings}))


def _average_pool(node: Any, module: Any) -> Piece | None:
    names = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    defaults = {"stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True, "divisor_override": None}
    found = _module_settings(module, names) if module is not None else _arguments(node, names, **defaults)
    if found["ceil_mode"] or found["divisor_override"] is not None:
        return None
    kernel = _pair(found["kernel_size"])
    stride = _pair(found["stride"]) if found["stride"] else kernel
    settings = {"padding": _pair(found["padding"]), "count_border": found["count_include_pad"]}
    return _whole(Piece("average_pool", (node.args[0],), {"kernel_size": kernel, "stride": stride, **settings}))


def _flatten(node: Any, module: Any) -> Piece | None:
    names = ("input", "start_dim", "end_dim")
    found = _module_settings(module, names) if module is not None else _arguments(node, names, start_dim=0, end_dim=-1)
    from_one = found["start_dim"] == 1 and found["end_dim"] in (-1, 3)
    return Piece("flatten", (node.args[0],)) if from_one else None


def _pad(node: Any) -> Piece | None:
    found = _arguments(node, ("input", "pad", "mode", "value"), mode="constant", value=None)
    widths = list(found["pad"]) if isinstance(found["pad"], (list, tuple)) else [-1]
    zeros = found["mode"] == "constant" and found["value"] in (None, 0, 0.0)
    if not zeros or len(widths) not in (2, 4, 6) or not all(isinstance(w, int) and w >= 0 for w in widths):
        return None
    left, right, top, bottom, first, last = widths + [0] * (6 - len(widths))
    return Piece("pad", (node.args[0],), {"before": (top, left, first), "after": (bottom, right, last)})


def _slices(node: Any) -> Piece | None:
    index: Any = node.args[1]
    if not isinstance(index, tuple) or len(index) != 4 or not all(isinstance(each, slice) for each in index):
        return None
    everything = all(each.start in (None, 0) and each.stop is None for each in index)
    steps = [1 if each.step is None else each.step for each in index]
    if not everything or steps[0] != 1 or not all(isinstance(step, int) for step in steps):
        return None
    _, channels, down, across = steps
    return Piece("pad", (node.args[0],), {"step": (down, across, channels)})


def _whole(piece: Piece) -> Piece | None:
    """Return the piece if all of its sizes are numbers; a size that the network computes has no fixed form."""
    sizes = [v for value in piece.settings.values() for v in (value if isinstance(value, tuple) else (value,))]
    return piece if all(isinstance(size, int) for size in sizes) else None


def _arguments(node: fx.Node, names: tuple[str, ...], **defaults: Any) -> dict[str, Any]:
    """Give the arguments of a call their names."""
    return {**defaults, **dict(zip(names, node.args, strict=False)), **node.kwargs}


def _module_settings(module: nn.Module, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(module, name) for name in names[1:]}


def _pair(value: Any) -> tuple[Any, Any]:
    return (value, value) if not isinstance(value, (list, tuple)) else (value[0], value[-1])


INPLACE = (operator.iadd, operator.imul)


def changes_its_input(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether a node writes its result over its first input, as ``nn.ReLU(inplace=True)`` and ``+=`` do."""
    if node.op == "call_function":
        return node.target in INPLACE or bool(node.kwargs.get("inplace"))
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    return bool(getattr(module, "inplace", False))


def ndim(node: fx.Node, shapes: Shapes) -> int | None:
    """How many dimensions a node's tensor has, or None where it is no tensor."""
    return len(shapes[node]) if node in shapes else None
