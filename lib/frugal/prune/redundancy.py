"""Output merging: how alike is alike enough, layer by layer.

Paper:   after [39] Yvinec et al., RED, NeurIPS 2021, second step; [38] RED++ merges outputs in the same way. Only the
         abstracts were at hand: percentiles and strategies are our reading of "relative similarities".
Formula: D_ij = ||(row_i, bias_i) - (row_j, bias_j)||_2
         channels become one while every two of them have D_ij <= the α-percentile of D in their layer; by equation (6)
Lesson:  a percentile asks every layer for the same share of its pairs, however far apart they are. α = 0 is lossless:
         only what is equal becomes one.
Learn:   course/5_pruning/5_3_similarity.ipynb; lab 5.2
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from frugal.prune.linkage import complete_linkage, pairwise_distances
from frugal.prune.merging import Candidate, Cell, mean_cells, merge_network

STRATEGIES = ("constant", "ascending", "descending", "block")


def layer_alphas(widths: Sequence[int], alpha: float, strategy: str = "constant") -> list[float]:
    """Spread α over the layers.

    Args:
        widths: channels of each family, in the order of the network.
        alpha: the mean over all layers, or with ``"block"`` over all stages.
        strategy: ``"constant"``; ``"ascending"``, from near 0 in the first layer to near 2 α in the last;
            ``"descending"``, the other way round; ``"block"``, ascending from stage to stage and constant inside one.
            A stage is a run of families with equally many channels.

    >>> layer_alphas([16, 16, 32, 32], 0.25, "ascending")
    [0.0625, 0.1875, 0.3125, 0.4375]
    >>> layer_alphas([16, 16, 32, 32], 0.25, "block")
    [0.125, 0.125, 0.375, 0.375]
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}; got {strategy!r}")
    largest = 1.0 if strategy == "constant" else 0.5
    if not 0 <= alpha <= largest:
        raise ValueError(f"alpha must be from 0 to {largest} where the strategy is {strategy!r}, got {alpha}")
    if strategy == "constant":
        return [alpha] * len(widths)
    if strategy == "block":
        runs = [len(list(run)) for _, run in groupby(widths)]
        return [each for each, count in zip(_rising(len(runs), alpha), runs, strict=True) for _ in range(count)]
    rising = _rising(len(widths), alpha)
    return rising if strategy == "ascending" else rising[::-1]


def percentile(distances: Tensor, alpha: float) -> float:
    """The distance that a share α of all pairs does not exceed; 0 for α = 0, which merges what is equal and no more.

    >>> percentile(torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]]), 2 / 3)
    2.0
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
    rows, columns = torch.triu_indices(len(distances), len(distances), offset=1)
    pairs = distances[rows, columns]
    rank = math.ceil(alpha * len(pairs) - 1e-9)  # 0.1 · 30 is 3, though not in binary
    return pairs.kthvalue(rank).values.item() if rank > 0 else 0.0


def merge_outputs(model: nn.Module, shape: tuple[int, ...], alpha: float, strategy: str = "block") -> nn.Module:
    """Merge the channels of each layer that are closer than its α-percentile; no data.

    Args:
        model: traceable by torch.fx; batch norms are folded. Hash it first, so that channels become equal.
        shape: of one input, such as (3, 32, 32).
        alpha, strategy: see ``layer_alphas``.

    Returns:
        A smaller copy in eval mode. With ``alpha=0`` it computes the same.
    """

    def choose(found: list[Candidate]) -> list[Cell]:
        alphas = layer_alphas([len(each.vectors) for each in found], alpha, strategy)
        return [cell for each, share in zip(found, alphas, strict=True) for cell in alike(each, share)]

    layer_alphas([1], alpha, strategy)  # refuse bad values before the network is traced
    return merge_network(model, shape, choose)


def alike(found: Candidate, alpha: float) -> list[Cell]:
    """The cells of one family."""
    distances = pairwise_distances(found.vectors)
    return mean_cells(found.family, complete_linkage(distances, percentile(distances, alpha)))


def _rising(count: int, mean: float) -> list[float]:
    """Evenly spaced numbers between 0 and twice their mean."""
    return [2 * mean * (place + 0.5) / count for place in range(count)]
