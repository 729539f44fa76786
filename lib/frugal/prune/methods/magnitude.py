"""Pruning by magnitude: what is small goes first, and what it still emits moves into the next bias.

Papers:  Han et al., NeurIPS 2015 (single weights); Li et al., ICLR 2017 (rows). Lecture: equation (5), slide 29.
Formula: score |w|, or ‖row i‖_p.  Neuron i goes:   W1 without row i,  b1 without i,  W2 without column i,
         b2' = b2 + W2[:, i] · c_i        c_i = σ(b1_i), what the neuron emits once its row is 0
         local: the smallest share of each layer;  global: the smallest of all layers
Learn:   course/5_pruning/5_2_magnitude.ipynb, lab 5.1

Where row i is 0 the removal is exact. Where it is small, c_i is a first guess; the mean of the neuron's outputs on some
data is the best constant in the sense of least squares (``absorb="mean"``). The slide prints the changed bias with row
and column of W2 exchanged; ERRATA.md has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from frugal.core.check import describe
from frugal.graph.channels import Channels, find_channels
from frugal.graph.fold import fold_batchnorm
from frugal.prune.absorb import remove_silent, remove_with_means
from frugal.prune.masks import Pruned, keep, masked
from frugal.prune.scores import channel_norms, choose_groups, magnitudes
from frugal.prune.surgery import remove_channels

ABSORB = ("bias", "mean", "nothing")
TwoLayers = tuple[Tensor, Tensor, Tensor, Tensor]  # W1 [m, n], b1 [m], W2 [k, m], b2 [k]


def remove_neurons(
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    neurons: Sequence[int],
    activation: Callable[[Tensor], Tensor],
    constants: Tensor | None = None,
) -> TwoLayers:
    """Equation (5) for several neurons at once.

    Args:
        w1, b1, w2, b2: of y = W2 σ(W1 x + b1) + b2; [m, n], [m], [k, m], [k].
        neurons: which rows of W1 go.
        activation: σ, elementwise.
        constants: what the neurons are taken to emit, [len(neurons)]; σ(b1) by default.

    Returns:
        W1, b1, W2 and b2 of the smaller pair.

    >>> w1, b1 = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([0.0, 3.0])
    >>> w2, b2 = torch.tensor([[5.0, 7.0]]), torch.tensor([1.0])
    >>> [each.tolist() for each in remove_neurons(w1, b1, w2, b2, [1], torch.relu)]
    [[[1.0, 2.0]], [0.0], [[5.0]], [22.0]]
    """
    _check_pair(w1, b1, w2, b2, neurons)
    gone = torch.tensor(list(neurons), dtype=torch.int64)
    stay = torch.ones(len(b1), dtype=torch.bool)
    stay[gone] = False
    emitted = activation(b1[gone]) if constants is None else constants
    if emitted.shape != gone.shape:
        raise ValueError(f"one constant for each of {len(gone)} neurons is needed, got {describe(emitted)}")
    return w1[stay], b1[stay], w2[:, stay], b2 + w2[:, gone] @ emitted


def _check_pair(w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, neurons: Sequence[int]) -> None:
    if w1.ndim != 2 or w2.ndim != 2 or b1.shape != w1.shape[:1] or w2.shape != (*b2.shape, *b1.shape):
        shapes = ", ".join(str(list(each.shape)) for each in (w1, b1, w2, b2))
        raise ValueError(f"W1 [m, n], b1 [m], W2 [k, m] and b2 [k] do not fit together: {shapes}")
    if outside := [i for i in neurons if not 0 <= i < len(b1)]:
        raise ValueError(f"there is no neuron {outside[0]}; the layer has neurons 0 to {len(b1) - 1}")
    if len(set(neurons)) != len(neurons):
        raise ValueError(f"a neuron goes once, got {list(neurons)}")
    if len(neurons) == len(b1):
        raise ValueError(f"all {len(b1)} neurons would go; keep one")


def prune_weights(model: nn.Module, sparsity: float, *, scope: str = "global") -> Pruned:
    """Return a copy without its smallest weights: exactly so many are 0, and none of them is gone.

    Args:
        model: any network with convolutions or linear layers.
        sparsity: share of zeros, from 0 to below 1.
        scope: "local" for the same share in each layer, "global" for one threshold.

    >>> net = nn.Linear(2, 2)
    >>> net.weight.data = torch.tensor([[1.0, -4.0], [0.5, 2.0]])
    >>> prune_weights(net, 0.5).model.weight.tolist()
    [[0.0, -4.0], [0.0, 2.0]]
    """
    masks = keep(magnitudes(model), sparsity, scope)
    return Pruned(masked(model, masks), masks)


def prune_channels(
    model: nn.Module,
    shape: tuple[int, ...],
    sparsity: float,
    *,
    p: int = 2,
    members: str = "out",
    scope: str = "local",
    absorb: str = "bias",
    batches: Iterable[Tensor] | None = None,
    multiple: int = 1,
) -> nn.Module:
    """Return a smaller network without the channels whose weights have the smallest norms.

    Args:
        model: traceable by torch.fx. Batch norm is folded to compare norms, and stays in the result.
        shape: of one input, without the batch.
        sparsity: share of the channels that may go, from 0 to below 1.
        p: of the norm, 1 or 2.
        members: "out" for the rows that make a channel, "all" for all that goes with it.
        scope: "local" takes this share of every family of coupled channels, "global" of all, by relative norm.
        absorb: what goes into the next layers: "bias", what a channel without weights emits (equation 5); "mean", what
            it emits on ``batches``; "nothing".
        batches: inputs, for "mean".
        multiple: channels per layer that kernels like.
    """
    channels = find_channels(model, shape)
    norms = channel_norms(fold_batchnorm(model), channels, p=p, members=members)
    groups = choose_groups(norms, channels, sparsity, scope=scope, multiple=multiple)
    return remove_absorbing(model, channels, groups, shape, absorb=absorb, batches=batches)


def remove_absorbing(
    model: nn.Module,
    channels: Channels,
    groups: Iterable[int],
    shape: tuple[int, ...],
    *,
    absorb: str = "bias",
    batches: Iterable[Tensor] | None = None,
) -> nn.Module:
    """Equation (5) for a whole network: remove groups of channels and absorb what they emit; see ``prune_channels``.

    For "bias", the rows are set to 0 in a copy. Their channels are constant then, whatever the input: one input of
    zeros shows what they emit, and no data is needed.
    """
    if absorb not in ABSORB:
        raise ValueError(f"absorb must be one of {', '.join(ABSORB)}, got {absorb!r}")
    if (absorb == "mean") != (batches is not None):
        raise ValueError("absorb='mean' needs batches=, inputs of the network; the other choices take none")
    if absorb == "nothing":
        return remove_channels(model, channels, groups)
    if batches is not None:
        return remove_with_means(model, channels, groups, batches)
    return remove_silent(model, channels, groups, shape)
