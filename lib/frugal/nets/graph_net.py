"""A small graph network: every node adds up what its neighbours say, and a small network looks at the sum.

Papers:  Xu et al., "How powerful are graph neural networks?" (GIN), ICLR 2019; Kipf and Welling (GCN), ICLR 2017.
Formula: GIN   h_v ← MLP((1 + ε) h_v + Σ_{u → v} h_u)
         GCN   h_v ← W Σ_{u → v or u = v} h_u / sqrt((d_u + 1) (d_v + 1))
Learn:   course/4_quantization/4_7_straight_through.ipynb

GIN's sum grows with the number of neighbours: that is where few bits hurt. GCN divides by the degrees. Where values
would be stored in few bits, a layer has a slot that does nothing until something is put in: ``message`` (what a node
sends), ``aggregate`` (the sum).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from frugal.core.check import describe

KINDS = ("gin", "gcn")


class GraphLayer(nn.Module):
    """One round of messages.

    Args:
        inputs, outputs: features of a node before and after.
        kind: "gin" or "gcn".
    """

    def __init__(self, inputs: int, outputs: int, kind: str = "gin") -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        self.kind = kind
        self.message: nn.Module = nn.Identity()
        self.aggregate: nn.Module = nn.Identity()
        self.linear1 = nn.Linear(inputs, outputs)
        self.linear2 = nn.Linear(outputs, outputs) if kind == "gin" else None
        self.eps = nn.Parameter(torch.zeros(())) if kind == "gin" else None

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        sent = self.message(x)
        if self.eps is not None and self.linear2 is not None:
            total = self.aggregate((1 + self.eps) * sent + add_up(sent, edges))
            return self.linear2(relu(self.linear1(total)))
        root = (torch.bincount(edges[1], minlength=len(x)) + 1).to(x.dtype).rsqrt()[:, None]
        total = self.aggregate(root * (add_up(sent * root, edges) + sent * root))
        return self.linear1(total)


class GraphNet(nn.Module):
    """Rounds of messages, then a class for each node.

    Args:
        features: numbers that a node shows.
        classes: outputs per node.
        hidden: features in between.
        layers: rounds of messages.
        kind: "gin" or "gcn".
    """

    def __init__(self, features: int, classes: int, *, hidden: int = 32, layers: int = 2, kind: str = "gin") -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")
        sizes = [features] + [hidden] * layers
        self.layers = nn.ModuleList(GraphLayer(a, b, kind) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in range(layers))
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        check_edges(x, edges)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = relu(norm(layer(x, edges)))
        return self.head(x)


def add_up(x: Tensor, edges: Tensor) -> Tensor:
    """Sum at every node what comes in along the edges.  [nodes, features]

    >>> add_up(torch.tensor([[1.0], [10.0], [100.0]]), torch.tensor([[0, 1], [2, 2]])).tolist()
    [[0.0], [0.0], [11.0]]
    """
    return torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])


def check_edges(x: Tensor, edges: Tensor) -> None:
    """Refuse edges that are not int64 [2, edges] between the nodes of ``x``."""
    if x.ndim != 2 or edges.dtype != torch.int64 or edges.ndim != 2 or edges.shape[0] != 2:
        raise ValueError(
            f"nodes are [nodes, features], edges int64 [2, edges]; got {describe(x)} and {describe(edges)}"
        )
    if edges.numel() and not (edges.min() >= 0 and edges.max() < len(x)):
        raise ValueError(f"edges join nodes 0 to {len(x) - 1}, got {edges.min().item()} to {edges.max().item()}")
