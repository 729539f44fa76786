"""LAMP: magnitudes made comparable between layers, so that one threshold gives each layer its own sparsity.

Paper:   Lee, Park, Mo, Ahn and Shin, "Layer-adaptive sparsity for the magnitude-based pruning", ICLR 2021.
         Beyond the lecture's list.
Formula: weights of a layer in ascending order of |w|:   score(u) = w_u² / Σ_{v ≥ u} w_v²
         the smallest scores go, over all layers together
Learn:   course/5_pruning/5_2_magnitude.ipynb

A weight is compared with what would still be there when it goes. The largest weight of each layer scores 1, so no layer
is emptied; and a layer times any factor scores the same, which plain global magnitude does not give.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frugal.prune.masks import Pruned, check_scores, keep_globally, masked, weights_of


def lamp_score(weight: Tensor) -> Tensor:
    """The scores of one layer's weights.

    Args:
        weight: any shape, finite.

    Returns:
        In the shape of ``weight``, float64, from 0 to 1. Of equal weights the earlier counts as the larger, as in
        ``masks.keep_largest``.

    >>> lamp_score(torch.tensor([1.0, -2.0, 2.0])).tolist()
    [0.1111111111111111, 1.0, 0.5]
    """
    check_scores(weight, "weight")
    size = weight.detach().double().abs().flatten()
    size = size / (size.max() or 1.0)  # squares of tiny weights must not vanish
    order = size.argsort(descending=True, stable=True)
    squares = size[order].square()
    still_there = squares.cumsum(0)  # the sum over what is at least as large
    scores = torch.empty_like(size)
    scores[order] = squares / still_there.clamp(min=torch.finfo(torch.float64).tiny)
    return scores.view(weight.shape)


def prune_lamp(model: nn.Module, sparsity: float) -> Pruned:
    """Return a copy without the weights of smallest LAMP score; each layer keeps one or more.

    Args:
        model: any network with convolutions or linear layers.
        sparsity: share of zeros over all layers.
    """
    scores = {name: lamp_score(weight) for name, weight in weights_of(model).items()}
    masks = keep_globally(scores, sparsity)
    return Pruned(masked(model, masks), masks)
