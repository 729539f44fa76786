"""Pruning filters for efficient convnets: the filters with the smallest sum of absolute weights leave each layer.

Paper:   Li, Kadav, Durdanovic, Samet and Graf, ICLR 2017. Beyond the lecture's list: slide 29, per filter.
Formula: s_j = Σ_i ‖F_ij‖_1     over the input channels i of filter j
         independent: all i;   greedy: only those i that the layers before have kept
Learn:   course/5_pruning/5_2_magnitude.ipynb

Some layers bear less than others: the paper prunes one layer at a time, measures, and gives each its own share.
Coupled layers (a residual stream) share one sum here; the paper follows the projection of the shortcut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frugal.graph.channels import Channels, Family, find_channels
from frugal.graph.fold import fold_batchnorm
from frugal.prune.masks import check_sparsity, count_dropped, keep_largest
from frugal.prune.scores import channel_scores, magnitudes, name_of
from frugal.prune.surgery import remove_channels


def prune_filters(
    model: nn.Module,
    shape: tuple[int, ...],
    sparsity: float | Mapping[str, float],
    *,
    greedy: bool = False,
) -> nn.Module:
    """Return a smaller network; nothing is absorbed, as in the paper: fine-tuning follows.

    Args:
        model: traceable by torch.fx. Sums are of the weights with batch norm folded.
        shape: of one input, without the batch.
        sparsity: share of filters to remove in each layer; or shares by layer name, 0 for those that are not named.
        greedy: leave filters' inputs that are already gone out of their sums.
    """
    channels = find_channels(model, shape)
    return remove_channels(model, channels, choose_filters(model, channels, sparsity, greedy=greedy))


def choose_filters(
    model: nn.Module, channels: Channels, sparsity: float | Mapping[str, float], *, greedy: bool = False
) -> list[int]:
    """Choose the groups that ``prune_filters`` removes, layer by layer in the order of the network."""
    return _choose(model, channels, _shares(channels.families(), sparsity), greedy)


def _choose(model: nn.Module, channels: Channels, shares: Mapping[Family, float], greedy: bool = False) -> list[int]:
    scores = magnitudes(fold_batchnorm(model))
    sums = channel_scores(scores, channels, within="sum")
    gone: list[int] = []
    for family, share in shares.items():
        if greedy:
            sums = channel_scores(scores, channels, within="sum")
        groups = torch.tensor(family.groups)
        dropped = groups[~keep_largest(sums[groups], share)].tolist()
        gone += dropped
        if greedy:
            scores = _without_inputs(scores, channels, dropped)
    return sorted(gone)


def _shares(families: list[Family], sparsity: float | Mapping[str, float]) -> dict[Family, float]:
    """The share of each family."""
    if not isinstance(sparsity, Mapping):
        check_sparsity(sparsity)
        return dict.fromkeys(families, sparsity)
    shares = dict.fromkeys(families, 0.0)
    for name, share in sparsity.items():
        check_sparsity(share)
        made = [family for family in families if name in family.layers]
        if not made:
            known = dict.fromkeys(layer for family in families for layer in family.layers)
            raise ValueError(f"no layer {name!r} makes channels that may go; these do: {', '.join(known)}")
        shares.update(dict.fromkeys(made, share))
    return shares


def _without_inputs(scores: Mapping[str, Tensor], channels: Channels, gone: list[int]) -> dict[str, Tensor]:
    """The same scores, 0 for the weights that read channels which are gone."""
    left = dict(scores)
    for slot in channels.slots:
        if slot.role == "in" and name_of(slot) in left:
            drop = torch.isin(channels.groups_of(slot), torch.tensor(gone, dtype=torch.int64))
            left[name_of(slot)] = left[name_of(slot)].index_fill(slot.axis, drop.nonzero().flatten(), 0.0)
    return left


@dataclass(frozen=True)
class Sensitivity:
    """How well a network does with one family of layers pruned, and no other.

    layers:  those that make the channels.
    share:   of their channels that was asked for.
    removed: how many that is.
    value:   what was measured.
    """

    layers: tuple[str, ...]
    share: float
    removed: int
    value: float


def sensitivity(
    model: nn.Module,
    shape: tuple[int, ...],
    measure: Callable[[nn.Module], float],
    shares: tuple[float, ...] = (0.3, 0.6),
) -> list[Sensitivity]:
    """Prune each family of layers alone and measure; flat ones bear more.

    Args:
        model: stays as it is.
        shape: of one input, without the batch.
        measure: such as accuracy in per cent.
        shares: to remove, one after the other.
    """
    channels = find_channels(model, shape)
    rows = []
    for family in channels.families():
        for share in shares:
            groups = _choose(model, channels, {family: share})
            value = measure(remove_channels(model, channels, groups))
            rows.append(Sensitivity(family.layers, share, count_dropped(len(family.groups), share), value))
    return rows
