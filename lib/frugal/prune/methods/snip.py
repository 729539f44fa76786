"""SNIP: which connections matter to the loss, asked once, before training.

Paper:   Lee, Ajanthan and Torr, "SNIP: Single-shot network pruning based on connection sensitivity", ICLR 2019.
         Beyond the lecture's list.
Formula: the loss with switches c on the weights, L(c ⊙ w);   g_j = ∂L/∂c_j at c = 1, which is ∂L/∂w_j · w_j
         s_j = |g_j| / Σ_k |g_k|       the largest are kept, over all layers together
Learn:   course/5_pruning/5_5_fine_tuning.ipynb
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from frugal.prune.masks import Pruned, keep_globally, masked, weights_of
from frugal.prune.scores import Batches, Loss, gradients


def snip_scores(
    model: nn.Module, batches: Batches, loss: Loss = cross_entropy, *, training: bool = True
) -> dict[str, Tensor]:
    """The share that each connection has in the sensitivity of the loss.

    Args:
        model: at initialisation, or trained; it is not changed.
        batches: inputs and labels; one batch, in the paper.
        loss: of outputs and labels, the mean over the batch.
        training: take batch norm's statistics from the batch; a network at initialisation has no others.

    Returns:
        By parameter name; all together they sum to 1.
    """
    weights = weights_of(model)
    gradient = gradients(model, batches, loss, list(weights), training=training)
    sensitivity = {name: (gradient[name] * weight.detach()).abs() for name, weight in weights.items()}
    total = sum(each.sum() for each in sensitivity.values())
    if not total > 0:
        raise ValueError(
            "no connection changes the loss on these batches: every gradient is 0; look at the first layer"
        )
    return {name: each / total for name, each in sensitivity.items()}


def prune_snip(
    model: nn.Module,
    sparsity: float,
    batches: Batches,
    loss: Loss = cross_entropy,
    *,
    training: bool = True,
    at_least: int = 0,
) -> Pruned:
    """Return a copy that keeps the connections to which the loss is most sensitive; train it with its masks.

    Args:
        model, batches, loss, training: see ``snip_scores``.
        sparsity: share of zeros over all layers.
        at_least: weights that every layer keeps; with 0, as in the paper, a layer may be cut off.

    >>> import torch
    >>> net = nn.Linear(4, 2)
    >>> pruned = prune_snip(net, 0.5, [(torch.randn(8, 4), torch.randint(2, (8,)))])
    >>> int(pruned.masks["weight"].sum())
    4
    """
    masks = keep_globally(snip_scores(model, batches, loss, training=training), sparsity, at_least=at_least)
    return Pruned(masked(model, masks), masks)
