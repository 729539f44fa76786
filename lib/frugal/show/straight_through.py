"""Pictures of training through the rounding: staircases with the gradient they are given, latent values on their way.

    through             a function of one real, and the gradient that autograd sends back through it
    latent_path         one float value behind a rounded one, step after step
    step_gradients      what each value says to a learned step
    descent             an error against the step, and the steps that a training took
    three_regions       weights, a threshold, and the three values that are left
    latent_values       several latent values on their way between two bounds
    grids               which numbers each format can say
    rounded_and_trained accuracy after rounding, and after training through it
    sums_by_degree      how large a node's sum is, against how many edges end there

Lecture: slide 25. Learn: course/4_quantization/4_7_straight_through.ipynb
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.quant.methods.twn import ternarize_above
from frugal.show.style import BLUE, GREY, INK, LIGHT, ORANGE, PLUM, SKY, TEAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 1001  # of a curve


def through(function: Callable[[Tensor], Tensor], low: float, high: float, ax: Axes | None = None) -> Axes:
    """Draw ``function`` over [low, high], and below it, as an area, its gradient by autograd."""
    ax = _axes(ax, (3.0, 2.6))
    x = torch.linspace(low, high, POINTS, requires_grad=True)
    y = function(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    ax.fill_between(x.detach(), 0, gradient, color=ORANGE, alpha=0.25, lw=0)
    ax.plot(x.detach(), gradient, color=ORANGE, ls="--", lw=1.4, label="gradient")
    ax.plot(x.detach(), y.detach(), color=BLUE, lw=1.6, label="value")
    ax.set(xlabel="x", xlim=(low, high))
    return ax


def latent_path(latent: Sequence[float], used: Sequence[float], target: float, ax: Axes | None = None) -> Axes:
    """Draw a float value that is trained, the rounded one that is used in its place, and where it should be."""
    ax = _axes(ax, (5.6, 2.8))
    if len(latent) != len(used) or not latent:
        raise ValueError(f"latent_path needs as many used values as latent ones, got {len(latent)} and {len(used)}")
    ax.axhline(target, color=TEAL, lw=1.4, ls="--", label="wanted")
    ax.step(range(len(used)), used, where="mid", color=BLUE, lw=1.4, label="used: rounded")
    ax.plot(range(len(latent)), latent, color=ORANGE, lw=1.4, label="latent: float")
    ax.set(xlabel="step of the training", ylabel="value (real)", xlim=(0, len(latent) - 1))
    ax.legend(loc="lower right")
    return ax


def step_gradients(
    x: Tensor, gradients: Mapping[str, Tensor], ends: tuple[float, float], ax: Axes | None = None
) -> Axes:
    """Draw what each value says to the step: one line [points] for each rule; the ends of the codes are marked."""
    ax = _axes(ax, (6.4, 3.0))
    for style, color, width, (name, each) in zip(
        ("-", "--", ":"), (BLUE, ORANGE, PLUM), (1.8, 1.6, 1.8), gradients.items(), strict=False
    ):
        ax.plot(x, each, ls=style, color=color, lw=width, label=name)
    for end in ends:
        ax.axvline(end, color=GREY, lw=0.9, ls=":")
    ax.set(xlabel="x / step", ylabel="∂x̂ / ∂step", xlim=(x.min().item(), x.max().item()))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    return ax


def descent(
    steps: Sequence[float], errors: Sequence[float], path: Mapping[str, Sequence[float]], ax: Axes | None = None
) -> Axes:
    """Draw an error against the step, and on it the steps that trainings took, from first to last.

    Args:
        steps, errors: the curve, by rising step.
        path: the steps of each training, in order.
    """
    ax = _axes(ax, (5.6, 3.0))
    curve, at = torch.tensor(errors, dtype=torch.float64), torch.tensor(steps, dtype=torch.float64)
    ax.plot(steps, errors, color=GREY, lw=1.4)
    best = int(curve.argmin())
    ax.axvline(steps[best], color=TEAL, ls="--", lw=1.2, label="least error")
    for marker, color, (name, taken) in zip("os^", (BLUE, ORANGE, PLUM), path.items(), strict=False):
        places = torch.searchsorted(at, torch.tensor(taken, dtype=torch.float64)).clamp(max=len(at) - 1)
        ax.plot(taken, curve[places], marker=marker, ms=4, lw=0.8, color=color, label=name)
        ax.plot(taken[-1], curve[places[-1]], marker=marker, ms=9, color=color, mec=INK)
    ax.set(xlabel="step (real)", ylabel="squared error / squares", ylim=(0, None))
    ax.legend()
    return ax


def three_regions(w: Tensor, threshold: float, ax: Axes | None = None) -> Axes:
    """Draw how often weights occur, the part that becomes 0, and the two values that the others become."""
    ax = _axes(ax, (5.6, 2.8))
    values = w.detach().flatten().float()
    made = ternarize_above(values, torch.tensor(threshold))
    counts, edges = torch.histogram(values, 48)
    ax.stairs(counts.numpy(), edges.numpy(), fill=True, color=SKY, label="weights")
    ax.axvspan(-threshold, threshold, color=PLUM, alpha=0.15, lw=0, label=f"become 0: {100 * made.sparsity:.0f} %")
    for side, name in ((-1, "_"), (1, f"the others: ±{made.scale.item():.3f}")):
        ax.axvline(side * made.scale.item(), color=BLUE, lw=1.8, label=name)
    lost = ((made.values - values).square().sum() / values.square().sum()).item()
    ax.set(xlabel="weight (real)", ylabel="weights per bin", title=f"loses {100 * lost:.1f} % of the squares")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return ax


def latent_values(values: Tensor, ax: Axes | None = None, *, bound: float | None = None) -> Axes:
    """Draw latent values [steps, weights] on their way; where one crosses 0, its sign flips."""
    if values.ndim != 2 or values.numel() == 0:
        raise ValueError(f"latent_values needs [steps, weights], got {describe(values)}")
    ax = _axes(ax, (5.6, 2.8))
    ax.axhspan(0, values.max().item(), color=SKY, alpha=0.25, lw=0)
    ax.plot(values, lw=1.0, color=BLUE, alpha=0.55)
    ax.axhline(0, color=INK, lw=1.0)
    if bound is not None:
        for end in (-bound, bound):
            ax.axhline(end, color=PLUM, lw=1.2, ls=":")
    ax.set(xlabel="step of the training", ylabel="latent weight", xlim=(0, len(values) - 1))
    return ax


def grids(values: Mapping[str, Tensor], ax: Axes | None = None, *, reach: float) -> Axes:
    """Draw the numbers within ±reach that each format can say, one row of marks for each."""
    ax = _axes(ax, (7.2, 0.5 + 0.42 * len(values)))
    for row, each in enumerate(values.values()):
        inside = each[each.abs() <= reach]
        ax.hlines(row, -reach, reach, color=LIGHT, lw=1)
        ax.plot(inside, [row] * len(inside), "|", color=BLUE, ms=13, mew=1.2)
    ax.set(xlabel="value (real)", yticks=range(len(values)), yticklabels=list(values), xlim=(-reach, reach))
    ax.set_ylim(len(values) - 0.5, -0.5)
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def rounded_and_trained(results: Mapping[str, tuple[float, float]], ax: Axes | None = None, *, original: float) -> Axes:
    """Draw for each way the accuracy (per cent) after rounding and after training through it, joined by a line."""
    ax = _axes(ax, (7.6, 0.9 + 0.28 * len(results)))
    rows = range(len(results))
    before, after = zip(*results.values(), strict=True)
    ax.axvline(original, color=TEAL, ls="--", lw=1.4, label=f"float32, {original:.1f} %")
    ax.hlines(rows, before, after, color=GREY, lw=1.4)
    ax.plot(before, rows, "o", color=ORANGE, mfc="white", ms=7, mew=1.6, label="rounded")
    ax.plot(after, rows, "o", color=BLUE, ms=7, label="trained through it")
    ax.set(xlabel="accuracy (%)", xlim=(0, 100), yticks=rows, yticklabels=list(results))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    return ax


def sums_by_degree(
    degrees: Tensor, sums: Tensor, ranges: Mapping[str, tuple[float, float]], ax: Axes | None = None
) -> Axes:
    """Draw the sums [nodes, features] of every node against its degree; lines show the ends of ranges."""
    if sums.ndim != 2 or len(sums) != len(degrees):
        raise ValueError(f"sums_by_degree needs sums [{len(degrees)}, features], got {describe(sums)}")
    ax = _axes(ax, (5.6, 3.0))
    ax.plot(degrees[:, None].expand_as(sums).flatten(), sums.detach().flatten(), ".", ms=2.5, color=BLUE, alpha=0.35)
    for color, style, (name, ends) in zip((ORANGE, PLUM), ("--", ":"), ranges.items(), strict=False):
        for end, label in zip(ends, (name, "_"), strict=True):
            ax.axhline(end, color=color, ls=style, lw=1.6, label=label)
    ax.set(xlabel="edges that end at the node", ylabel="its sums (real)", xscale="log")
    ticks = [each for each in (1, 2, 5, 10, 20, 50, 100, 200, 500) if degrees.min() <= each <= degrees.max()]
    ax.set_xticks(ticks, [str(each) for each in ticks])
    ax.set_xticks([], minor=True)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    return ax


def _axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize)[1]
