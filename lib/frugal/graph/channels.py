"""Coupled channels: which channels of which layers must go together when one of them is removed.

Idea:    Fang et al., "DepGraph", CVPR 2023, find coupled layers by a graph of dependencies. Here the network itself is
         run once on tensors of *names*: every channel that a layer makes gets a name, and names travel like values.
Learn:   course/5_pruning

    conv1 ─► names 0..63 ─► relu ─► 0..63 ─┐
    conv2 ─► names 64..127 ────────────────┴ add ─►  0 meets 64, 1 meets 65, …: from now on they are one

Names that met form a *group*: its channels are removed together or not at all. How each operation treats names is told
in ``names.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frugal.graph.names import CONVS, NAMES, NOBODY, OnNames, Slot
from frugal.graph.trace import trace


@dataclass(frozen=True, eq=False)
class Channels:
    """All channels of a network.

    slots:  where they occur.
    group:  int64 [names]: the group that each name belongs to; groups are numbered from 0.
    frozen: group -> why it cannot be removed.
    """

    slots: tuple[Slot, ...]
    group: Tensor
    frozen: dict[int, str]

    def groups_of(self, slot: Slot) -> Tensor:
        """The group at each place of a slot, ``NOBODY`` where there is none."""
        known = slot.channels >= 0
        return torch.where(known, self.group[slot.channels.clamp(min=0)], torch.full_like(slot.channels, NOBODY))

    def families(self) -> list[Family]:
        """Sort the groups that may be removed into families: those made by the same layers, in the same places.

        The 64 groups of a residual stream of width 64 are one family: any of them may go, each on its own.
        """
        makers: dict[int, list[str]] = {}
        for slot in self.slots:
            if slot.role == "out" and slot.parameter == "weight":
                for each in self.groups_of(slot).unique().tolist():
                    makers.setdefault(each, []).append(slot.module)
        by_makers: dict[tuple[str, ...], list[int]] = {}
        for each, names in makers.items():
            if each not in self.frozen and each != NOBODY:
                by_makers.setdefault(tuple(dict.fromkeys(names)), []).append(each)
        return [Family(names, tuple(sorted(groups))) for names, groups in by_makers.items()]


@dataclass(frozen=True)
class Family:
    """Groups that are alike.

    layers: the layers that make the channels.
    groups: numbers of the groups.
    """

    layers: tuple[str, ...]
    groups: tuple[int, ...]


def find_channels(model: nn.Module, shape: tuple[int, ...]) -> Channels:
    """Run a network on names and return its channels.

    Args:
        model: traceable by torch.fx, in eval mode for the trace; it is not changed.
        shape: of one input without the batch, such as (3, 224, 224). No values are computed.

    Raises:
        UnsupportedModel: the network cannot be traced, or an operation fails on this shape. The message names it.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    >>> find_channels(net, (3, 8, 8)).families()
    [Family(layers=('0',), groups=(0, 1, 2, 3))]
    """
    was = {module: module.training for module in model.modules()}
    try:
        seen = trace(model.eval(), leaves=CONVS)  # what is made from a convolution treats channels as one
        runner = OnNames(model, seen.graph)
        names = torch.full((1, *shape), NOBODY, dtype=NAMES)
        runner.run(names)
    finally:
        for module, training in was.items():
            module.training = training
    group, frozen = runner.groups()
    return Channels(tuple(runner.slots), group, frozen)
