"""GraSP: keep the weights without which gradients would flow less.

Paper:   Wang, Zhang and Grosse, "Picking winning tickets before training by preserving gradient flow", ICLR 2020.
         Beyond the lecture's list.
Formula: gradient flow ‖∇L(w)‖²;   without weight q, to first order, it changes by   -2 w_q (H g)_q
         the paper removes the largest of -w ⊙ (H g); so our score, larger = keep, is  w ⊙ (H g)
Learn:   course/5_pruning/5_5_fine_tuning.ipynb

H g, Hessian times gradient, needs no Hessian: it is the gradient of gᵀ·(g held fixed), a second backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from frugal.core.check import describe
from frugal.prune.masks import Pruned, keep_globally, masked, weights_of
from frugal.prune.scores import Batches, Loss, leaves_of, loss_at, mode


def hessian_times_gradient(loss: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """H g of a scalar that was computed from ``leaves``; g is the gradient, H the Hessian, over all leaves together.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> hessian_times_gradient((w**3).sum(), {"w": w})["w"].tolist()  # g = 3 w², H = diag(6 w)
    [18.0, 144.0]
    """
    wanted = list(leaves.values())
    first = torch.autograd.grad(loss, wanted, create_graph=True, allow_unused=True, materialize_grads=True)
    product = torch.stack([(g * g.detach()).sum() for g in first]).sum()
    if not product.requires_grad:  # the loss is linear in the leaves
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    second = torch.autograd.grad(product, wanted, allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, second, strict=True))


def grasp_scores(
    model: nn.Module, batches: Batches, loss: Loss = cross_entropy, *, training: bool = True
) -> dict[str, Tensor]:
    """w ⊙ (H g) of every weight, with its sign.

    Args:
        model: at initialisation; it is not changed.
        batches: inputs and labels. H g is taken of each batch, and their mean by size.
        loss: of outputs and labels, the mean over the batch.
        training: take batch norm's statistics from the batch; a network at initialisation has no others.
    """
    weights = weights_of(model)
    leaves = leaves_of(model, list(weights))
    total: dict[str, Tensor] = {}
    count = 0
    with mode(model, training):
        for x, y in batches:
            count += len(x)
            for name, value in hessian_times_gradient(loss_at(model, leaves, x, y, loss), leaves).items():
                total[name] = total.get(name, 0) + len(x) * value
    if count == 0:
        raise ValueError("no batch was given; GraSP needs at least one pair of inputs and labels")
    scores = {name: total[name] / count * weight.detach() for name, weight in weights.items()}
    for name, each in scores.items():
        if not torch.isfinite(each).all():
            raise ValueError(f"the scores of {name} must be finite, got {describe(each)}; look at the batches")
    return scores


def prune_grasp(
    model: nn.Module,
    sparsity: float,
    batches: Batches,
    loss: Loss = cross_entropy,
    *,
    training: bool = True,
    at_least: int = 0,
) -> Pruned:
    """Return a copy that keeps the weights which preserve the flow of gradients; train it with its masks.

    Args:
        model, batches, loss, training: see ``grasp_scores``.
        sparsity: share of zeros over all layers.
        at_least: weights that every layer keeps.
    """
    masks = keep_globally(grasp_scores(model, batches, loss, training=training), sparsity, at_least=at_least)
    return Pruned(masked(model, masks), masks)
