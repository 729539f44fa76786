"""Masks: which weights stay. A mask is a bool tensor of a parameter's shape, True where the weight is kept.

Lecture: slide 28, structured or not.
Formula: of n scores, min(round(sparsity · n), n - 1) are dropped: those that are smallest
Learn:   course/5_pruning/5_1_structured_or_not.ipynb

    single weights    the best ones, wherever they are       ■ · · ■   · · ■ ·
    n of m            2 of every 4 along the inputs          ■ · · ■   · ■ ■ ·
    blocks            whole rectangles of the matrix         ■ ■ · ·   ■ ■ · ·
    channels          whole rows                             ■ ■ ■ ■   · · · ·

A score is larger where a weight is more worth keeping; ``scores.py`` and the methods make them. Counts are exact. Of
equal scores the earlier in row order stays, so that masks are the same on every machine, and a mask of higher sparsity
lies within one of lower sparsity.

A mask saves nothing by itself: the tensor is as large as before. ``surgery.py`` removes channels for real.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frugal.core.check import check_axis, check_float, describe
from frugal.graph.fold import LAYERS

Masks = dict[str, Tensor]  # by parameter name, such as "layer1.0.conv1.weight"


@dataclass(frozen=True, eq=False)
class Pruned:
    """A network some of whose weights are 0, and which ones.

    model: a network of its own.
    masks: True where a weight was kept.
    """

    model: nn.Module
    masks: Masks


# Checks.


def check_sparsity(sparsity: float) -> None:
    """Refuse a share of zeros that is not from 0 to below 1."""
    if isinstance(sparsity, bool) or not isinstance(sparsity, (int, float)):
        raise TypeError(f"sparsity must be a number from 0 to below 1, got {describe(sparsity)}")
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity is the share of zeros, from 0 to below 1, got {sparsity}; 0.9 keeps one in ten")


def check_scores(scores: Tensor, name: str = "scores") -> None:
    """Refuse scores that are not real numbers, are empty, or hold nan or infinity."""
    check_float(scores, name)
    if scores.numel() == 0:
        raise ValueError(f"{name} must hold at least one value, got {describe(scores)}; leave this layer out")
    if not torch.isfinite(scores).all():
        raise ValueError(f"{name} must be finite to be ranked, got {describe(scores)}; find what made the nan first")


def check_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Refuse masks that are not bool tensors in the shapes of this model's parameters."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, keep in masks.items():
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=3, cutoff=0.0)
            raise ValueError(f"there is no parameter {name!r} in this model; near it: {', '.join(near) or 'none'}")
        if not isinstance(keep, Tensor) or keep.dtype != torch.bool:
            raise TypeError(f"the mask of {name} must be a bool tensor, True = kept, got {describe(keep)}")
        if keep.shape != parameters[name].shape:
            raise ValueError(f"{name} has shape {list(parameters[name].shape)}, its mask {list(keep.shape)}")


def count_dropped(count: int, sparsity: float) -> int:
    """How many of ``count`` go at a sparsity: the nearest whole number, halves to the even one, and never all.

    >>> [count_dropped(10, s) for s in (0, 0.25, 0.9, 0.99)]
    [0, 2, 9, 9]
    """
    check_sparsity(sparsity)
    if count < 1:
        raise ValueError(f"there is nothing to prune among {count} values; leave this layer out")
    return min(round(sparsity * count), count - 1)


# Single weights.


def keep_largest(scores: Tensor, sparsity: float) -> Tensor:
    """Keep the largest scores of one tensor.

    Args:
        scores: any shape, finite.
        sparsity: share to drop, from 0 to below 1.

    Returns:
        bool, the shape of ``scores``; exactly ``count_dropped(numel, sparsity)`` are False.

    >>> keep_largest(torch.tensor([3.0, 1.0, 2.0, 2.0]), 0.5)  # of the two 2s, the first stays
    tensor([ True, False,  True, False])
    """
    check_scores(scores)
    return _keep(scores, scores.numel() - count_dropped(scores.numel(), sparsity))


def _keep(scores: Tensor, kept: int) -> Tensor:
    """Keep so many: all above the largest score that goes, and of those equal to it the first ones."""
    flat = scores.detach().flatten()
    flat = flat if flat.dtype in (torch.float32, torch.float64) else flat.float()
    dropped = len(flat) - kept
    if dropped == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = flat.kthvalue(dropped).values
    keep = flat > threshold
    tied = flat == threshold
    keep |= tied & (tied.cumsum(0) <= kept - keep.sum())
    return keep.view(scores.shape)


def keep_locally(scores: Mapping[str, Tensor], sparsity: float) -> Masks:
    """Keep the largest scores of each tensor, the same share in all of them."""
    _check_all(scores)
    return {name: keep_largest(each, sparsity) for name, each in scores.items()}


def keep_globally(scores: Mapping[str, Tensor], sparsity: float, *, at_least: int = 0) -> Masks:
    """Keep the largest scores of all tensors together: some layers lose more than others.

    Args:
        scores: by parameter name; ties are settled in the order of the mapping.
        sparsity: share of all weights to drop.
        at_least: how many every tensor keeps, whatever their scores; with 0 a layer may lose all its weights.

    >>> masks = keep_globally({"a": torch.tensor([1.0, 9.0]), "b": torch.tensor([2.0, 3.0])}, 0.5)
    >>> masks["a"].tolist(), masks["b"].tolist()
    ([False, True], [False, True])
    """
    _check_all(scores)
    sizes = [each.numel() for each in scores.values()]
    kept = sum(sizes) - count_dropped(sum(sizes), sparsity)
    if sum(min(at_least, size) for size in sizes) > kept:
        raise ValueError(
            f"{kept} of {sum(sizes)} weights stay at sparsity {sparsity}, too few for {at_least} in each of "
            f"{len(sizes)} layers; ask for less sparsity, or for at_least=0"
        )
    flat = torch.cat([_lifted(each.detach().flatten(), at_least) for each in scores.values()])
    parts = _keep(flat, kept).split(sizes)
    return {name: part.view(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


def _lifted(flat: Tensor, at_least: int) -> Tensor:
    """The same scores, the best ``at_least`` of them above all others."""
    return torch.where(_keep(flat, min(at_least, len(flat))), torch.inf, flat) if at_least else flat


def keep(scores: Mapping[str, Tensor], sparsity: float, scope: str = "local") -> Masks:
    """Keep the largest scores of each tensor (``scope="local"``) or of all together (``"global"``)."""
    if scope not in ("local", "global"):
        raise ValueError(f"scope must be 'local' or 'global', got {scope!r}")
    return keep_locally(scores, sparsity) if scope == "local" else keep_globally(scores, sparsity)


def _check_all(scores: Mapping[str, Tensor]) -> None:
    if not scores:
        raise ValueError("there are no scores; a model needs at least one convolution or linear layer to be pruned")
    for name, each in scores.items():
        check_scores(each, f"the scores of {name}")


# Patterns that a machine can use.


def keep_channels(scores: Tensor, sparsity: float, axis: int = 0) -> Tensor:
    """Keep whole slices along ``axis``: those whose scores have the largest sums.

    >>> keep_channels(torch.tensor([[1.0, 1.0], [0.0, 3.0]]), 0.5)
    tensor([[False, False],
            [ True,  True]])
    """
    check_scores(scores)
    axis = check_axis(axis, scores.ndim, "scores")
    sums = scores.detach().movedim(axis, 0).reshape(scores.shape[axis], -1).sum(1)
    shape = [-1 if each == axis else 1 for each in range(scores.ndim)]
    return keep_largest(sums, sparsity).view(shape).expand(scores.shape).contiguous()


def keep_blocks(scores: Tensor, sparsity: float, block: tuple[int, int] = (4, 4)) -> Tensor:
    """Keep whole rectangles of the matrix [out, in · kh · kw]: those whose scores have the largest means.

    The share is of blocks. Where a block does not divide a side, the blocks at its end are smaller.

    >>> keep_blocks(torch.tensor([[1.0, 1.0, 2.0], [1.0, 1.0, 2.0]]), 0.5, (2, 2)).tolist()
    [[False, False, True], [False, False, True]]
    """
    check_scores(scores)
    if scores.ndim < 2 or min(block) < 1:
        raise ValueError(f"blocks need a matrix and sides of 1 or more, got {describe(scores)} and {block}")
    matrix = scores.detach().flatten(1)
    means = _block_sums(matrix, block) / _block_sums(torch.ones_like(matrix), block)
    keep = keep_largest(means, sparsity).repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
    return keep[: matrix.shape[0], : matrix.shape[1]].reshape(scores.shape)


def _block_sums(matrix: Tensor, block: tuple[int, int]) -> Tensor:
    """[rows, columns] -> [block rows, block columns]"""
    rows, columns = block
    padded = F.pad(matrix, (0, -matrix.shape[1] % columns, 0, -matrix.shape[0] % rows))
    return padded.unflatten(0, (-1, rows)).unflatten(2, (-1, columns)).sum(dim=(1, 3))


def keep_n_of_m(scores: Tensor, n: int = 2, m: int = 4, axis: int = 1) -> Tensor:
    """Keep the ``n`` largest of every ``m`` neighbours along ``axis``, by default a layer's inputs.

    2 of 4 is what the lecture's A100 multiplies at twice its dense peak rate.

    >>> keep_n_of_m(torch.tensor([[4.0, 1.0, 2.0, 3.0, 5.0, 5.0, 5.0, 5.0]])).int().tolist()
    [[1, 0, 0, 1, 1, 1, 0, 0]]
    """
    check_scores(scores)
    axis = check_axis(axis, scores.ndim, "scores")
    if not 0 < n <= m:
        raise ValueError(f"n of m needs 0 < n <= m, got {n} of {m}")
    if scores.shape[axis] % m:
        raise ValueError(f"axis {axis} has {scores.shape[axis]} places, not a multiple of {m}; leave this layer dense")
    groups = scores.detach().movedim(axis, -1).unflatten(-1, (-1, m))  # [..., places / m, m]
    best = groups.argsort(dim=-1, descending=True, stable=True)[..., :n]
    keep = torch.zeros_like(groups, dtype=torch.bool).scatter(-1, best, True)
    return keep.flatten(-2).movedim(-1, axis).contiguous()


# Masks and models.


def weights_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that can be masked: those of convolutions and linear layers, by name; a shared one occurs once."""
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for module_name, module in model.named_modules():
        weight = module._parameters.get("weight") if isinstance(module, LAYERS) else None
        if weight is not None and id(weight) not in seen:
            seen.add(id(weight))
            found[f"{module_name}.weight" if module_name else "weight"] = weight
    return found


