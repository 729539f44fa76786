"""What has no integer form: a node of the trace that runs as it was, on reals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from frugal.graph.trace import Trace
from frugal.quant.affine import QParams
from frugal.quant.integer.operator import Operator


@dataclass(frozen=True)
class _Value:
    """The place of the step's input number ``index`` among the arguments of a call."""

    index: int


class InFloat(Operator):
    """One node of the trace: it calls a module, a function or a method, or gives a constant of the network."""

    kernel = "float"
    module: nn.Module | None

    def __init__(self, op: str, target: Any, args: Any, kwargs: Any, module: nn.Module | None, words: str) -> None:
        super().__init__()
        self.op, self.target, self.args, self.kwargs = op, target, args, kwargs
        self.module = module
        self.words = words

    @classmethod
    def from_node(cls, node: fx.Node, sources: list[fx.Node], seen: Trace) -> InFloat:
        """Take over a node whose inputs come, in order, from ``sources``."""

        def place(argument: Any) -> Any:
            return _Value(sources.index(argument)) if isinstance(argument, fx.Node) else argument

        module = seen.module(node)
        if node.op == "get_attr":
            return cls(node.op, _attribute(seen.model, str(node.target)), (), {}, None, f"the constant {node.target}")
        words = type(module).__name__ if module is not None else str(getattr(node.target, "__name__", node.target))
        return cls(
            node.op, node.target, map_aggregate(node.args, place), map_aggregate(node.kwargs, place), module, words
        )

    def output_qparams(self) -> QParams | None:
        return None

    def forward(self, *inputs: Any, out: Tensor | None = None) -> Any:
        if self.op == "get_attr":
            return self.target

        def fill(argument: Any) -> Any:
            return inputs[argument.index] if isinstance(argument, _Value) else argument

        args, kwargs = map_aggregate(self.args, fill), map_aggregate(self.kwargs, fill)
        if self.module is not None:
            return self.module(*args, **kwargs)
        function = self.target if self.op == "call_function" else getattr(args[0], self.target)
        return function(*(args if self.op == "call_function" else args[1:]), **kwargs)

    def real(self, *reals: Any) -> Any:
        return self.forward(*reals)

    def extra_repr(self) -> str:
        return self.words


def _attribute(model: nn.Module, path: str) -> Any:
    found: Any = model
    for name in path.split("."):
        found = getattr(found, name)
    return found
