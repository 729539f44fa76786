"""Scores: what a weight or a channel is worth. Larger is more worth keeping.

Papers:  Han et al., NeurIPS 2015 (|w|); Lee et al., ICLR 2019 (|g w|); Fang et al., CVPR 2023 (coupled channels).
Formula: single weights   |w|          g · w, the first term of the loss's series: L(w) - L(0) = g · w + …
         a channel        within a layer: Σ s, mean s, max s or √Σ s²;  across the coupled layers: the same choice
Learn:   course/5_pruning/5_2_magnitude.ipynb

    conv1 row 7   ─┐
    conv2 row 7   ─┼─ one group (graph.channels): one score, all go or none
    conv3 input 7 ─┘

``choose_groups`` turns the scores of groups into the list that ``surgery.remove_channels`` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from frugal.core.check import describe
from frugal.core.seed import generator
from frugal.graph.channels import Channels
from frugal.graph.names import Slot
from frugal.prune.masks import check_scores, check_sparsity, count_dropped, keep_globally, keep_largest, weights_of

Batches = Iterable[tuple[Tensor, Tensor]]  # inputs and labels
Loss = Callable[[Tensor, Tensor], Tensor]  # outputs and labels -> the mean over the batch
WAYS = ("sum", "mean", "max", "l2")


# Single weights.


def magnitudes(model: nn.Module) -> dict[str, Tensor]:
    """|w| of every weight that can be masked."""
    return {name: weight.detach().abs() for name, weight in weights_of(model).items()}


def random_scores(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Uniform scores: the control that every criterion should beat."""
    rng = generator("random scores", seed)
    return {name: torch.rand(weight.shape, generator=rng) for name, weight in weights_of(model).items()}


def gradient_times_weight(model: nn.Module, batches: Batches, loss: Loss) -> dict[str, Tensor]:
    """g · w with its sign, of every weight that can be masked; g is the mean gradient over all inputs."""
    weights = weights_of(model)
    gradient = gradients(model, batches, loss, names=list(weights))
    return {name: gradient[name] * weight.detach() for name, weight in weights.items()}


# Gradients, without touching the model.


def gradients(
    model: nn.Module, batches: Batches, loss: Loss, names: Iterable[str] | None = None, *, training: bool = False
) -> dict[str, Tensor]:
    """The mean gradient over all inputs of all batches; see ``each_gradient``."""
    total: dict[str, Tensor] = {}
    count = 0
    for size, each in each_gradient(model, batches, loss, names, training=training):
        count += size
        for name, value in each.items():
            total[name] = total.get(name, 0) + size * value
    return {name: value / count for name, value in total.items()}


