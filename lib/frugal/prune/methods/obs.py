"""Optimal brain surgeon: remove the weight that is missed least, and move all others to where they do best without it.

Papers:  Hassibi & Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon", NeurIPS 1992 (1993);
         row by row of one layer after Frantar, Singh, Alistarh, "Optimal Brain Compression", NeurIPS 2022, 2208.11580.
Formula: score  L_q = w_q² / (2 [H⁻¹]_qq)          what the loss rises by, once the others have moved
         update δw  = -w_q / [H⁻¹]_qq · H⁻¹ e_q     and so w_q + δw_q = 0
         next   H⁻¹ -= H⁻¹ e_q e_qᵀ H⁻¹ / [H⁻¹]_qq   the inverse of H without row and column q
Learn:   course/5_pruning

OBD holds the others still; OBS lets them answer. Its price is H⁻¹ for every row of the weight, in³ operations each:
right for layers of some hundred inputs. SparseGPT is what remains affordable beyond.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, describe
from frugal.prune.masks import Pruned, count_dropped
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

ROOM = 1 << 24  # values that the inverses of the rows in work may take together: 128 MiB


def obs_scores(w: Tensor, inverse: Tensor) -> Tensor:
    """What removing each weight costs.

    Args:
        w: [..., n].
        inverse: H⁻¹, [..., n, n].

    >>> obs_scores(torch.tensor([1.0, 2.0]), torch.eye(2)).tolist()
    [0.5, 2.0]
    """
    return w.square() / (2 * inverse.diagonal(dim1=-2, dim2=-1))


def obs_step(w: Tensor, inverse: Tensor, q: int) -> tuple[Tensor, Tensor]:
    """Remove weight q: the others move, and H⁻¹ forgets it.

    Args:
        w: [n].
        inverse: H⁻¹, [n, n]; zero in the rows and columns of weights that went before.

    Returns:
        The new weights, 0 at q, and the inverse for the next step.
    """
    if not 0 <= q < len(w):
        raise ValueError(f"q must be from 0 to {len(w) - 1}, got {q}")
    if not inverse[q, q] > 0:
        raise ValueError(
            f"weight {q} has no place in this inverse: [H⁻¹]_qq is {inverse[q, q].item():g}; was it removed?"
        )
    new, next_inverse = _steps(w[None].clone(), inverse[None].clone(), torch.tensor([q]))
    return new[0], next_inverse[0]


def remove_jointly(w: Tensor, inverse: Tensor, remove: Tensor) -> Tensor:
    """Remove a set of weights at once: δw = -H⁻¹[:, R] (H⁻¹[R, R])⁻¹ w_R.

    The steps of ``obs_step`` over the same set, in any order, end here too.

    Args:
        w: [n].
        inverse: H⁻¹, [n, n].
        remove: bool [n].
    """
    if remove.dtype != torch.bool or remove.shape != w.shape:
        raise ValueError(f"remove must be bool {list(w.shape)}, got {describe(remove)}")
    moved = w - inverse[:, remove] @ torch.linalg.solve(inverse[remove][:, remove], w[remove])
    return torch.where(remove, 0, moved)


def obs_weight(weight: Tensor, gram: Gram, sparsity: Amount = 0.5, *, damping: float = 0.01) -> tuple[Tensor, Tensor]:
    """Prune one layer, one weight of every row at a time.

    Args:
        weight: [out, in, ...], of a linear layer or a convolution.
        gram: of the layer's inputs, see ``second_order.layer_gram``.
        sparsity: the share of zeros in every row; or (n, m) to keep n of every m neighbours.
        damping: λ in H = XᵀX + λ I, as a share of the mean of XᵀX's diagonal.

    Returns:
        The moved weight with zeros, in the weight's dtype, and which weights were kept.
    """
    check_finite(weight, "weight")
    check_amount(sparsity, weight)
    rows = weight_rows(weight.detach()).double()
    depth = rows.shape[1]
    n, m = sparsity if isinstance(sparsity, tuple) else (0, depth)
    count = depth // m * (m - n) if isinstance(sparsity, tuple) else count_dropped(depth, sparsity)
    new, kept = torch.empty_like(rows), torch.empty_like(rows, dtype=torch.bool)
    together = max(ROOM // depth**2, 1)
    for part, sums in gram.parts(weight):
        inverse = invert(damped(sums, damping))
        for start in range(part.start, part.stop, together):
            some = slice(start, min(start + together, part.stop))
            new[some], kept[some] = _greedy(rows[some], inverse, count, n, m)
    return weight_of_rows(new, weight).to(weight.dtype), weight_of_rows(kept, weight)


def _greedy(rows: Tensor, inverse: Tensor, count: int, n: int, m: int) -> tuple[Tensor, Tensor]:
    """Take the cheapest weight of every row, ``count`` times; each group of m keeps n."""
    w, inverses = rows.clone(), inverse.expand(len(rows), -1, -1).clone()
    keep = torch.ones_like(w, dtype=torch.bool)
    each = torch.arange(len(w))
    for _ in range(count):
        full = keep.unflatten(1, (-1, m)).sum(-1, keepdim=True) > n  # groups that can still spare one
        free = keep & full.expand(-1, -1, m).flatten(1)
        q = torch.where(free, obs_scores(w, inverses), torch.inf).argmin(1)
        w, inverses = _steps(w, inverses, q)
        keep[each, q] = False
        w[~keep] = 0  # they are 0 but for rounding
    return w, keep


def _steps(w: Tensor, inverses: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """``obs_step`` for several rows [rows, n], each with its inverse and its q. Changes its arguments."""
    each = torch.arange(len(w))
    column = inverses[each, :, q]  # [rows, n]
    pivot = column[each, q][:, None]
    w -= w[each, q][:, None] / pivot * column
    inverses -= (column / pivot)[:, :, None] * column[:, None, :]
    w[each, q] = 0
    inverses[each, q, :] = 0
    inverses[each, :, q] = 0
    return w, inverses


def obs(
    model: nn.Module,
    batches: Iterable[Tensor] | Tensor,
    sparsity: Amount = 0.5,
    *,
    names: Sequence[str] | None = None,
    damping: float = 0.01,
) -> Pruned:
    """Prune a network layer by layer, each on the inputs that the pruned layers before it produce.

    Args:
        model: stays as it was.
        batches: inputs of the model; labels are not needed.
        names: see ``second_order.choose_layers``.
        sparsity, damping: as in ``obs_weight``, of each layer.
    """
    prune = functools.partial(obs_weight, damping=damping)
    return prune_layers(model, prune, batches, names=names, amount=sparsity)
