"""Pictures of what a range costs: rounding inside, clipping outside, and what the values become.

    clip_curve        squared error against the clipping point, its two parts, the best point
    grid_on_bell      the levels of a grid under the histogram of the values they serve
    bits_by_channel   how many bits each channel gets, beside how wide it is
    output_errors     error of a layer's output for every way to round a few weights

Nothing is shown here: the notebook's cell ends in ``plt.show()``.
Lecture: slide 24. Learn: course/4_quantization/4_5_post_training.ipynb
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.show.style import BLUE, GREY, ORANGE, PLUM, SKY, TEAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def clip_curve(
    alpha: Tensor,
    rounding: Tensor,
    clipping: Tensor,
    ax: Axes | None = None,
    *,
    marks: Mapping[str, float] | None = None,
) -> Axes:
    """Draw the two parts of the error against the clipping point [points], their sum, and named points on the axis."""
    if not alpha.shape == rounding.shape == clipping.shape or alpha.ndim != 1:
        raise ValueError(
            f"three rows of one length are wanted, got {describe(alpha)}, {describe(rounding)}, {describe(clipping)}"
        )
    ax = _axes(ax)
    ax.plot(alpha, rounding, color=TEAL, ls="--", label="rounding inside")
    ax.plot(alpha, clipping, color=PLUM, ls=":", label="clipping outside")
    ax.plot(alpha, rounding + clipping, color=BLUE, label="together")
    for name, at in (marks or {}).items():
        ax.axvline(at, color=ORANGE, lw=1.2)
        right = at > float(alpha.mean())
        ax.annotate(
            name, (at, 1), xycoords=("data", "axes fraction"), xytext=(-3 if right else 3, -12),
            textcoords="offset points", ha="right" if right else "left",
        )  # fmt: skip
    ax.set(xlabel="clipping point α", ylabel="mean squared error", yscale="log")
    ax.set_ylim(bottom=float((rounding + clipping).min()) / 30)
    ax.legend(loc="lower right")
    return ax


def grid_on_bell(x: Tensor, levels: Mapping[str, Tensor], ax: Axes | None = None) -> Axes:
    """Draw a histogram and, below it, one row of marks for each named grid."""
    ax = _axes(ax)
    counts, edges = torch.histogram(x.detach().float().flatten(), 60)
    shares = counts / counts.max()
    ax.stairs(shares.numpy(), edges.numpy(), fill=True, color=SKY, label="values")
    for row, (name, values) in enumerate(levels.items()):
        y = -0.16 * (row + 1)
        color = (BLUE, ORANGE, TEAL)[row % 3]
        ax.plot(values, torch.full((len(values),), y), ls="", marker="|", ms=9, mew=1.1, color=color)
        ax.text(1.01, y, name, transform=ax.get_yaxis_transform(), va="center", fontsize=9)
    ax.set(xlabel="value (real)", yticks=[], ylim=(-0.16 * len(levels) - 0.12, 1.05))
    ax.grid(False)
    return ax


def bits_by_channel(spread: Tensor, bits: Tensor, ax: Axes | None = None) -> Axes:
    """Draw the bits of each channel, sorted by how wide it is: the line is log2 of the width, shifted to fit."""
    if spread.shape != bits.shape or spread.ndim != 1:
        raise ValueError(f"spread and bits must be [channels], got {describe(spread)} and {describe(bits)}")
    ax = _axes(ax)
    order = spread.argsort()
    places = range(len(order))
    ax.bar(places, bits[order], color=SKY, width=0.9, label="bits")
    line = 2 / 3 * torch.log2(spread[order].clamp(min=1e-12))
    ax.plot(places, line - line.mean() + bits.double().mean(), color=BLUE, label="2/3 · log2(width)")
    ax.set(xlabel="output channel, by width", ylabel="bits", ylim=(0, float(bits.max()) + 1.6))
    ax.legend(loc="upper left", ncols=2)
    return ax


def output_errors(errors: Tensor, nearest: int, best: int, ax: Axes | None = None) -> Axes:
    """Draw the output error of every combination of roundings, sorted, with the nearest and the best one marked."""
    ax = _axes(ax)
    order = errors.argsort()
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order))
    ax.plot(range(len(order)), errors[order], ls="", marker=".", ms=3, color=GREY, label="every combination")
    for name, which, color in (("to the nearest", nearest, ORANGE), ("the best", best, BLUE)):
        ax.plot([int(places[which])], [float(errors[which])], marker="o", ms=8, ls="", color=color, label=name)
    ax.set(xlabel="combinations of up and down, sorted", ylabel="error of the output", yscale="log")
    ax.legend()
    return ax


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]
