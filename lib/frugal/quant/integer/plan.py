"""Decide which parts of a trace run on codes, and which of them are one kernel call.

    conv ──► add ──► relu           one call: the sum is still at hand when residual and clamp are due
              ▲
    shortcut ─┘

A chain is such a call, and stands where its last node stood. Convolution and linear layers are always chains; the rest
is one where everything it reads is made by chains, so that codes need not be left and come back to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from frugal.graph.trace import Trace
from frugal.quant.integer.operator import Clamp
from frugal.quant.integer.recognise import CLAMPS, Piece, Shapes, changes_its_input, recognise, word_of

NOTHING_TO_DO = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@dataclass
class Chain:
    """One operator of the int8 network.

    piece:    what it starts with.
    end:      the node whose value it makes.
    residual: the node that is added before the clamp, or None.
    clamp:    the smallest and the largest real of the result.
    """

    piece: Piece
    end: fx.Node
    residual: fx.Node | None = None
    clamp: Clamp = (None, None)

    @property
    def reads(self) -> tuple[fx.Node, ...]:
        """The nodes whose codes it takes."""
        return self.piece.inputs if self.residual is None else (*self.piece.inputs, self.residual)

    @property
    def is_bare_layer(self) -> bool:
        """Whether it can give reals as well as codes."""
        return self.piece.kind == "layer" and self.residual is None and self.clamp == (None, None)


@dataclass(frozen=True)
class Plan:
    """What runs on codes.

    chains:   by their last nodes.
    absorbed: the other nodes of chains.
    """

    chains: dict[fx.Node, Chain]
    absorbed: set[fx.Node]

    def makes_codes(self, node: fx.Node) -> bool:
        """Whether the value of a node is made as codes: a layer whose readers all want reals gives them at once."""
        if node not in self.chains:
            return False
        wanted = any(node in chain.reads for chain in self.chains.values())
        return wanted or not self.chains[node].is_bare_layer

    def quantized(self) -> list[fx.Node]:
        """The nodes whose values need a scale of their own."""
        own = [n for n, chain in self.chains.items() if self.makes_codes(n) and chain.piece.kind not in SAME_CODES]
        read = [n for chain in self.chains.values() for n in chain.reads if not self.makes_codes(n)]
        return list(dict.fromkeys([*own, *read]))


SAME_CODES = ("max_pool", "flatten", "pad")  # their result has the parameters of their input


def normalise_(seen: Trace) -> None:
    """Simplify a trace in eval mode in place: no identities, no views that only flatten, no hidden writes."""
    for node in list(seen.graph.nodes):
        module = seen.module(node)
        if type(module) in NOTHING_TO_DO or _does_nothing(node, word_of(node, module)):
            node.replace_all_uses_with(node.args[0])
            seen.graph.erase_node(node)
        elif _is_flattening_view(node):
            node.target, node.args = "flatten", (node.args[0], 1)
        elif _is_global_mean(node):
            _as_pool_and_flatten_(seen, node)
    for node in seen.graph.nodes:
        if changes_its_input(node, seen.module(node)):
            _redirect_later_readers_(node)
    for node in reversed(seen.graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):
            seen.graph.erase_node(node)


def find_chains(seen: Trace, shapes: Shapes) -> Plan:
    """Find everything that can run on codes, and join what can be one kernel call."""
    order = {node: i for i, node in enumerate(seen.graph.nodes)}
    plan = Plan({}, set())
    for node in seen.graph.nodes:
        piece = recognise(node, seen.module(node), shapes)
        if piece is None or (piece.kind != "layer" and not all(source in plan.chains for source in piece.inputs)):
            continue
        chain = _joined(plan, node, piece, order) or Chain(piece, node)
        plan.chains[node] = chain
    return plan


def _joined(plan: Plan, node: fx.Node, piece: Piece, order: dict[fx.Node, int]) -> Chain | None:
    """Let an earlier chain take the piece in, if it alone is read by it."""
    if piece.kind == "add":
        for host in sorted(piece.inputs, key=lambda each: -order[each]):  # the later one: the other is there by then
            other = piece.inputs[0] if host is piece.inputs[1] else piece.inputs[1]
            if plan.chains[host].is_bare_layer and _only_reader(host, node) and other is not host:
                return _extended(plan, host, node, residual=other)
    if piece.kind == "table" and piece.settings["function"] in CLAMPS:
        host = piece.inputs[0]
        chain = plan.chains[host]
        if chain.piece.kind in ("layer", "add") and chain.clamp == (None, None) and _only_reader(host, node):
            return _extended(plan, host, node, clamp=CLAMPS[piece.settings["function"]])
    if piece.kind == "pad":
        host = piece.inputs[0]
        first = plan.chains[host].piece
        joins = first.kind == "pad" and "before" not in first.settings and "before" in piece.settings
        if joins and _only_reader(host, node):
            both = Piece("pad", first.inputs, {**first.settings, **piece.settings})
            return _extended(plan, host, node, piece=both)
    return None


def _extended(plan: Plan, host: fx.Node, node: fx.Node, **changes: Any) -> Chain:
    chain = plan.chains.pop(host)
    plan.absorbed.add(host)
    for name, value in {**changes, "end": node}.items():
        setattr(chain, name, value)
    return chain


def _only_reader(node: fx.Node, reader: fx.Node) -> bool:
    return set(node.users) == {reader}


def _redirect_later_readers_(node: fx.Node) -> None:
    """Who reads a tensor after it was written over reads the result: say so, for on codes nothing is written over."""
    source = node.args[0]
    later = set()
    here = node.next
    while here.op != "root":
        later.add(here)
        here = here.next
    if isinstance(source, fx.Node):
        source.replace_all_uses_with(node, delete_user_cb=lambda user: user in later)


def _does_nothing(node: fx.Node, word: str) -> bool:
    """F.dropout and torchvision's stochastic depth, whose last positional argument says that this is no training."""
    if node.op != "call_function" or (word != "dropout" and getattr(node.target, "__name__", "") != "stochastic_depth"):
        return False
    names = ("input", "p", "training") if word == "dropout" else ("input", "p", "mode", "training")
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}.get("training", True) is False