def each_gradient(
    model: nn.Module, batches: Batches, loss: Loss, names: Iterable[str] | None = None, *, training: bool = False
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Give the gradient of each batch; the model's weights, gradients, statistics and modes stay as they are.

    Args:
        model: any network.
        batches: inputs and labels.
        loss: of outputs and labels, the mean over the batch.
        names: of parameters; all by default.
        training: run in training mode, as a network must that has no statistics for batch norm yet.

    Yields:
        The number of inputs, and the gradient by parameter name.

    Raises:
        ValueError: there is no batch, a name does not exist, or a gradient is not finite.
    """
    leaves = leaves_of(model, names)
    empty = True
    for x, y in batches:
        empty = False
        with mode(model, training):
            value = loss_at(model, leaves, x, y, loss)
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
        gradient = dict(zip(leaves, found, strict=True))
        for name, each in gradient.items():
            if not torch.isfinite(each).all():
                raise ValueError(f"the gradient of {name} must be finite, got {describe(each)}; look at the batch")
        yield len(x), gradient
    if empty:
        raise ValueError("no batch was given; gradients need at least one pair of inputs and labels")


def leaves_of(model: nn.Module, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Parameters as leaves of a graph of their own: what is computed from them leaves no trace in the model."""
    parameters = dict(model.named_parameters())
    chosen = list(parameters) if names is None else list(names)
    if missing := [name for name in chosen if name not in parameters]:
        raise ValueError(f"there is no parameter {missing[0]!r}; this model has {', '.join(list(parameters)[:5])}, …")
    return {name: parameters[name].detach().requires_grad_() for name in chosen}


def loss_at(model: nn.Module, leaves: Mapping[str, Tensor], x: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """The loss with ``leaves`` in the place of the model's own parameters, and copies of its statistics."""
    copies = {name: buffer.clone() for name, buffer in model.named_buffers()}
    return loss(functional_call(model, {**copies, **leaves}, (x,)), y)


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Run a network in one mode, and set every module back to the one it had."""
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, was in modes.items():
            module.training = was


# Channels.


def channel_scores(
    scores: Mapping[str, Tensor],
    channels: Channels,
    *,
    within: str = "l2",
    across: str = "sum",
    roles: Iterable[str] = ("out",),
) -> Tensor:
    """Gather the scores of single weights into one for each group of coupled channels.

    Args:
        scores: by parameter name; parameters that are not in it have no say.
        channels: of the model, from ``find_channels``.
        within: how the weights of one parameter that belong to a group are put together: sum, mean, max or l2.
        across: how the parameters of a group are.
        roles: "out" for the rows that make a channel, "in" for the columns that read it, "along" for batch norm's.

    Returns:
        float64 [groups]; infinity for a group that no score is about.

    >>> from frugal.graph.channels import find_channels
    >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1))
    >>> scores = {"0.weight": torch.tensor([[3.0, 4.0], [0.0, 1.0]]), "1.weight": torch.tensor([[1.0, 2.0]])}
    >>> channel_scores(scores, find_channels(net, (2,)), roles=("out", "in"))[:2]
    tensor([6., 3.], dtype=torch.float64)
    """
    for way in (within, across):
        if way not in WAYS:
            raise ValueError(f"within and across must be one of {', '.join(WAYS)}; got {way!r}")
    wanted = tuple(roles)
    parts = [
        _part(scores[name_of(slot)], channels, slot, within)
        for slot in channels.slots
        if slot.role in wanted and name_of(slot) in scores
    ]
    if not parts:
        raise ValueError(f"none of the {len(scores)} scores belongs to a channel of role {' or '.join(wanted)}")
    values, present = (torch.stack(each) for each in zip(*parts, strict=True))  # [parameters, groups]
    together = _together(values, present, across)
    return torch.where(present.any(0), together, torch.inf)


def _part(scores: Tensor, channels: Channels, slot: Slot, within: str) -> tuple[Tensor, Tensor]:
    """What one parameter says of every group, and of which groups it says something."""
    check_scores(scores, f"the scores of {name_of(slot)}")
    if scores.ndim <= slot.axis or scores.shape[slot.axis] != len(slot.channels):
        raise ValueError(
            f"{name_of(slot)} has {len(slot.channels)} channels along axis {slot.axis}, its scores {describe(scores)}"
        )
    places = scores.detach().double().movedim(slot.axis, 0).reshape(len(slot.channels), -1)
    groups = channels.groups_of(slot)
    places, groups = places[groups >= 0], groups[groups >= 0]
    count = int(channels.group.max()) + 1
    sizes = torch.bincount(groups, minlength=count)
    zeros = torch.zeros(count, dtype=torch.float64)
    if within == "max":
        return zeros.scatter_reduce(0, groups, places.amax(1), "amax", include_self=False), sizes > 0
    sums = zeros.index_add(0, groups, (places.square() if within == "l2" else places).sum(1))
    if within == "mean":
        sums = sums / (sizes * places.shape[1]).clamp(min=1)
    return sums.sqrt() if within == "l2" else sums, sizes > 0


def _together(values: Tensor, present: Tensor, across: str) -> Tensor:
    """[parameters, groups] -> [groups]"""
    if across == "max":
        return torch.where(present, values, -torch.inf).amax(0)
    sums = torch.where(present, values.square() if across == "l2" else values, 0).sum(0)
    if across == "mean":
        return sums / present.sum(0).clamp(min=1)
    return sums.sqrt() if across == "l2" else sums


def name_of(slot: Slot) -> str:
    """The name of the parameter that a slot is about."""
    return f"{slot.module}.{slot.parameter}" if slot.module else slot.parameter


def channel_norms(model: nn.Module, channels: Channels, *, p: int = 2, members: str = "out") -> Tensor:
    """The norm of each group's weights.

    Args:
        model: with batch norm folded, or the norms are not those of the function that runs.
        channels: of this model, or of the same one before folding.
        p: 1 or 2.
        members: "out" adds the norms of the rows that make the channel (one term where nothing is coupled);
            "all" takes one norm of everything that goes: rows, biases and the columns that read it.

    Returns:
        float64 [groups].
    """
    if p not in (1, 2):
        raise ValueError(f"p must be 1 or 2, got {p}")
    if members not in ("out", "all"):
        raise ValueError(f"members must be 'out' or 'all', got {members!r}")
    within = "l2" if p == 2 else "sum"
    if members == "out":
        return channel_scores(magnitudes(model), channels, within=within, across="sum")
    everything = {name: parameter.detach().abs() for name, parameter in model.named_parameters()}
    return channel_scores(everything, channels, within=within, across=within, roles=("out", "in"))


def choose_groups(
    scores: Tensor,
    channels: Channels,
    sparsity: float,
    *,
    scope: str = "local",
    relative: bool = True,
    multiple: int = 1,
) -> list[int]:
    """Choose the groups with the smallest scores, for ``surgery.remove_channels``; every family keeps one at least.

    Args:
        scores: [groups]; families with an infinite score stay whole.
        channels: of the model.
        sparsity: share of the channels to remove, from 0 to below 1.
        scope: "local" removes this share from each family, "global" from all families together.
        relative: for "global": compare scores as multiples of their family's mean, since layers differ in scale.
        multiple: each family keeps a multiple of so many channels, rounded up; kernels like 8 or 16.

    Returns:
        Numbers of groups, ascending.
    """
    check_sparsity(sparsity)
    count = int(channels.group.max()) + 1
    if scores.shape != (count,):
        raise ValueError(f"scores must hold one value for each of {count} groups, got {describe(scores)}")
    if scores.isnan().any():
        raise ValueError(f"scores must not hold nan, got {describe(scores)}")
    if scope not in ("local", "global"):
        raise ValueError(f"scope must be 'local' or 'global', got {scope!r}")
    if multiple < 1:
        raise ValueError(f"multiple must be 1 or more, got {multiple}")
    families = [torch.tensor(family.groups) for family in channels.families()]
    families = [groups for groups in families if scores[groups].isfinite().all()]
    if not families:
        raise ValueError("no channel of this network may be removed and has a score; see channels.frozen for reasons")
    kept = _kept_globally([scores[groups] for groups in families], sparsity, relative) if scope == "global" else None
    gone: list[int] = []
    for index, groups in enumerate(families):
        wanted = len(groups) - count_dropped(len(groups), sparsity) if kept is None else kept[index]
        wanted = min(len(groups), -(-wanted // multiple) * multiple)
        keep = keep_largest(scores[groups], (len(groups) - wanted) / len(groups))
        gone += groups[~keep].tolist()
    return sorted(gone)


def _kept_globally(scores: list[Tensor], sparsity: float, relative: bool) -> list[int]:
    """How many channels of each family are among the best of all."""
    comparable = [each / (each.abs().mean() or 1.0) if relative else each for each in scores]
    masks = keep_globally({str(index): each for index, each in enumerate(comparable)}, sparsity, at_least=1)
    return [int(keep.sum()) for keep in masks.values()]
