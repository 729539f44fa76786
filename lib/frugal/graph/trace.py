"""Traces: which module feeds which, found by running a network once on symbols (torch.fx).

    conv1 ──► bn1 ──► relu ──► conv2 ──► bn2 ──► add ──► relu
      │                                           ▲
      └───────────────────────────────────────────┘      conv1 has two consumers: bn1 must not be folded into it

A trace only reads: no module is changed, and the network's own ``forward`` stays the one that runs.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from frugal.core.errors import UnsupportedModel

# Modules that hand on each value at its place: the pairs of ``layer_pairs`` may have them in between.
ELEMENTWISE = (nn.ReLU, nn.ReLU6, nn.Identity, nn.Dropout, nn.Dropout2d)


@dataclass(frozen=True)
class Trace:
    """A network and the graph of one run of it.

    model: the network.
    graph: torch.fx's nodes, in the order of execution.
    """

    model: nn.Module
    graph: fx.Graph

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls, or None for inputs, functions, methods and outputs."""
        return self.model.get_submodule(str(node.target)) if node.op == "call_module" else None

    def calls(self, module: nn.Module) -> list[fx.Node]:
        """The nodes that call ``module``; more than one where it is shared."""
        return [node for node in self.graph.nodes if self.module(node) is module]

    def producer(self, node: fx.Node, skip: tuple[type[nn.Module], ...] = (nn.Identity,)) -> fx.Node | None:
        """The node that made the first input of ``node``, looking through modules of the types in ``skip``."""
        while node.args and isinstance(node.args[0], fx.Node):
            node = node.args[0]
            if not isinstance(self.module(node), skip):
                return node
        return None


@dataclass(frozen=True)
class Pair:
    """Two layers, the output of the first going to the second and nowhere else.

    first, second: module names.
    between: names of the elementwise modules that lie between them.
    """

    first: str
    second: str
    between: tuple[str, ...]


class _Tracer(fx.Tracer):
    """Remembers which module it is in, so that a failure can name it."""

    def __init__(self, leaves: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self.leaves = leaves
        self.inside: list[str] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self.leaves) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.inside.append(self.path_of_module(m))
        result = super().call_module(m, forward, args, kwargs)
        self.inside.pop()  # not after a failure: the name is wanted then
        return result


def trace(model: nn.Module, leaves: tuple[type[nn.Module], ...] = ()) -> Trace:
    """Run ``model`` on symbols in its present mode; arguments with a default keep it.

    Args:
        model: any network.
        leaves: modules whose forward is not looked into, besides torch's own; subclasses as well.

    Raises:
        UnsupportedModel: ``forward`` decides by the values or shapes of tensors. The message names the module.
    """
    tracer = _Tracer(leaves)
    parameters = inspect.signature(model.forward).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    try:
        graph = tracer.trace(model, concrete_args=defaults or None)
    except Exception as error:  # whatever a forward may raise when it is given symbols
        name = tracer.inside[-1] if tracer.inside else ""
        where = f"module {name!r} ({type(model.get_submodule(name)).__name__})" if name else type(model).__name__
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnsupportedModel(
            f"{where} cannot be traced by torch.fx: {reason}. Move what decides by values or shapes out of its "
            "forward, or pass the part of the network that can be traced"
        ) from error
    return Trace(model, graph)


def layer_pairs(
    model: nn.Module,
    layers: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Linear),
    through: tuple[type[nn.Module], ...] = ELEMENTWISE,
) -> list[Pair]:
    """Find the layers that feed exactly one other layer, possibly through elementwise modules.

    Layers that are called twice, and layers whose output is added, joined or returned, are in no pair as ``first``.

    >>> layer_pairs(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    [Pair(first='0', second='2', between=('1',))]
    """
    seen = trace(model)
    pairs = []
    for node in seen.graph.nodes:
        if not _is_called_once(seen, node, layers):
            continue
        between, here = [], node
        while len(here.users) == 1:
            here = next(iter(here.users))
            if not isinstance(seen.module(here), through):
                break
            between.append(str(here.target))
        if here is not node and _is_called_once(seen, here, layers):
            pairs.append(Pair(str(node.target), str(here.target), tuple(between)))
    return pairs


def _is_called_once(seen: Trace, node: fx.Node, types: tuple[type[nn.Module], ...]) -> bool:
    module = seen.module(node)
    return isinstance(module, types) and len(seen.calls(module)) == 1
