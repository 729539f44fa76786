"""SInGE: what a neuron is worth, summed along the way to its removal.

Paper:   after [40] Yvinec, Dapogny, Cord and Bailly, NeurIPS 2022. Only the abstract was at hand: it asks for "the
         integral of the gradient variation on a path towards this neuron removal" and for pruning entwined with
         fine-tuning. The score's formula is recalled, the choices are ours, and no figure of the paper is claimed.
Formula: IG_i = Σ_k W_ik ∫_0^1 ∂L/∂W_ik (μ W_i) dμ  =  L(W) - L(W without neuron i)         signed; bias among the W_ik
         C_i  = Σ_{s=0..S} || μ^s W_i ⊙ ∂L/∂W_i (μ^s W_i) ||_p          0 < μ < 1; S = 0 is |weight · gradient|
         L = ½ Σ a_k w_k²:   C_i = || a ⊙ w² ||_p (1 - μ^(2(S+1))) / (1 - μ²)
Lesson:  a magnitude ignores the rest of the network, a gradient ignores everything but the present place. A path sees
         what happens on the way; its end, the ablation, is what the signed integral gives back exactly.
Learn:   course/5_pruning/5_2_magnitude.ipynb; lab 5.3

    L │                      ╭── L(W without i)     one gradient at μ = 1 sees a flat place
      │                   ╭──╯
      │ ──────────────────╯                         the path sees the wall
      └─────────────────────────  μ: 1 ──► 0

Batch norm must be folded, or a neuron with zero weights still emits what its batch norm adds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from frugal.core.check import describe
from frugal.core.errors import UnsupportedModel
from frugal.graph.channels import Channels, Family, find_channels
from frugal.graph.fold import fold_batchnorm
from frugal.prune.masks import check_sparsity, count_dropped
from frugal.prune.merging import places_of
from frugal.prune.scores import Batches, Loss, choose_groups, leaves_of, loss_at, name_of
from frugal.prune.surgery import remove_channels

PATHS = ("layer", "neuron")
Pairs = Sequence[tuple[Tensor, Tensor]]
Rows = dict[str, Tensor]  # parameter name -> places along axis 0, int64 [neurons, places]


def integrated_gradients(
    model: nn.Module, channels: Channels, family: Family, batches: Batches, loss: Loss, *, nodes: int = 16
) -> Tensor:
    """The signed integral for each neuron of a family: L(W) - L(W without it), from gradients alone.

    Args:
        model: batch norm folded.
        channels, family: of this model; a neuron is a channel with all the rows and biases that make it.
        batches: inputs and labels.
        loss: of outputs and labels, the mean over the batch.
        nodes: of the Gauss-Legendre rule, one backward pass each; exact if L is a polynomial of degree 2 · nodes in μ.

    Returns:
        float64 [neurons]. Negative where removal hurts.
    """
    if nodes < 1:
        raise ValueError(f"nodes must be 1 or more, got {nodes}")
    positions, weights = np.polynomial.legendre.leggauss(nodes)  # on [-1, 1]
    fixed, rows = _prepare(model, channels, family)
    pairs = _all(batches)
    total = torch.zeros(len(family.groups), dtype=torch.float64)
    for neuron in range(len(family.groups)):
        for position, weight in zip(positions, weights, strict=True):
            gradient = _gradient(fixed, rows, [neuron], (position + 1) / 2, pairs, loss)
            total[neuron] += weight / 2 * _products(fixed, rows, gradient)[neuron].sum()
    return total


def ablations(model: nn.Module, channels: Channels, family: Family, batches: Batches, loss: Loss) -> Tensor:
    """L(W) - L(W without the neuron) for each neuron of a family, measured by taking it out: float64 [neurons]."""
    fixed, rows = _prepare(model, channels, family)
    pairs = _all(batches)
    with torch.no_grad():
        full = _loss(fixed, leaves_of(fixed, rows), pairs, loss)
        without = [
            _loss(fixed, _scaled(fixed, rows, [neuron], 0.0), pairs, loss) for neuron in range(len(family.groups))
        ]
    return full.double() - torch.stack(without).double()


def relevance(
    model: nn.Module,
    channels: Channels,
    family: Family,
    batches: Batches,
    loss: Loss,
    *,
    mu: float = 0.9,
    steps: int = 10,
    p: int = 2,
    path: str = "layer",
) -> Tensor:
    """The score C_i of each neuron of a family, after [40].

    Args:
        model, channels, family, batches, loss: see ``integrated_gradients``.
        mu: by how much the weights shrink in a step, between 0 and 1. What counts is how far the path goes: mu^steps.
        steps: S; the sum has S + 1 terms.
        p: of the norm, 1 or 2.
        path: ``"layer"`` shrinks all neurons of the family together, S + 1 backward passes; ``"neuron"`` one at a time,
            S + 1 backward passes for each of them.

    Returns:
        float64 [neurons], 0 or more; larger is more worth keeping.
    """
    if path not in PATHS:
        raise ValueError(f"path must be 'layer' or 'neuron', got {path!r}")
    if not 0 < mu < 1:
        raise ValueError(f"mu must lie between 0 and 1, got {mu}")
    if steps < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")
    if p not in (1, 2):
        raise ValueError(f"p must be 1 or 2, got {p}")
    fixed, rows = _prepare(model, channels, family)
    pairs = _all(batches)
    count = len(family.groups)
    together = [list(range(count))] if path == "layer" else [[neuron] for neuron in range(count)]
    total = torch.zeros(count, dtype=torch.float64)
    for shrinking in together:
        for step in range(steps + 1):
            factor = mu**step
            gradient = _gradient(fixed, rows, shrinking, factor, pairs, loss)
            products = factor * _products(fixed, rows, gradient)[shrinking]
            total[shrinking] += products.norm(p=p, dim=1)
    return total


def relevances(
    model: nn.Module,
    channels: Channels,
    batches: Batches,
    loss: Loss,
    *,
    mu: float = 0.9,
    steps: int = 10,
    p: int = 2,
    path: str = "layer",
) -> Tensor:
    """``relevance`` of all families in one tensor, as ``scores.choose_groups`` takes it: float64 [groups]."""
    scores = torch.full((int(channels.group.max()) + 1,), torch.inf, dtype=torch.float64)
    pairs = _all(batches)
    for family in channels.families():
        own = relevance(model, channels, family, pairs, loss, mu=mu, steps=steps, p=p, path=path)
        scores[list(family.groups)] = own
    return scores


def prune_once(
    model: nn.Module,
    shape: tuple[int, ...],
    batches: Batches,
    loss: Loss,
    sparsity: float,
    *,
    absorb: bool = True,
    mu: float = 0.9,
    steps: int = 10,
    p: int = 2,
    path: str = "layer",
) -> nn.Module:
    """Remove the least relevant share of each family's channels, all at once.

    Args:
        model: with its batch norms, which are folded for the scores and stay in the result; it is not changed.
        shape: of one input, such as (3, 32, 32).
        batches, loss, mu, steps, p, path: of the scores; see ``relevance``.
        sparsity: share of each family's channels to remove, from 0 to below 1.
        absorb: put the mean of what the removed channels emit into the layers that read them.
    """
    check_sparsity(sparsity)
    pairs = _all(batches)
    folded, channels = _folded(model, shape)
    scores = relevances(folded, channels, pairs, loss, mu=mu, steps=steps, p=p, path=path)
    groups = choose_groups(scores, channels, sparsity)
    inputs = [x for x, _ in pairs] if absorb and groups else None
    return remove_channels(model, find_channels(model, shape), groups, batches=inputs)


def prune_entwined(
    model: nn.Module,
    shape: tuple[int, ...],
    batches: Batches,
    loss: Loss,
    sparsity: float,
    fine_tune: Callable[[nn.Module], object],
    *,
    slices: int = 2,
    mu: float = 0.9,
    steps: int = 10,
    p: int = 2,
    path: str = "layer",
) -> nn.Module:
    """Layer by layer, slice by slice: score the network as it is by now, remove the least relevant, fine-tune.

    Args:
        model, shape, batches, loss, sparsity, mu, steps, p, path: see ``prune_once``.
        fine_tune: trains a network in place for as long as it likes; called after every slice.
        slices: in how many parts the channels of a family go.

    Returns:
        A smaller network, in the mode that ``model`` is in. What the removed channels emitted is left to fine-tuning.
    """
    check_sparsity(sparsity)
    if slices < 1:
        raise ValueError(f"slices must be 1 or more, got {slices}")
    pairs = _all(batches)
    smaller = copy.deepcopy(model)
    for before in _folded(model, shape)[1].families():
        wanted = count_dropped(len(before.groups), sparsity)
        for each in range(slices):
            amount = wanted * (each + 1) // slices - wanted * each // slices
            if not amount:
                continue
            folded, channels = _folded(smaller, shape)
            family = next(now for now in channels.families() if now.layers == before.layers)
            scores = relevance(folded, channels, family, pairs, loss, mu=mu, steps=steps, p=p, path=path)
            least = [family.groups[place] for place in scores.argsort(stable=True)[:amount].tolist()]
            smaller = remove_channels(smaller, find_channels(smaller, shape), least)
            fine_tune(smaller)
    return smaller.train(model.training)


def _folded(model: nn.Module, shape: tuple[int, ...]) -> tuple[nn.Module, Channels]:
    """The network with batch norm folded, and its channels; their groups have the same numbers in ``model``."""
    folded = fold_batchnorm(model)
    channels = find_channels(folded, shape)
    if channels.families() != find_channels(model, shape).families():
        raise UnsupportedModel(f"folding batch norm changes the channels of this {type(model).__name__}")
    return folded, channels


def _prepare(model: nn.Module, channels: Channels, family: Family) -> tuple[nn.Module, Rows]:
    """A copy in eval mode, and where the rows and biases of each neuron are."""
    rows: Rows = {}
    for slot, places in places_of(channels, family.groups):
        if slot.role == "along":
            makers = ", ".join(family.layers)
            raise ValueError(
                f"{slot.module} has numbers of its own for the channels of {makers}; fold batch norm first"
            )
        if slot.role == "out":
            rows[name_of(slot)] = places
    return copy.deepcopy(model).eval(), rows


def _all(batches: Batches) -> Pairs:
    pairs = list(batches)
    if not pairs:
        raise ValueError("no batch was given; scores need at least one pair of inputs and labels")
    return pairs


def _scaled(model: nn.Module, rows: Rows, neurons: Sequence[int], factor: float) -> dict[str, Tensor]:
    """The parameters of a family with some neurons shrunk, as leaves."""
    leaves = {}
    for name, weight in leaves_of(model, rows).items():
        scaled = weight.detach().clone()
        scaled[rows[name][neurons].flatten()] *= factor
        leaves[name] = scaled.requires_grad_()
    return leaves


def _gradient(
    model: nn.Module, rows: Rows, neurons: Sequence[int], factor: float, pairs: Pairs, loss: Loss
) -> dict[str, Tensor]:
    """The gradient of the loss where some neurons are shrunk by a factor."""
    leaves = _scaled(model, rows, neurons, factor)
    value = _loss(model, leaves, pairs, loss)
    found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def _loss(model: nn.Module, leaves: dict[str, Tensor], pairs: Pairs, loss: Loss) -> Tensor:
    """The mean over all inputs."""
    count = sum(len(x) for x, _ in pairs)
    value = torch.stack([loss_at(model, leaves, x, y, loss) * (len(x) / count) for x, y in pairs]).sum()
    if not torch.isfinite(value):
        raise ValueError(f"the loss must be finite, got {describe(value)} {value.item()}; look at the batches")
    return value


def _products(model: nn.Module, rows: Rows, gradient: dict[str, Tensor]) -> Tensor:
    """Unscaled weight times gradient, all that belongs to a neuron side by side: float64 [neurons, numbers]."""
    weights = leaves_of(model, rows)
    parts = [(weights[name].detach() * gradient[name])[at].flatten(1).double() for name, at in rows.items()]
    return torch.cat(parts, dim=1)
