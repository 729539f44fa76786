"""Merging channels: which channels of a network may become one, how far apart they are, and making them one.

Lecture: equation (6), slide 30, written there for two linear layers; here for the coupled channels of any network.
Formula: rows      w_first = Σ_i average_i · w_i        in every layer that makes the channels, biases too
         columns   v_first = Σ_i add_i · v_i            in every layer that reads them; its bias stays
Learn:   course/5_pruning/5_3_similarity.ipynb; lab 5.2

    conv1 ─┐                      channel 3 of conv1 and channel 3 of conv2 meet in the sum: they are one channel, and
           + ─► relu ─► conv3     two channels are alike only if they are alike in conv1 and in conv2. Merged, both lose
    conv2 ─┘                      the same row, and conv3 adds the columns.

A channel can be merged where all that lies between its makers and its readers treats channels alike and each by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frugal.core.errors import UnsupportedModel
from frugal.graph.channels import Channels, Family, find_channels
from frugal.graph.fold import fold_batchnorm
from frugal.graph.names import CONVS, NOBODY, Slot
from frugal.prune.linkage import members
from frugal.prune.surgery import remove_channels


@dataclass(frozen=True)
class Cell:
    """Channels that become one.

    groups:  their numbers; the first stays.
    average: what each gives to the merged row. For a mean, 1 / number of groups.
    add:     how often each column is taken. 1, or what a channel emits in units of what the merged one emits.
    """

    groups: tuple[int, ...]
    average: tuple[float, ...]
    add: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A family of channels that may be merged.

    family:   its layers and the numbers of its groups.
    vectors:  all that makes a channel: its rows and biases in every layer, side by side.  float64 [groups, numbers]
    outgoing: the length of all columns that read it.  float64 [groups]
    """

    family: Family
    vectors: Tensor
    outgoing: Tensor


def mean_cells(family: Family, cells: Tensor, importance: Tensor | None = None) -> list[Cell]:
    """Equation (6) for each cell: average the rows, add the columns.

    Args:
        family: whose groups are put together.
        cells: the cell of each group, int64 [groups].
        importance: makes the average a weighted one, [groups]; a cell in which all are 0 gets the plain mean.
    """
    weight = torch.ones(len(cells), dtype=torch.float64) if importance is None else importance.double()
    found = []
    for together in members(cells):
        share = weight[together] if weight[together].sum() > 0 else torch.ones(len(together), dtype=torch.float64)
        groups = tuple(family.groups[each] for each in together)
        found.append(Cell(groups, tuple((share / share.sum()).tolist()), (1.0,) * len(groups)))
    return found


def merge_network(
    model: nn.Module, shape: tuple[int, ...], choose: Callable[[list[Candidate]], Iterable[Cell]]
) -> nn.Module:
    """Fold batch norms, let ``choose`` say which channels become one, and merge them all at once.

    Args:
        model: traceable by torch.fx; it stays as it was.
        shape: of one input, such as (3, 32, 32).
        choose: gets all families that may be merged, in the order of the network.

    Returns:
        A smaller copy in eval mode.

    Raises:
        UnsupportedModel: no channels of this network can be merged; the message says why.
    """
    folded = fold_batchnorm(model)
    channels = find_channels(folded, shape)
    reasons = {family: why_not(folded, channels, family) for family in channels.families()}
    if not reasons or all(reasons.values()):
        because = next(iter(reasons.values()), next(iter(channels.frozen.values()), "it has no layers"))
        raise UnsupportedModel(f"no channels of this {type(model).__name__} can be merged: {because}")
    found = [candidate(folded, channels, family) for family, reason in reasons.items() if not reason]
    return merge_channels(folded, channels, choose(found))


def candidate(model: nn.Module, channels: Channels, family: Family) -> Candidate:
    """Collect what is known of the channels of a family; refuses one that cannot be merged."""
    if reason := why_not(model, channels, family):
        raise ValueError(f"the channels of {', '.join(family.layers)} cannot be merged: {reason}")
    parts: dict[str, list[Tensor]] = {"out": [], "in": []}
    for slot, places in places_of(channels, family.groups):
        along: Tensor = getattr(model.get_submodule(slot.module), slot.parameter).detach().movedim(slot.axis, 0)
        parts[slot.role].append(along[places].double().flatten(1))
    outgoing = torch.cat(parts["in"], dim=1).norm(dim=1) if parts["in"] else torch.zeros(len(family.groups)).double()
    return Candidate(family, torch.cat(parts["out"], dim=1), outgoing)


