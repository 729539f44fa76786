"""Taylor pruning: how much the loss would change without a channel, to first order.

Papers:  Molchanov, Tyree, Karras, Aila and Kautz, ICLR 2017; Molchanov, Mallya, Tyree, Frosio and Kautz, CVPR 2019.
         Beyond the lecture's list.
Formula: L(w) - L(w without filter s) = Σ_{k in s} g_k w_k + …        score (Σ_{k in s} g_k w_k)², mean over batches
         gate: (∂L/∂z)² of a factor z = 1 after the layer;  Σ ∂L/∂y · y = Σ_k g_k w_k, the bias among the w
Learn:   course/5_pruning/5_2_magnitude.ipynb, lab 5.3

The gate needs no code of its own. A layer's output y is linear in its weights and bias, so the gate's gradient is their
g · w; and what batch norm makes is linear in γ and β, so a gate after it has the gradient g_γ γ + g_β β.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from frugal.graph.channels import Channels, find_channels
from frugal.graph.fold import LAYERS
from frugal.graph.names import BATCH_NORMS
from frugal.prune.absorb import remove_with_means
from frugal.prune.scores import Batches, Loss, channel_scores, choose_groups, each_gradient
from frugal.prune.surgery import remove_channels

PLACES = ("filters", "gates")


def taylor_scores(
    model: nn.Module, channels: Channels, batches: Batches, loss: Loss = cross_entropy, *, at: str = "filters"
) -> Tensor:
    """Estimate the squared change of the loss without each group of coupled channels.

    Args:
        model: in the state in which it will run: batch norm keeps its statistics.
        channels: of this model.
        batches: inputs and labels; the squares of each batch are averaged, so small batches say more of the spread.
        loss: of outputs and labels, the mean over the batch.
        at: "filters" for weights and biases of the layers, "gates" for a gate after each batch norm.

    Returns:
        float64 [groups]; infinity for groups without such a place.
    """
    if at not in PLACES:
        raise ValueError(f"at must be one of {', '.join(PLACES)}, got {at!r}")
    names = _names(model, LAYERS if at == "filters" else BATCH_NORMS)
    if not names:
        raise ValueError(f"this network has no place for at={at!r}; use at='filters'")
    parameters = dict(model.named_parameters())
    total, count = torch.zeros(()), 0
    for _, gradient in each_gradient(model, batches, loss, names):
        change = {name: gradient[name] * parameters[name].detach() for name in names}
        role = "out" if at == "filters" else "along"
        total = total + channel_scores(change, channels, within="sum", across="sum", roles=(role,)).square()
        count += 1
    return total / count


def _names(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[str]:
    """Weights and biases of such modules."""
    own = dict(model.named_parameters())
    return [
        name
        for module_name, module in model.named_modules()
        if isinstance(module, kinds)
        for part in ("weight", "bias")
        if (name := f"{module_name}.{part}" if module_name else part) in own
    ]


def prune_taylor(
    model: nn.Module,
    shape: tuple[int, ...],
    sparsity: float,
    batches: Batches,
    loss: Loss = cross_entropy,
    *,
    at: str = "filters",
    scope: str = "global",
    absorb: Iterable[Tensor] | None = None,
    multiple: int = 1,
) -> nn.Module:
    """Return a smaller network without the channels whose removal is estimated to change the loss least.

    Args:
        model: traceable by torch.fx.
        shape: of one input, without the batch.
        sparsity: share of the channels that may go.
        batches, loss, at: see ``taylor_scores``.
        scope: "global" compares changes of the loss as they are: they share one unit; "local" in each layer.
        absorb: inputs on which the means of removed channels are taken, to go into the next layers.
        multiple: channels per layer that kernels like.
    """
    channels = find_channels(model, shape)
    scores = taylor_scores(model, channels, batches, loss, at=at)
    groups = choose_groups(scores, channels, sparsity, scope=scope, relative=False, multiple=multiple)
    if absorb is None:
        return remove_channels(model, channels, groups)
    return remove_with_means(model, channels, groups, absorb)
