"""Pictures of clipping and of bits: where a range should end, what quantization does to a channel, what a bit buys.

    two_errors         rounding and overload against the end of the range, and the best compromise
    channel_with_ends  a channel's weights, and where several ranges end
    moments            mean and spread of every channel, under several treatments
    levels             the values that a grid uses, under the weights that they stand for
    pareto             accuracy against bits, the line that nobody beats, and one's own point

Nothing is shown here: the notebook's cell ends in ``plt.show()``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.show.style import BLUE, GREY, INK, ORANGE, PLUM, SKY, TEAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = (BLUE, ORANGE, TEAL, PLUM, INK)


def two_errors(ends: Sequence[float], errors: Sequence[tuple[float, float]], ax: Axes | None = None) -> Axes:
    """Draw rounding, overload and their sum against the end of the range.

    Args:
        ends: alpha, rising.
        errors: (rounding, overload) at each of them.
        ax: where to draw.
    """
    ax = _axes(ax)
    if len(ends) != len(errors) or not ends:
        raise ValueError(f"two_errors needs one pair of errors for each end, got {len(ends)} and {len(errors)}")
    total = [rounding + overload for rounding, overload in errors]
    best = min(range(len(total)), key=total.__getitem__)
    ax.plot(ends, [rounding for rounding, _ in errors], color=BLUE, ls="--", label="rounding")
    ax.plot(ends, [overload for _, overload in errors], color=PLUM, ls=":", label="overload")
    ax.plot(ends, total, color=INK, lw=2, label="together")
    ax.plot(ends[best], total[best], "o", color=ORANGE, ms=8, label=f"least, at {ends[best]:.2f}")
    ax.set(xlabel="alpha, in units of the spread", ylabel="mean squared error", yscale="log")
    ax.set_ylim(total[best] / 30, max(total[0], total[best] * 3) * 2)
    ax.legend(loc="lower right")
    return ax


def channel_with_ends(channel: Tensor, ends: Mapping[int, float], ax: Axes | None = None) -> Axes:
    """Draw how often a channel's weights occur, and for each width where its range ends."""
    ax = _axes(ax)
    values = channel.detach().float().flatten()
    if values.numel() == 0:
        raise ValueError(f"channel_with_ends needs weights, got {describe(channel)}")
    counts, edges = torch.histogram(values, 40)
    ax.stairs(counts.numpy(), edges.numpy(), fill=True, color=SKY)
    for color, (num_bits, end) in zip(COLORS * len(ends), ends.items(), strict=False):
        outside = (values.abs() > end).float().mean().item()
        ax.axvline(-end, color=color, lw=1.6)
        ax.axvline(end, color=color, lw=1.6, label=f"{num_bits} bits: {outside:.1%} clipped")
    ax.set(xlabel="weight (real)", ylabel="weights per bin")
    ax.legend(loc="upper left", fontsize=8)
    return ax


def moments(weights: Mapping[str, Tensor], ax: Axes | None = None) -> Axes:
    """Draw each output channel as a point: its mean against its norm around the mean, one colour per treatment."""
    ax = _axes(ax)
    looks: Sequence[tuple[str, int]] = [("o", 9), ("x", 6), (".", 7), ("+", 7), ("s", 4)]
    for color, (marker, size), (name, weight) in zip(
        (GREY, ORANGE, BLUE, TEAL, PLUM), looks, weights.items(), strict=False
    ):
        rows = weight.detach().flatten(1)  # [out, k]
        mean = rows.mean(dim=1)
        norm = (rows - mean[:, None]).norm(dim=1)
        ax.plot(mean, norm, marker, ms=size, color=color, label=name)
    ax.set(xlabel="mean of the channel", ylabel="norm around the mean")
    ax.legend(loc="best", fontsize=8)
    return ax


def levels(channel: Tensor, grids: Mapping[str, Tensor], ax: Axes | None = None) -> Axes:
    """Draw how often a channel's weights occur, and below them the values that each grid gave them."""
    ax = _axes(ax)
    values = channel.detach().float().flatten()
    counts, edges = torch.histogram(values, 40)
    ax.stairs(counts.numpy(), edges.numpy(), fill=True, color=SKY)
    unit = counts.max().item() / 8
    for row, (color, (name, rounded)) in enumerate(zip(COLORS * len(grids), grids.items(), strict=False)):
        used = rounded.detach().float().unique()
        error = (rounded.detach().flatten() - values).square().mean().item()
        low = -unit * (row + 1)
        ax.vlines(used, low, low + 0.8 * unit, color=color, lw=1.8, label=f"{name}: error {error:.1e}")
    ax.axhline(0, color=GREY, lw=0.8)
    ax.set(xlabel="weight (real)", ylabel="weights per bin", ylim=(-unit * (len(grids) + 0.4), None))
    ax.legend(loc="upper left", fontsize=8)
    return ax


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep the points that no other one beats: fewer bits or higher accuracy than every other, cheapest first.

    >>> front([(4.0, 90.0), (3.0, 80.0), (3.5, 70.0), (3.0, 60.0)])
    [(3.0, 80.0), (4.0, 90.0)]
    """
    kept: list[tuple[float, float]] = []
    for bits, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or accuracy > kept[-1][1]:
            kept.append((bits, accuracy))
    return kept


def pareto(
    entries: Mapping[str, tuple[float, float]],
    mine: tuple[float, float] | None = None,
    ax: Axes | None = None,
    *,
    original: float | None = None,
) -> Axes:
    """Draw accuracy in per cent against mean bits, join the entries that nobody beats, and mark one's own.

    Args:
        entries: name -> (mean bits, accuracy).
        mine: the point to set beside them.
        ax: where to draw.
        original: accuracy of the network in float.
    """
    ax = _axes(ax, height=4.0)
    if not entries:
        raise ValueError("pareto needs one entry or more")
    best = front(list(entries.values()))
    ax.plot(*zip(*entries.values(), strict=True), ".", color=GREY, ms=9)
    ax.plot(*zip(*best, strict=True), "o-", color=BLUE, ms=6, drawstyle="steps-post", label="nobody is better")
    low, high = (end(bits for bits, _ in entries.values()) for end in (min, max))
    for name, point in entries.items():
        if point in best:  # the words stay inside the picture
            side, place = ("right", (-8, -14)) if point[0] > low + 0.75 * (high - low) else ("left", (8, -14))
            ax.annotate(name, point, xytext=place, textcoords="offset points", fontsize=8, ha=side)
    if mine is not None:
        beaten = any(bits <= mine[0] and accuracy >= mine[1] for bits, accuracy in best)
        ax.plot(*mine, "*", color=ORANGE, ms=15, label="yours" + ("" if beaten else ": above the line"))
    if original is not None:
        ax.axhline(original, color=TEAL, ls="--", lw=1.4, label=f"float32, {original:.1f} %")
    ax.set(xlabel="mean width of a weight (bits)", ylabel="accuracy (%)")
    ax.legend(loc="lower right")
    return ax


def _axes(ax: Axes | None, height: float = 3.0) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.4, height))[1]
