"""SparseGPT: remove weights column by column, and let the columns that are still free make up for each one.

Paper:   Frantar & Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", ICML 2023,
         2301.00774, section 3 and algorithm 1.
Formula: H = XᵀX + λ I,   U = upper Cholesky factor of H⁻¹
         for each column j:   e = w_j / U_jj where w_j goes, else 0      w_k -= e U_jk  for all k ≥ j
         score of w_j: w_j² / U_jj², compared in blocks of columns
         Σ e² = ‖X (W - W')ᵀ‖²  where λ = 0: what the steps lose is exactly what the layer's output loses
Learn:   course/5_pruning

OBS needs an inverse of its own for every row of the weight, because every row removes other weights. SparseGPT lets a
removal move only the columns to its right: then the inverse that a step needs depends on the column alone, and one
Cholesky factor holds all of them.

    columns   done      done      ►now◄       free   free
              0 or kept           w_j → 0 ──►  ─────►        corrected by row j of U
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, describe
from frugal.prune.masks import Pruned, keep_largest, keep_n_of_m
from frugal.prune.second_order import (
    Amount,
    Gram,
    check_amount,
    damped,
    invert,
    prune_layers,
    weight_of_rows,
    weight_rows,
)


def sparsegpt_weight(
    weight: Tensor,
    gram: Gram,
    sparsity: Amount = 0.5,
    *,
    keep: Tensor | None = None,
    damping: float = 0.01,
    block_size: int = 128,
) -> tuple[Tensor, Tensor]:
    """Prune one layer so that its outputs move as little as a single pass can make them.

    Args:
        weight: [out, in, ...], of a linear layer or a convolution.
        gram: of the layer's inputs, see ``second_order.layer_gram``.
        sparsity: the share of zeros in every block of columns; or (n, m) to keep n of every m neighbours.
        keep: bool of the weight's shape: keep these, and only make up for the others. ``sparsity`` then says nothing.
        damping: λ as a share of the mean of H's diagonal.
        block_size: columns among which weights are compared. For (n, m) and a given ``keep`` it changes nothing.

    Returns:
        The corrected weight with zeros, in the weight's dtype, and which weights were kept.

    Raises:
        ValueError: gram or keep do not fit the weight, or without damping H has no inverse.

    >>> from frugal.prune.second_order import layer_gram
    >>> twins = torch.tensor([[1.0, 1.0], [2.0, 2.0]])  # two inputs that are always equal
    >>> new, _ = sparsegpt_weight(torch.tensor([[1.0, 3.0]]), layer_gram(nn.Linear(2, 1), twins), damping=1e-9)
    >>> new.round(decimals=3).tolist()  # the one that stays takes over
    [[0.0, 4.0]]
    """
    check_finite(weight, "weight")
    if block_size < 1:
        raise ValueError(f"block_size must be 1 or more, got {block_size}")
    check_amount(sparsity, weight)
    if isinstance(sparsity, tuple):
        block_size = -(-block_size // sparsity[1]) * sparsity[1]  # no group of neighbours is cut in two
    if keep is not None and (keep.dtype != torch.bool or keep.shape != weight.shape):
        raise ValueError(f"keep must be bool {list(weight.shape)}, got {describe(keep)}")
    rows = weight_rows(weight.detach()).double()
    new, kept = torch.empty_like(rows), torch.empty_like(rows, dtype=torch.bool)
    for part, sums in gram.parts(weight):
        choice = sparsity if keep is None else weight_rows(keep)[part]
        alive = sums.diagonal() > 0
        upper = torch.linalg.cholesky(invert(damped(sums, damping)), upper=True)
        new[part], kept[part] = _sweep(rows[part], upper, alive, choice, block_size)
    return weight_of_rows(new, weight).to(weight.dtype), weight_of_rows(kept, weight)


def _sweep(
    weight: Tensor, upper: Tensor, alive: Tensor, choice: Amount | Tensor, block_size: int
) -> tuple[Tensor, Tensor]:
    """The pass: ``choice`` is a share, a pattern, or the mask itself."""
    weight = weight.clone()
    keep = choice.clone() if isinstance(choice, Tensor) else torch.ones_like(weight, dtype=torch.bool)
    pivots = upper.diagonal()

    def scores(start: int, stop: int) -> Tensor:
        return (weight[:, start:stop] / pivots[start:stop]).square() * alive[start:stop]

    for start in range(0, weight.shape[1], block_size):
        stop = min(start + block_size, weight.shape[1])
        if isinstance(choice, float | int):
            keep[:, start:stop] = keep_largest(scores(start, stop), choice)
        errors = weight.new_zeros(len(weight), stop - start)
        for j in range(start, stop):
            if isinstance(choice, tuple) and j % choice[1] == 0:  # what these neighbours have become decides
                keep[:, j : j + choice[1]] = keep_n_of_m(scores(j, j + choice[1]), *choice)
            error = torch.where(keep[:, j], 0, weight[:, j]) / pivots[j]
            weight[:, j:stop] -= torch.outer(error, upper[j, j:stop])
            errors[:, j - start] = error
        weight[:, stop:] -= errors @ upper[start:stop, stop:]
    return torch.where(keep, weight, 0), keep


def sparsegpt(
    model: nn.Module,
    batches: Iterable[Tensor] | Tensor,
    sparsity: Amount = 0.5,
    *,
    names: Sequence[str] | None = None,
    damping: float = 0.01,
    block_size: int = 128,
) -> Pruned:
    """Prune a network layer by layer, each on the inputs that the pruned layers before it produce.

    Args:
        model: stays as it was.
        batches: inputs of the model; labels are not needed.
        names: see ``second_order.choose_layers``.
        sparsity, damping, block_size: as in ``sparsegpt_weight``, of each layer.
    """
    prune = functools.partial(sparsegpt_weight, damping=damping, block_size=block_size)
    return prune_layers(model, prune, batches, names=names, amount=sparsity)
