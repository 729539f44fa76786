"""Similarity-based pruning: two neurons that are alike become one.

Lecture: equation (6), slide 30, with its erratum: all K biases of layer 2 stay.
Papers:  [39], [38]; before them Srinivas and Babu, "Data-free parameter pruning for deep neural networks", 2015
         (arXiv:1507.06149), who find pairs by a saliency. The weighted mean below is ours.
Formula: W1' = A W1    b1' = A b1    W2' = W2 Gᵀ    b2' = b2        G [groups, neurons]: 1 where neuron i is in group r
         A = G / |group|, or with importance s:  A_ri = G_ri s_i / Σ_j G_rj s_j,   s_i = ||W2[:, i]||
         |Δy_k| <= L Σ_i |W2_ki| |a_i - a_group(i)|                 a = W1 x + b1, σ L-Lipschitz; 0 if rows are equal
         ReLU(c a) = c ReLU(a), c > 0: positive multiples are alike too; the column of c a counts c times
Lesson:  average the rows, but add the columns; and do a group in one step: ((a + b) / 2 + c) / 2 is not their mean.
Learn:   course/5_pruning/5_3_similarity.ipynb; lab 5.2
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, describe
from frugal.core.errors import UnsupportedModel
from frugal.graph.channels import Family
from frugal.graph.fold import fold_batchnorm
from frugal.graph.trace import Trace, trace
from frugal.prune.linkage import complete_linkage, members, pairwise_distances, relative_distances
from frugal.prune.merging import Candidate, Cell, mean_cells, merge_network

PIVOTS = ("mean", "saliency")
RIGHT_ANGLE = math.sqrt(2)  # how far apart two vectors of length 1 are at 90 degrees
READERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
HOMOGENEOUS = (
    nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
HOMOGENEOUS_FUNCTIONS = frozenset((
    "relu", "relu_", "leaky_relu", "dropout", "max_pool2d", "boolean_dispatch", "avg_pool2d", "adaptive_avg_pool2d",
    "flatten", "view", "reshape", "mean", "size", "getattr", "contiguous", "squeeze",
))  # fmt: skip


# Equation (6), for two linear layers.


def merge_neurons(
    weight1: Tensor, bias1: Tensor, weight2: Tensor, groups: Tensor, importance: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Make one neuron of each group; the bias of layer 2 is not touched.

    Args:
        weight1, bias1: of layer 1.  [neurons, in], [neurons]
        weight2: of layer 2.  [out, neurons]
        groups: the group of each neuron, numbered from 0 without gaps.  int64 [neurons]
        importance: weights of the mean, none below 0; all equal by default.  [neurons]

    Returns:
        The smaller weight1, bias1, weight2. Exact where the neurons of each group have equal rows and biases.

    >>> rows = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]])
    >>> columns = torch.tensor([[1.0, 2.0, 4.0]])
    >>> merge_neurons(rows, torch.zeros(3), columns, torch.tensor([0, 0, 1]))
    (tensor([[2., 0.],
            [0., 5.]]), tensor([0., 0.]), tensor([[3., 4.]]))
    """
    _check_pair(weight1, bias1, weight2)
    _check_groups(groups, len(weight1))
    member = nn.functional.one_hot(groups).T.to(weight1.dtype)  # G, [groups, neurons]
    share = member if importance is None else member * _checked(importance, len(weight1)).to(weight1.dtype)
    share = torch.where(share.sum(1, keepdim=True) > 0, share, member)  # nobody important: the plain mean
    average = share / share.sum(1, keepdim=True)
    return average @ weight1, average @ bias1, weight2 @ member.T


def merge_error_bound(
    weight1: Tensor, bias1: Tensor, weight2: Tensor, groups: Tensor, x: Tensor, lipschitz: float = 1.0
) -> Tensor:
    """How far each output can be from what it was after ``merge_neurons``, [n, out], for inputs x, [n, in].

    Args:
        lipschitz: of the activation; 1 for ReLU.
    """
    row, bias, _ = merge_neurons(weight1, bias1, weight2, groups)
    apart = (x @ weight1.T + bias1) - (x @ row.T + bias)[:, groups]  # [n, neurons]
    return lipschitz * apart.abs() @ weight2.abs().T


