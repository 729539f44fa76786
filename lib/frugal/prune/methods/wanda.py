"""Wanda: a weight counts for as much as it adds to the output, so its input counts too.

Paper:   Sun, Liu, Bair, Kolter, "A Simple and Effective Pruning Approach for Large Language Models", ICLR 2024,
         2306.11695, section 3.
Formula: S_ij = |w_ij| · ‖x_j‖₂,   compared within each row i of the weight: every output loses equally many weights
Learn:   course/5_pruning

A small weight on a large input adds more than a large weight on an input that is nearly always 0. Magnitude sees only
the first factor. The weights that stay are not changed. S_ij² / 2 is what removing one weight costs while all others
stay: OBD of the layer's own squared error, and OBS where inputs are independent of each other.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite
from frugal.prune.masks import Pruned, keep_largest
from frugal.prune.second_order import (
    Amount,
    Gram,
    check_amount,
    keep_in_rows,
    prune_layers,
    weight_of_rows,
    weight_rows,
)


def wanda_scores(weight: Tensor, gram: Gram) -> Tensor:
    """|w_ij| · ‖x_j‖₂, in the weight's shape, float64.

    Args:
        weight: [out, in, ...], of a linear layer or a convolution.
        gram: of the layer's inputs, see ``second_order.layer_gram``.
    """
    check_finite(weight, "weight")
    magnitudes = weight_rows(weight.detach()).double().abs()
    scores = torch.empty_like(magnitudes)
    for (part, _), norms in zip(gram.parts(weight), gram.norms, strict=True):
        scores[part] = magnitudes[part] * norms
    return weight_of_rows(scores, weight)


def wanda_weight(weight: Tensor, gram: Gram, sparsity: Amount = 0.5, *, within: str = "row") -> tuple[Tensor, Tensor]:
    """Prune one layer.

    Args:
        weight, gram: as in ``wanda_scores``.
        sparsity: the share of zeros; or (n, m) to keep n of every m neighbours.
        within: "row" takes the share from every output, as the paper does; "layer" compares all weights of the layer,
            which spares the strong outputs. A convolution with few inputs needs that: of 27 weights a row, some count.

    Returns:
        The weight with zeros, and which weights were kept, bool of the weight's shape.

    >>> from frugal.prune.second_order import layer_gram
    >>> gram = layer_gram(nn.Linear(2, 1), torch.tensor([[10.0, 0.1]]))
    >>> wanda_weight(torch.tensor([[0.5, 2.0]]), gram)[0].tolist()  # the small weight adds 5, the large one 0.2
    [[0.5, 0.0]]
    """
    check_amount(sparsity, weight)
    if within not in ("row", "layer"):
        raise ValueError(f"within must be 'row' or 'layer', got {within!r}")
    scores = wanda_scores(weight, gram)
    if within == "layer" and not isinstance(sparsity, tuple):
        keep = keep_largest(scores, sparsity)
    else:
        keep = weight_of_rows(keep_in_rows(weight_rows(scores), sparsity), weight)
    return torch.where(keep, weight.detach(), 0), keep


def wanda(
    model: nn.Module,
    batches: Iterable[Tensor] | Tensor,
    sparsity: Amount = 0.5,
    *,
    within: str = "row",
    names: Sequence[str] | None = None,
) -> Pruned:
    """Prune a network layer by layer, each on the inputs that the pruned layers before it produce.

    Args:
        model: stays as it was.
        batches: inputs of the model; labels are not needed.
        sparsity, within: as in ``wanda_weight``, of each layer.
        names: see ``second_order.choose_layers``.

    >>> net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> {name: int(keep.sum()) for name, keep in wanda(net, torch.rand(16, 8), 0.5).masks.items()}
    {'0.weight': 16, '2.weight': 4}
    """
    prune = functools.partial(wanda_weight, within=within)
    return prune_layers(model, prune, batches, names=names, amount=sparsity)
