"""Drawn graphs: nodes that attach to those that already have many edges, so that a few get very many.

Model:   Barabási and Albert, 1999 (preferential attachment), with a liking for the own community added.
Formula: P(new node links to v) ∝ degree(v) · (1 if v is of its community, else 1 / homophily)
Learn:   course/4_quantization/4_7_straight_through.ipynb

In-degrees then fall off slowly: most nodes have a handful of neighbours, a few have hundreds. That spread is what makes
graph networks hard to quantize. Each node shows a noisy picture of its community; its neighbours tell the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.core.seed import generator


@dataclass(frozen=True, eq=False)
class Graph:
    """One graph whose nodes are to be classified.

    features: float32 [nodes, features].
    edges:    int64 [2, edges], from the first row to the second; both directions of every link are listed.
    labels:   int64 [nodes], the community.
    train:    bool [nodes], the nodes whose labels may be used; the others are for testing.
    """

    features: Tensor
    edges: Tensor
    labels: Tensor
    train: Tensor

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.features)

    @property
    def degrees(self) -> Tensor:
        """How many edges end at each node.  int64 [nodes]"""
        return torch.bincount(self.edges[1], minlength=self.nodes)


def draw_graph(
    nodes: int = 1000,
    *,
    communities: int = 4,
    features: int = 16,
    links: int = 4,
    homophily: float = 8.0,
    noise: float = 2.0,
    seed: int = 0,
) -> Graph:
    """Draw a graph from a seed.

    Args:
        nodes: how many; more than ``links``.
        communities: classes of nodes.
        features: numbers that a node shows.
        links: how many nodes a new one attaches to.
        homophily: how many times rather to its own community; 1 is no preference.
        noise: standard deviation of the features around their community's, which has length 1 per number.

    >>> graph = draw_graph(200, seed=1)
    >>> int(graph.degrees.max()) > 5 * int(graph.degrees.median())
    True
    """
    if not 1 <= links < nodes or communities < 2 or features < 1:
        raise ValueError(
            f"a graph needs more nodes than links, two communities and one feature, got {nodes} nodes, {links} links, "
            f"{communities} communities and {features} features"
        )
    if not homophily >= 1 or not noise >= 0:
        raise ValueError(f"homophily must be at least 1 and noise at least 0, got {homophily} and {noise}")
    rng = generator("graph", seed)
    labels = torch.randint(communities, (nodes,), generator=rng)
    edges = _attach(labels, links, homophily, rng)
    centres = torch.randn(communities, features, generator=rng)
    seen = centres[labels] + noise * torch.randn(nodes, features, generator=rng)
    train = torch.rand(nodes, generator=rng) < 0.5
    return Graph(seen, edges, labels, train)


def _attach(labels: Tensor, links: int, homophily: float, rng: torch.Generator) -> Tensor:
    degree = torch.zeros(len(labels))
    degree[: links + 1] = 1.0  # the first nodes have to be found by somebody
    found = []
    for node in range(links + 1, len(labels)):
        liking = torch.where(labels[:node] == labels[node], 1.0, 1.0 / homophily)
        chosen = torch.multinomial(degree[:node] * liking, links, generator=rng)
        found.append(torch.stack([torch.full((links,), node), chosen]))
        degree[chosen] += 1
        degree[node] = links
    one_way = torch.cat(found, dim=1)
    return torch.cat([one_way, one_way.flip(0)], dim=1)
