"""Pictures of sums in few bits: how wide they must be, where they go on their circle, what a network makes of it.

    bits_by_layer      bits that the sums of each layer need, by what is known about them
    on_a_circle        a running sum in two's complement, once round and back
    ends_by_order      where a saturating sum ends, over all orders of its products
    accuracy_by_width  accuracy of a network against the width of its accumulators
    cyclic_activation  the activation that does not mind a full turn, after [27]
    norms_under_bound  Σ|q| of each output beside the bound of A2Q

Lecture: slide 23. Learn: course/4_quantization/4_4_accumulators.ipynb. The pictures of 4.8 are in ``accumulators``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.quant.accumulator import accumulator_range, wrap
from frugal.quant.methods.wrapnet import cyclic
from frugal.show.style import BLUE, GREY, INK, LIGHT, ORANGE, PLUM, SKY, TEAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CIRCLE_BITS_MOST = 5  # 32 numbers can still be read round a circle
PARTS = 24  # of an arc


def bits_by_layer(bits: Mapping[str, Sequence[int]], layers: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw bits of an accumulator for each layer, one mark for each way to know: ``{"measured": [15, 17], ...}``."""
    ax = _axes(ax, (6.4, 0.9 + 0.3 * len(layers)))
    if any(len(each) != len(layers) for each in bits.values()):
        raise ValueError(f"each way needs one width for each of {len(layers)} layers, got {dict(bits)}")
    rows = range(len(layers))
    ends = [(min(each), max(each)) for each in zip(*bits.values(), strict=True)]
    ax.hlines(rows, [low for low, _ in ends], [high for _, high in ends], color=LIGHT, lw=3)
    for marker, color, (name, each) in zip("sDo^", (PLUM, ORANGE, BLUE, TEAL), bits.items(), strict=False):
        ax.plot(each, rows, marker, color=color, ms=7, label=name)
    ax.set(xlabel="width of the accumulator (bits)", yticks=rows, yticklabels=layers)
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(bits), borderaxespad=0.2)
    return ax


def on_a_circle(products: Sequence[int], done: int, num_bits: int = 4, ax: Axes | None = None) -> Axes:
    """Draw where a sum is after ``done`` products, on the circle of numbers that ``num_bits`` hold.

    The way there is a line that leaves the centre as it goes, so that a full turn can be seen.
    """
    if not 2 <= num_bits <= CIRCLE_BITS_MOST or not 0 <= done <= len(products):
        raise ValueError(
            f"on_a_circle draws 2 to {CIRCLE_BITS_MOST} bits and 0 to {len(products)} products, got {num_bits}, {done}"
        )
    ax = _axes(ax, (4.2, 3.6))
    low, high = accumulator_range(num_bits)
    turn = 2 * math.pi / (high - low + 1)
    for number in range(low, high + 1):
        ax.text(*_at(number * turn, 1.13), str(number), ha="center", va="center", fontsize=9, color=INK)
        ax.plot(*_at(number * turn, 1.0), "o", ms=3, color=GREY)
    border = math.pi - turn / 2  # between the largest and the smallest number
    ax.plot(*zip(_at(border, 0.2), _at(border, 1.25), strict=True), color=PLUM, lw=1.4, ls=":")
    total, points = 0, [(0.0, 0.3)]  # angle, radius: it leaves the centre by an equal part with each product
    for place, product in enumerate(products[:done]):
        parts = [part / PARTS for part in range(1, PARTS + 1)]
        points += [((total + product * part) * turn, 0.3 + 0.6 * (place + part) / len(products)) for part in parts]
        total += product
    ax.plot(*zip(*(_at(angle, radius) for angle, radius in points), strict=True), color=BLUE, lw=1.4)
    held = int(wrap(torch.tensor(total), num_bits))
    ax.plot(*_at(held * turn, 1.0), "o", ms=10, mfc="none", mec=ORANGE, mew=2.2)
    words = " ".join(f"{product:+d}" for product in products[:done]) or "0"
    right = "right" if held == total else "not now"
    ax.set_title(f"{words}\nsum {total}, held {held}: {right}", fontsize=10)
    ax.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
    ax.axis("off")
    return ax