@torch.no_grad()
def apply_masks_(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set the weights that are not kept to 0, in place."""
    check_masks(model, masks)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, keep in masks.items():
        parameters[name].masked_fill_(~keep.to(parameters[name].device), 0)  # a product would keep nan


def masked(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy whose weights are 0 where the masks say so."""
    check_masks(model, masks)
    pruned = copy.deepcopy(model)
    apply_masks_(pruned, masks)
    return pruned


class HeldMasks:
    """Holds masked weights at exactly 0 while an optimizer steps.

    Zeroing once is not enough: momentum and Adam's averages remember a weight and push it on. After every step the
    masked weights are set to 0, and so is all that the optimizer remembers of them.

    >>> layer = nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    >>> with HeldMasks(layer, {"weight": torch.tensor([[True, False]])}, optimizer):
    ...     layer(torch.ones(1, 2)).sum().backward()
    ...     optimizer.step()
    >>> layer.weight[0, 1].item()
    0.0
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.masks: Masks = {}
        self._handle: Any = None
        self.change_(masks)

    def change_(self, masks: Mapping[str, Tensor]) -> None:
        """Hold other masks from now on; a weight that is no longer masked starts from 0."""
        check_masks(self.model, masks)
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        self.masks = dict(masks)
        self._drops = [(parameters[name], ~keep.to(parameters[name].device)) for name, keep in masks.items()]
        self.settle_()

    @torch.no_grad()
    def settle_(self) -> None:
        """Set masked weights, and the optimizer's memory of them, to 0."""
        for parameter, drop in self._drops:
            parameter.masked_fill_(drop, 0)
            for memory in self.optimizer.state.get(parameter, {}).values():
                if isinstance(memory, Tensor) and memory.shape == parameter.shape:
                    memory.masked_fill_(drop, 0)

    def __enter__(self) -> HeldMasks:
        self._handle = self.optimizer.register_step_post_hook(lambda *_: self.settle_())
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


# Counting.


@dataclass(frozen=True)
class Zeros:
    """How many of so many are 0."""

    zeros: int
    total: int

    @property
    def share(self) -> float:
        """The sparsity, 0 to 1."""
        return self.zeros / self.total if self.total else 0.0


def count_zeros(model: nn.Module) -> dict[str, Zeros]:
    """Count the zeros in each weight that can be masked."""
    return {name: Zeros(int((w.detach() == 0).sum()), w.numel()) for name, w in weights_of(model).items()}


def sparsity_of(counts: Mapping[str, Zeros] | Iterable[Zeros]) -> float:
    """The share of zeros in all layers together.

    >>> sparsity_of([Zeros(1, 4), Zeros(2, 2)])
    0.5
    """
    parts = list(counts.values() if isinstance(counts, Mapping) else counts)
    return Zeros(sum(each.zeros for each in parts), sum(each.total for each in parts)).share
