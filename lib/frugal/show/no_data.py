"""Pictures of what a network knows about data that nobody has.

    clipped_bell        a normal distribution, what ReLU leaves of it, its mean
    promised_and_seen   means of input channels: computed from batch norms against measured
    input_ranges        the range of each input channel beside the one that all would share
    drawn_beside_real   pictures that a network drew from its statistics, real ones, and the loss

Nothing is shown here: the notebook's cell ends in ``plt.show()``.
Lecture: slide 24. Learn: course/4_quantization/4_6_no_data.ipynb
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.quant.statistics import clipped_normal, normal_density
from frugal.show.style import BLUE, GREY, ORANGE, PLUM, SKY, TEAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def clipped_bell(beta: float, gamma: float, ax: Axes | None = None) -> Axes:
    """Draw N(beta, gamma²), the part that ReLU lets through, and the mean of what it puts out."""
    if gamma == 0:
        raise ValueError("gamma must not be 0: a batch norm with it puts out a constant")
    ax = _axes(ax)
    x = torch.linspace(-6, 6, 601)
    density = normal_density((x - beta) / abs(gamma)) / abs(gamma)
    ax.plot(x, density, color=GREY, lw=1.2, label="after batch norm")
    passed = x >= 0
    ax.fill_between(x[passed], density[passed], color=SKY, label="passes ReLU")
    ax.fill_between(x[~passed], density[~passed], color=PLUM, alpha=0.15, lw=0, label="becomes 0")
    mean = clipped_normal(torch.tensor(float(beta)), torch.tensor(float(gamma)))[0].item()
    ax.axvline(mean, color=ORANGE, label=f"mean after ReLU {mean:.2f}")
    ax.set(xlabel="value (real)", ylabel="density", ylim=(0, None))
    ax.legend(loc="upper left", fontsize=8)
    return ax


def promised_and_seen(means: Mapping[str, tuple[Tensor, Tensor]], ax: Axes | None = None) -> Axes:
    """Draw measured means against computed ones, {layer: (computed, measured)}, one dot for each channel."""
    ax = _axes(ax)
    for computed, measured in means.values():
        if computed.shape != measured.shape:
            raise ValueError(f"both must be [channels], got {describe(computed)} and {describe(measured)}")
        ax.plot(computed, measured, ls="", marker=".", ms=4, color=BLUE, alpha=0.6)
    high = max(float(part.max()) for pair in means.values() for part in pair)
    low = min(float(part.min()) for pair in means.values() for part in pair)
    ax.plot([low, high], [low, high], color=TEAL, ls="--", lw=1.2, label="promise kept")
    ax.set(xlabel="mean computed from batch norms", ylabel="mean measured on pictures")
    ax.legend(loc="upper left")
    return ax


def input_ranges(promised: Tensor, largest: Tensor, ax: Axes | None = None) -> Axes:
    """Draw for each input channel, [channels], how far its range reaches and the largest value that came."""
    if promised.shape != largest.shape or promised.ndim != 1:
        raise ValueError(f"both must be [channels], got {describe(promised)} and {describe(largest)}")
    ax = _axes(ax)
    order = promised.argsort()
    places = range(len(order))
    ax.bar(places, promised[order], width=0.9, color=SKY, label="its own range, from the batch norm")
    ax.plot(places, largest[order], ls="", marker=".", color=BLUE, label="largest value seen")
    ax.axhline(float(promised.max()), color=ORANGE, label="range shared by all")
    ax.set(xlabel="input channel, by range", ylabel="value (real)")
    ax.legend(loc="upper left", fontsize=8)
    return ax


def drawn_beside_real(drawn: Tensor, real: Tensor, losses: Sequence[float], count: int = 4) -> Figure:
    """Draw ``count`` pictures of each, [n, 3, h, w], and the loss of the drawing."""
    import matplotlib.pyplot as plt

    if min(len(drawn), len(real)) < count:
        raise ValueError(f"{count} pictures of each are wanted, got {len(drawn)} and {len(real)}")
    figure, axes = plt.subplots(1, 3, figsize=(9.2, 2.5), width_ratios=(1, 1, 1.2))
    for ax, pictures, title in zip(axes, (drawn, real), ("drawn by the network", "real"), strict=False):
        rows = torch.cat([torch.cat(list(half), dim=2) for half in pictures[:count].chunk(2)], dim=1)
        ax.imshow(rows.clamp(0, 1).permute(1, 2, 0).detach())
        ax.set(title=title, xticks=[], yticks=[])
        ax.grid(False)
    axes[2].plot(losses, color=BLUE)
    axes[2].set(xlabel="step", ylabel="distance", yscale="log", title="to the statistics")
    return figure


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]
