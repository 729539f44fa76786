"""Linkage: how far apart vectors are, and which of them are alike enough to be one.

Idea:    complete linkage, the classic clustering in which the distance of two cells is that of their furthest members.
Formula: D(a ∪ b, c) = max(D(a, c), D(b, c))
Lesson:  "closer than t" is not transitive: with 0, 1, 2 and t = 1 a chain would make one cell of what is 2 apart.
Learn:   course/5_pruning/5_3_similarity.ipynb; lab 5.2
"""

from __future__ import annotations

import torch
from torch import Tensor

from frugal.core.check import check_finite


def complete_linkage(distances: Tensor, threshold: float, *, at_least: int = 1) -> Tensor:
    """Put what is alike together, closest first, so that *all* pairs inside a cell are at most ``threshold`` apart.

    Args:
        distances: symmetric, none below 0.  [n, n]
        threshold: the largest distance inside a cell; ``math.inf`` for no limit.
        at_least: so many cells remain, even if more could be merged.

    Returns:
        The cell of each, int64 [n]; cells are numbered by their first member.

    >>> points = torch.tensor([[0.0], [1.0], [1.9], [9.0]])
    >>> complete_linkage(torch.cdist(points, points), threshold=1.5)
    tensor([0, 1, 1, 2])
    """
    check_finite(distances, "distances")
    if distances.ndim != 2 or not torch.equal(distances, distances.T) or (distances < 0).any():
        raise ValueError("distances must be a symmetric matrix of numbers of 0 or more; see pairwise_distances")
    if not threshold >= 0:
        raise ValueError(f"threshold must be 0 or more, got {threshold}")
    left = distances.detach().double().clone()
    left.fill_diagonal_(torch.inf)
    cell = torch.arange(len(left))
    for _ in range(len(left) - max(at_least, 1)):
        closest = int(left.argmin())
        first, second = sorted(divmod(closest, len(left)))
        if not left[first, second] <= min(threshold, torch.finfo(left.dtype).max):
            break
        cell[cell == second] = first
        furthest = torch.maximum(left[first], left[second])
        left[first], left[:, first] = furthest, furthest
        left[first, first] = torch.inf
        left[second], left[:, second] = torch.inf, torch.inf
    return cell.unique(return_inverse=True)[1]


def pairwise_distances(vectors: Tensor) -> Tensor:
    """The length of each difference, float64 [n, n]; exactly 0 for equal vectors.

    >>> pairwise_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))[0, 1].item()
    5.0
    """
    check_finite(vectors, "vectors")
    x = vectors.detach().double()
    apart = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.maximum(apart, apart.T)


def relative_distances(vectors: Tensor) -> Tensor:
    """Distances in units of the mean length of the two: 0 for equal vectors, 2 for opposite ones.  float64 [n, n]

    They stay as they are when a layer is rescaled, so that one threshold fits all layers.
    """
    lengths = vectors.detach().double().norm(dim=1)
    mean = (lengths[:, None] + lengths[None, :]) / 2
    return torch.where(mean > 0, pairwise_distances(vectors) / mean, 0.0)


def members(cells: Tensor) -> list[list[int]]:
    """The members of each cell, ascending.

    >>> members(torch.tensor([0, 1, 1, 2]))
    [[0], [1, 2], [3]]
    """
    return [(cells == cell).nonzero().flatten().tolist() for cell in range(int(cells.max()) + 1)]