def find_multiples(weight1: Tensor, bias1: Tensor, tolerance: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Group the neurons whose (row, bias) are positive multiples of each other.

    Args:
        tolerance: how far apart two of them may be after scaling to length 1; below the square root of 2.

    Returns:
        The group of each neuron, int64 [neurons], and its length, float64 [neurons]: c = length / length of another.

    >>> find_multiples(torch.tensor([[1.0], [3.0], [-1.0]]), torch.zeros(3))[0]
    tensor([0, 0, 1])
    """
    if not 0 <= tolerance < RIGHT_ANGLE:
        raise ValueError(f"tolerance must be from 0 to below the square root of 2, got {tolerance}")
    vectors = torch.cat([weight1.detach(), bias1.detach()[:, None]], dim=1).double()
    length = vectors.norm(dim=1)
    return complete_linkage(pairwise_distances(_directions(vectors)), tolerance), length


def merge_multiples(
    weight1: Tensor, bias1: Tensor, weight2: Tensor, tolerance: float = 1e-6
) -> tuple[Tensor, Tensor, Tensor]:
    """Merge positive multiples, for an activation with σ(c a) = c σ(a): ReLU, leaky ReLU, none at all.

    Each group becomes the mean of its directions, as long as its members are on average; each column counts as often
    as its neuron is a multiple of that. Exact where they are multiples.
    """
    _check_pair(weight1, bias1, weight2)
    groups, _ = find_multiples(weight1, bias1, tolerance)
    vectors = torch.cat([weight1, bias1[:, None]], dim=1)
    average, add = _multiples(vectors.detach().double(), groups, torch.ones(len(vectors), dtype=torch.float64))
    merged = average.to(vectors.dtype) @ vectors
    return merged[:, :-1], merged[:, -1], weight2 @ add.to(weight2.dtype).T


# The same in a network.


def merge_similar(
    model: nn.Module,
    shape: tuple[int, ...],
    *,
    threshold: float | None = None,
    share: float | None = None,
    pivot: str = "mean",
    multiples: bool = False,
) -> nn.Module:
    """Merge the channels of a network that are alike; no data.

    Args:
        model: traceable by torch.fx; batch norms are folded.
        shape: of one input, such as (3, 32, 32).
        threshold: channels become one while all of them are at most so far apart, in units of their mean length.
        share: or: remove this share of each layer's channels, closest pairs first. One of the two.
        pivot: ``"mean"`` of the rows, or ``"saliency"``: weighted by the length of the columns.
        multiples: treat positive multiples as alike, for channels that one layer makes and only positively homogeneous
            operations see before they are read, such as ReLU and pooling. Others must be equal, as without it.

    Returns:
        A smaller copy in eval mode.

    Raises:
        UnsupportedModel: no channels can be merged, or with ``multiples`` none that allow it; the message says why.
    """
    if (threshold is None) == (share is None):
        raise ValueError(f"give either threshold or share, got threshold={threshold} and share={share}")
    if pivot not in PIVOTS:
        raise ValueError(f"pivot must be one of {', '.join(PIVOTS)}; got {pivot!r}")
    if threshold is not None and not 0 <= threshold < (RIGHT_ANGLE if multiples else math.inf):
        below = " to below the square root of 2" if multiples else ""
        raise ValueError(f"threshold must be a finite number from 0{below}, got {threshold}")
    if share is not None and not 0 <= share < 1:
        raise ValueError(f"share must be from 0 to below 1, got {share}")
    folded = fold_batchnorm(model)
    seen = trace(folded)

    def choose(found: list[Candidate]) -> list[Cell]:
        reasons = [why_no_multiples(seen, each.family) if multiples else "not asked for" for each in found]
        if multiples and all(reasons):
            raise UnsupportedModel(f"no channels of this network can be merged as multiples: {reasons[0]}")
        return [cell for each, reason in zip(found, reasons, strict=True) for cell in cells_of(each, not reason)]

    def cells_of(found: Candidate, scaled: bool) -> list[Cell]:
        vectors = _directions(found.vectors) if scaled else found.vectors
        at_least = 1 if share is None else len(vectors) - math.floor(share * len(vectors) + 1e-9)
        furthest = math.inf if threshold is None else threshold
        furthest = min(furthest, RIGHT_ANGLE - 1e-6) if scaled else furthest
        cells = complete_linkage(relative_distances(vectors), furthest, at_least=at_least)
        importance = found.outgoing if pivot == "saliency" else torch.ones(len(vectors), dtype=torch.float64)
        return _multiple_cells(found, cells, importance) if scaled else mean_cells(found.family, cells, importance)

    return merge_network(folded, shape, choose)


def why_no_multiples(seen: Trace, family: Family) -> str:
    """Say why positive multiples among the channels of a family cannot be merged, or nothing.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.GELU(), nn.Linear(3, 1))
    >>> why_no_multiples(trace(net), Family(("0",), (0, 1, 2)))
    '1 (GELU) does not make c times as much of c · x'
    """
    if len(family.layers) > 1:
        return f"{len(family.layers)} layers make its channels together: {', '.join(family.layers[:3])}"
    calls = seen.calls(seen.model.get_submodule(family.layers[0]))
    if len(calls) != 1:
        return f"{family.layers[0]} runs {len(calls)} times in one pass"
    ahead = list(calls[0].users)
    while ahead:
        node = ahead.pop()
        module = seen.module(node)
        if isinstance(module, READERS):
            continue
        if not _is_homogeneous(seen, node):
            what = f"{node.target} ({type(module).__name__})" if module is not None else f"the function {node.name}"
            return f"{what} does not make c times as much of c · x"
        ahead += node.users
    return ""


def _is_homogeneous(seen: Trace, node: Any) -> bool:
    module = seen.module(node)
    if module is not None:
        return isinstance(module, HOMOGENEOUS)
    return str(getattr(node.target, "__name__", node.target)) in HOMOGENEOUS_FUNCTIONS


def _multiple_cells(found: Candidate, cells: Tensor, importance: Tensor) -> list[Cell]:
    average, add = _multiples(found.vectors, cells, importance)
    return [
        Cell(
            tuple(found.family.groups[each] for each in together),
            tuple(average[cell, together].tolist()),
            tuple(add[cell, together].tolist()),
        )
        for cell, together in enumerate(members(cells))
    ]


def _directions(vectors: Tensor) -> Tensor:
    """Scaled to length 1; zeros stay zeros."""
    length = vectors.norm(dim=1, keepdim=True)
    return torch.where(length > 0, vectors / length, 0.0)


def _multiples(vectors: Tensor, cells: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
    """What each neuron gives to the merged row of its cell, and how often its column is taken.  [cells, neurons] twice

    The pivot p of a cell is the weighted mean of its directions, at the mean length; vector i is about c_i p with
    c_i = <v_i, p> / <p, p>.
    """
    count = int(cells.max()) + 1
    average = torch.zeros(count, len(vectors), dtype=torch.float64)
    add = torch.zeros(count, len(vectors), dtype=torch.float64)
    for cell, together in enumerate(members(cells)):
        own = vectors[together]
        length = own.norm(dim=1)
        if len(together) == 1 or not length.sum() > 0:
            average[cell, together], add[cell, together] = 1 / len(together), 1.0
            continue
        weight = importance[together] * length
        weight = weight if weight.sum() > 0 else length
        share = torch.where(length > 0, weight / weight.sum() * length.mean() / length, 0.0)
        pivot = share @ own
        average[cell, together] = share
        add[cell, together] = own @ pivot / pivot.square().sum()
    return average, add


def _check_pair(weight1: Tensor, bias1: Tensor, weight2: Tensor) -> None:
    for tensor, name in ((weight1, "weight1"), (bias1, "bias1"), (weight2, "weight2")):
        check_finite(tensor, name)
    if weight1.ndim != 2 or weight2.ndim != 2 or bias1.shape != weight1.shape[:1]:
        raise ValueError(
            f"weight1 must be [neurons, in], bias1 [neurons], weight2 [out, neurons]; got {describe(weight1)}, "
            f"{describe(bias1)}, {describe(weight2)}"
        )
    if weight2.shape[1] != len(weight1):
        raise ValueError(f"layer 1 has {len(weight1)} neurons, but weight2 reads {weight2.shape[1]}")


def _check_groups(groups: Tensor, count: int) -> None:
    if groups.dtype != torch.int64 or groups.shape != (count,):
        raise ValueError(f"groups must be int64 [{count}], one number per neuron, got {describe(groups)}")
    if not torch.equal(groups.unique(), torch.arange(int(groups.max()) + 1)):
        raise ValueError(f"groups must be numbered from 0 without gaps, got {groups.unique().tolist()}")


def _checked(importance: Tensor, count: int) -> Tensor:
    check_finite(importance, "importance")
    if importance.shape != (count,) or (importance < 0).any():
        raise ValueError(f"importance must be {count} numbers of 0 or more, got {describe(importance)}")
    return importance