def why_not(model: nn.Module, channels: Channels, family: Family) -> str:
    """Say why the channels of a family cannot be merged, or nothing."""
    partners: dict[int, tuple[int, ...]] = {}
    try:
        touched = list(places_of(channels, family.groups))
    except ValueError as error:
        return str(error)
    for slot, places in touched:
        layer: Any = model.get_submodule(slot.module)
        what = f"{slot.module or 'the network'} ({type(layer).__name__})"
        if slot.role == "along":
            return f"{what} has numbers of its own for each of them; batch norms must be folded, others cannot be"
        if isinstance(layer, CONVS) and layer.groups not in (1, layer.in_channels):
            return f"{what} has {layer.groups} groups, each of which must keep as many channels as the others"
        for together in slot.channels[places].T.unique(dim=0).tolist():
            if any(partners.setdefault(name, tuple(together)) != tuple(together) for name in together):
                return f"{what} sees them in another order than the layers before"
    return next((f"{name} ({type(m).__name__}) mixes channels" for name, m in model.named_modules() if _mixes(m)), "")


def places_of(channels: Channels, groups: Sequence[int]) -> Iterator[tuple[Slot, Tensor]]:
    """For each slot that some of the groups occur in, their places along its axis: int64 [groups, places].

    Place k of one group corresponds to place k of another: pixel k of a flattened picture, for example.

    Raises:
        ValueError: a group occurs more often than another.
    """
    count = int(channels.group.max()) + 1
    if outside := [group for group in groups if not 0 <= group < count]:
        raise ValueError(f"there is no group {outside[0]}; this network has groups 0 to {count - 1}")
    rank = torch.full((count + 1,), NOBODY)  # the last is for NOBODY
    rank[list(groups)] = torch.arange(len(groups))
    for slot in channels.slots:
        of = rank[channels.groups_of(slot)]
        here = (of >= 0).nonzero().flatten()
        times = of[here].bincount(minlength=len(groups))
        if (times != times[0]).any():
            raise ValueError(f"{slot.module}: some of these channels occur {int(times.max())} times, others less often")
        if times[0] > 0:
            yield slot, here[of[here].argsort(stable=True)].view(len(groups), -1)


@torch.no_grad()
def merge_channels(model: nn.Module, channels: Channels, cells: Iterable[Cell]) -> nn.Module:
    """Return a smaller copy in which the channels of each cell are one.

    Args:
        model: batch norm folded.
        channels: of this model, from ``find_channels``.
        cells: no group in two of them, all groups of one cell from the same family.

    Raises:
        ValueError: a group is frozen, occurs twice, or belongs to another family than the rest of its cell.
    """
    chosen = [cell for cell in cells if len(cell.groups) > 1]
    _check_cells(channels, chosen)
    merged = copy.deepcopy(model)
    for family in channels.families():
        of_this = [cell for cell in chosen if cell.groups[0] in family.groups]
        if not of_this:
            continue
        if reason := why_not(model, channels, family):
            raise ValueError(f"the channels of {', '.join(family.layers)} cannot be merged: {reason}")
        row = {group: place for place, group in enumerate(family.groups)}
        for slot, places in places_of(channels, family.groups):
            along = getattr(merged.get_submodule(slot.module), slot.parameter).movedim(slot.axis, 0)
            for cell in of_this:
                at = places[[row[group] for group in cell.groups]]  # [groups, places]
                weights = torch.tensor(cell.average if slot.role == "out" else cell.add, dtype=torch.float64)
                mixed = torch.tensordot(weights, along[at].double(), dims=1)
                along[at[0]] = mixed.to(along.dtype)
    return remove_channels(merged, channels, [group for cell in chosen for group in cell.groups[1:]])


def _check_cells(channels: Channels, cells: Sequence[Cell]) -> None:
    family_of = {group: family for family in channels.families() for group in family.groups}
    seen: set[int] = set()
    for cell in cells:
        if not len(cell.groups) == len(cell.average) == len(cell.add):
            raise ValueError(f"a cell needs one number of each kind per group, got {cell}")
        for group in cell.groups:
            if group in channels.frozen:
                raise ValueError(f"group {group} cannot be merged: {channels.frozen[group]}")
            if group in seen:
                raise ValueError(f"group {group} occurs twice; put all that become one channel into one cell")
            if group not in family_of or family_of[group] != family_of.get(cell.groups[0]):
                raise ValueError(f"group {group} is not of the family of group {cell.groups[0]}; only those can be one")
            seen.add(group)


def _mixes(module: nn.Module) -> bool:
    """Whether a module without parameters lets channels influence each other."""
    if isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
        return module.weight is None
    return isinstance(module, (nn.LocalResponseNorm, nn.CrossMapLRN2d))