def ends_by_order(counts: Mapping[int, int], right: int, ax: Axes | None = None) -> Axes:
    """Draw how many orders of the products end in each number; the right one stands out."""
    ax = _axes(ax, (5.6, 2.4))
    ends = sorted(counts)
    ax.bar(ends, [counts[end] for end in ends], color=[TEAL if end == right else ORANGE for end in ends], width=0.7)
    for end in ends:
        ax.text(end, counts[end], str(counts[end]), ha="center", va="bottom", fontsize=9)
    ax.set(xlabel=f"where the sum ends ({right} is right)", ylabel="orders", xticks=range(min(ends), max(ends) + 1))
    ax.set_ylim(0, 1.15 * max(counts.values()))
    ax.grid(False, axis="x")
    return ax


def accuracy_by_width(
    lines: Mapping[str, Mapping[int, float]], ax: Axes | None = None, *, chance: float | None = None
) -> Axes:
    """Draw accuracy in per cent against the width of the accumulators, one line for each name."""
    ax = _axes(ax, (6.4, 3.2))
    looks = zip("osD^", (BLUE, ORANGE, PLUM, TEAL), ("-", "--", "-", "--"), lines.items(), strict=False)
    for marker, color, style, (name, by_bits) in looks:
        bits = sorted(by_bits)
        ax.plot(bits, [by_bits[each] for each in bits], marker=marker, ms=5, color=color, ls=style, label=name)
    if chance is not None:
        ax.axhline(chance, color=GREY, ls=":", lw=1.2, label="guessing")
    widths = sorted({bits for by_bits in lines.values() for bits in by_bits})
    ax.set(xlabel="width of the accumulators (bits)", ylabel="accuracy (%)", ylim=(0, 100), xticks=widths)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return ax


def cyclic_activation(num_bits: int, slopes: Sequence[float], ax: Axes | None = None) -> Axes:
    """Draw the cyclic activation over three turns, a line for each slope, and the wrap of the sum behind it."""
    ax = _axes(ax, (6.4, 3.0))
    low, high = accumulator_range(num_bits)
    turn = high - low + 1
    z = torch.arange(-3 * turn // 2, 3 * turn // 2 + 1, dtype=torch.float32)
    wrapped = wrap(z, num_bits)
    wrapped[1:][wrapped.diff() < 0] = torch.nan  # leave the jump out
    ax.axvspan(low, high, color=SKY, alpha=0.3, lw=0, label=f"{num_bits} bits hold it")
    ax.plot(z, wrapped, color=GREY, lw=1.0, label="what is held")
    for color, style, slope in zip((BLUE, ORANGE, PLUM), ("-", "--", ":"), slopes, strict=False):
        ax.plot(z, cyclic(z, num_bits, slope), color=color, ls=style, lw=1.7, label=f"cyclic, slope {slope:g}")
    ax.set(xlabel="exact sum z", ylabel="value that goes on", xticks=[n * turn // 2 for n in range(-3, 4)])
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return ax


def norms_under_bound(norms: Mapping[str, Tensor], bound: float, ax: Axes | None = None) -> Axes:
    """Draw Σ|q| of every output, [out] for each name, sorted, and the bound that none may exceed."""
    ax = _axes(ax, (5.6, 2.8))
    for color, marker, (name, each) in zip((ORANGE, BLUE, PLUM), "sod", norms.items(), strict=False):
        if each.ndim != 1:
            raise ValueError(f"norms are [out], one for each output, got {describe(each)}")
        ax.plot(range(len(each)), each.sort().values, marker, ms=4.5, color=color, label=name)
    ax.axhline(bound, color=PLUM, ls="--", lw=1.4, label=f"bound {bound:.0f}")
    ax.set(xlabel="output channel, sorted", ylabel="Σ|q| of its codes", ylim=(0, None))
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return ax


def _at(angle: float, radius: float) -> tuple[float, float]:
    """Coordinates on a circle whose 0 is on top, with positive numbers to the right."""
    return radius * math.sin(angle), radius * math.cos(angle)


def _axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize)[1]
