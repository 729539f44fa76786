"""Hashing weights: all weights that lie close together become one value, so that neurons become alike.

Paper:   after [39] Yvinec et al., RED, NeurIPS 2021, first step; [38] RED++ begins with it too. Only the abstracts were
         at hand: what they leave open (the bandwidth above all) is our choice, and is marked so.
Formula: d(v) = Σ_i φ((v - w_i) / Δ)                    how dense the weights of a layer lie around v
         hash(w) = M_k  for  w in [m_k, m_{k+1})        m: the minima of d; M_k: the maximum of d between two of them
Lesson:  Δ decides, and abruptly: a trained layer is nearly one hill. At range / 512 some tens of values are left in
         each layer of our small residual network, and it classifies as before. At range / 128 the hill is one cell,
         and it guesses.
Learn:   course/5_pruning/5_3_similarity.ipynb; lab 5.2

    density     ╭─╮        ╭──╮
              ╭─╯ ╰╮ ╭─╮ ╭─╯  ╰╮
            ──╯    ╰─╯ ╰─╯     ╰──
    cell      └──0──┴─1─┴───2───┘        every weight of a cell gets the place of the cell's hilltop

A hash is a codebook without scale and zero-point: quantization whose steps follow the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from frugal.core.check import check_finite
from frugal.graph.fold import fold_batchnorm

POINTS_PER_BANDWIDTH = 8  # of the grid that the density is computed on
REACH = 4  # bandwidths: further away a weight adds nothing to the density
FINEST = 1 << 20  # bandwidths in the range of the weights; the grid has eight times as many points

Rule = Callable[[Tensor], float]
HASHED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True)
class Codebook:
    """A hash function.

    boundaries: where one cell ends and the next begins, ascending.  float64 [cells - 1]
    values:     what the weights of each cell become, each inside its cell.  float64 [cells]
    """

    boundaries: Tensor
    values: Tensor

    def codes(self, w: Tensor) -> Tensor:
        """The number of the cell that each weight lies in, int64."""
        return torch.bucketize(w.detach().double(), self.boundaries, right=True)

    def hash(self, w: Tensor) -> Tensor:
        """Replace each weight by the value of its cell; shape and dtype stay."""
        return self.values[self.codes(w)].to(w.dtype)


def range_over(cells: int = 512) -> Rule:
    """The rule Δ = range / cells, ours. More cells leave more values; never more than there are hills of that width.

    >>> range_over(4)(torch.tensor([-1.0, 0.5, 1.0]))
    0.5
    """
    if cells < 1 or cells > FINEST:
        raise ValueError(f"cells must be from 1 to {FINEST}, got {cells}")

    def rule(w: Tensor) -> float:
        low, high = _ends(w)
        return (high - low) / cells

    return rule


def median_gap(w: Tensor) -> float:
    """Δ = the median gap between neighbouring distinct weights; 0 where all are equal. Keeps most values apart.

    Not below range / 2^20: one weight far out would ask for a density of gigabytes.

    >>> median_gap(torch.tensor([0.0, 1.0, 3.0, 3.0, 7.0]))
    2.0
    """
    low, high = _ends(w)
    distinct = w.detach().double().flatten().unique()
    if len(distinct) < 2:
        return 0.0
    return max(distinct.diff().median().item(), (high - low) / FINEST)


def density(w: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
    """Estimate how dense the weights lie, on a grid, in time proportional to weights plus grid.

    Each weight is shared between its two neighbours on the grid; the counts are then convolved with a Gaussian that is
    lowered to end at 0 after ``REACH`` bandwidths.

    Args:
        w: finite, not all equal.
        bandwidth: Δ, in units of the weights.

    Returns:
        Grid points and densities, float64; both ends of the density are 0.
    """
    low, high = _ends(w)
    _check_bandwidth(bandwidth, high - low)
    if high == low:
        raise ValueError(f"all weights are {low}: there is no density to draw; fit_codebook makes one cell of them")
    steps = max(math.ceil((high - low) / bandwidth * POINTS_PER_BANDWIDTH), 1)
    width = max((high - low) / steps, bandwidth / POINTS_PER_BANDWIDTH / 2)  # the latter where the range is tiny
    margin = math.ceil(REACH * bandwidth / width) + 1
    position = (w.detach().double().flatten() - low) / width
    left = position.floor().clamp(0, steps - 1)
    share = position - left
    counts = torch.zeros(steps + 1, dtype=torch.float64)
    counts.index_add_(0, left.long(), 1 - share).index_add_(0, left.long() + 1, share)
    taps = torch.arange(-margin, margin + 1, dtype=torch.float64) * width / bandwidth
    kernel = (torch.exp(-taps.square() / 2) - math.exp(-REACH * REACH / 2)).clamp(min=0)
    heights = torch.from_numpy(np.convolve(counts.numpy(), kernel.numpy()))  # conv1d would unfold it in memory
    points = low + torch.arange(-margin, steps + margin + 1, dtype=torch.float64) * width
    return points, heights


def fit_codebook(w: Tensor, bandwidth: float | Rule | None = None) -> Codebook:
    """Cut the weights at the minima of their density; each cell stands for its maximum.

    Args:
        w: finite weights, any shape, any float dtype, at least one.
        bandwidth: Δ, or the rule that finds it; ``range_over(512)`` by default. Without effect where all are equal.

    Raises:
        TypeError, ValueError: weights that are not real numbers, or a bandwidth that is not above 0.

    >>> fit_codebook(torch.tensor([0.0, 0.01, 0.99, 1.0]), 0.1).values.round(decimals=2).tolist()
    [0.0, 1.0]
    """
    low, high = _ends(w)
    if low == high:
        return Codebook(torch.empty(0, dtype=torch.float64), torch.tensor([low], dtype=torch.float64))
    rule = range_over() if bandwidth is None else bandwidth
    points, heights = density(w, rule(w) if callable(rule) else float(rule))
    level, count = torch.unique_consecutive(heights, return_counts=True)  # a plateau counts once, by its middle
    last = count.cumsum(0) - 1
    middle = points[(last + last - count + 1) // 2]
    up = level.diff() > 0
    is_top, is_valley = up[:-1] & ~up[1:], ~up[:-1] & up[1:]
    return Codebook(middle[1:-1][is_valley], middle[1:-1][is_top].clamp(low, high))


def hash_weights(w: Tensor, bandwidth: float | Rule | None = None) -> Tensor:
    """Hash a tensor of weights with a codebook of its own: fewer distinct values, each close to what it was.

    >>> hash_weights(torch.tensor([0.0, 0.0, 0.01, 1.0]), 0.1).unique().numel()
    2
    """
    return fit_codebook(w, bandwidth).hash(w)


def hash_network(model: nn.Module, bandwidth: float | Rule | None = None) -> nn.Module:
    """Return a copy, batch norm folded, in which each layer's weights are hashed; biases stay as they are."""
    hashed = fold_batchnorm(model)
    with torch.no_grad():
        for module in hashed.modules():
            if isinstance(module, HASHED):
                module.weight.copy_(hash_weights(module.weight, bandwidth))
    return hashed


def _ends(w: Tensor) -> tuple[float, float]:
    check_finite(w, "w")
    low, high = torch.aminmax(w.detach().double())
    return low.item(), high.item()


def _check_bandwidth(bandwidth: float, spread: float) -> None:
    if not (math.isfinite(bandwidth) and bandwidth > 0):
        raise ValueError(f"bandwidth must be a finite number above 0, got {bandwidth}")
    if spread / bandwidth > FINEST:
        raise ValueError(
            f"a bandwidth of {bandwidth:g} is too fine for weights that range over {spread:g}; "
            f"use at least {spread / FINEST:g}"
        )
