"""Absorbing: what removed channels emit goes into the layers that read them.

Lecture: equation (5), slide 29.
Formula: rows of zeros:  h_i = σ(b_i), a constant;   b2' = b2 + W2[:, i] · h_i, a picture where borders are padded
         otherwise:      h_i is taken to be its mean over some batches
Learn:   course/5_pruning/5_2_magnitude.ipynb

    remove_silent       zero what makes the channels, look at what they emit, remove them: exact, no data
    remove_with_means   the mean on given inputs: the best constant in the sense of least squares
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from frugal.graph.channels import Channels
from frugal.graph.names import Slot
from frugal.prune.masks import Masks, apply_masks_
from frugal.prune.scores import name_of
from frugal.prune.surgery import ConvWithConstants, remove_channels


def channel_masks(
    model: nn.Module, channels: Channels, groups: Iterable[int], *, of: Callable[[Slot], bool] | None = None
) -> Masks:
    """Masks that silence groups of channels: False in the rows that make them, so that the channels become constant.

    Args:
        model: whose parameters are masked.
        channels: of this model.
        groups: which ones to silence.
        of: which slots; by default the weights that make channels.
    """
    gone = torch.tensor(sorted(set(groups)), dtype=torch.int64)
    of = of or (lambda slot: slot.role == "out" and slot.parameter == "weight")
    parameters = dict(model.named_parameters(remove_duplicate=False))
    masks: Masks = {}
    for slot in channels.slots:
        drop = torch.isin(channels.groups_of(slot), gone)
        if of(slot) and drop.any() and name_of(slot) in parameters:
            shape = parameters[name_of(slot)].shape
            keep = (~drop).view([-1 if axis == slot.axis else 1 for axis in range(len(shape))]).expand(shape)
            masks[name_of(slot)] = (masks[name_of(slot)] & keep) if name_of(slot) in masks else keep.contiguous()
    return masks


def remove_silent(
    model: nn.Module,
    channels: Channels,
    groups: Iterable[int],
    shape: tuple[int, ...],
    *,
    of: Callable[[Slot], bool] | None = None,
) -> nn.Module:
    """Silence groups of channels in a copy, and remove them; the smaller network computes what the silenced one does.

    A silent channel is constant whatever the input, so one input of zeros shows what it emits.

    Args:
        model: stays as it is.
        channels: of this model.
        groups: which ones go.
        shape: of one input, without the batch.
        of: see ``channel_masks``.
    """
    groups = list(groups)
    silent = copy.deepcopy(model)
    apply_masks_(silent, channel_masks(silent, channels, groups, of=of))
    if of is None:
        _silence_pictures_(silent, channels, groups)
    like = next(model.parameters())
    return remove_with_means(silent, channels, groups, [torch.zeros(1, *shape, dtype=like.dtype, device=like.device)])


def _silence_pictures_(model: nn.Module, channels: Channels, groups: Iterable[int]) -> None:
    """What a layer absorbed before is a part of its rows."""
    gone = torch.tensor(list(groups), dtype=torch.int64)
    for slot in channels.slots:
        layer = model.get_submodule(slot.module)
        if isinstance(layer, ConvWithConstants) and slot.role == "out" and slot.parameter == "weight":
            layer.weight_of_constants[torch.isin(channels.groups_of(slot), gone)] = 0


def remove_with_means(
    model: nn.Module, channels: Channels, groups: Iterable[int], batches: Iterable[Tensor]
) -> nn.Module:
    """Return a smaller network in which removed channels are replaced by their means over some inputs."""
    return remove_channels(model, channels, groups, batches=batches)