def _is_flattening_view(node: fx.Node) -> bool:
    """x.view(x.size(0), -1), and the same with reshape and x.shape[0]."""
    if node.op != "call_method" or node.target not in ("view", "reshape") or len(node.args) != 3 or node.args[2] != -1:
        return False
    source, size = node.args[:2]
    if not isinstance(size, fx.Node):
        return False
    if size.op == "call_method" and size.target == "size":
        return size.args == (source, 0)
    if getattr(size.target, "__name__", "") != "getitem" or size.args[1] != 0:
        return False
    shape = size.args[0]
    return isinstance(shape, fx.Node) and (
        (shape.op == "call_function" and shape.target is getattr and shape.args == (source, "shape"))
        or (shape.op == "call_method" and shape.target == "size" and shape.args == (source,))
    )


def _is_global_mean(node: fx.Node) -> bool:
    """x.mean((2, 3)) and torch.mean(x, (2, 3)), over rows and columns."""
    if node.op not in ("call_method", "call_function") or getattr(node.target, "__name__", node.target) != "mean":
        return False
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    return isinstance(dims, (list, tuple)) and sorted(dims) == [2, 3]


def _as_pool_and_flatten_(seen: Trace, node: fx.Node) -> None:
    keepdim = node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False)
    with seen.graph.inserting_before(node):
        result = seen.graph.call_function(nn.functional.adaptive_avg_pool2d, (node.args[0], 1))
        if not keepdim:
            result = seen.graph.call_method("flatten", (result, 1))
    node.replace_all_uses_with(result)
    seen.graph.erase_node(node)
