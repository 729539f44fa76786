"""Pictures of sums in few bits: one sum on its way, and how many sums overflow at each width.

Lecture: slide 23. Learn: course/4_quantization/4_8_int8_for_real.ipynb
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.quant.accumulator import accumulator_range, saturate, wrap
from frugal.show.style import BLUE, GREY, INK, ORANGE, PLUM, SKY

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def running_sum(products: Tensor, num_bits: int, ax: Axes | None = None) -> Axes:
    """Draw a sum on its way: exact, wrapped and saturated in an accumulator of few bits.

    Args:
        products: whole numbers [k], in the order in which they are added.
        num_bits: width of the accumulator, shaded.
    """
    if products.ndim != 1 or products.is_floating_point() or products.numel() == 0:
        raise ValueError(f"running_sum needs whole numbers [k], got {describe(products)}")
    ax = _axes(ax, (6.4, 3.2))
    exact, wrapped, saturated = [0], [0], [0]
    for product in products.to(torch.int64):
        exact.append(exact[-1] + int(product))
        wrapped.append(int(wrap(wrapped[-1] + product, num_bits)))
        saturated.append(int(saturate(saturated[-1] + product, num_bits)))
    low, high = accumulator_range(num_bits)
    ax.axhspan(low, high, color=SKY, alpha=0.3, lw=0, label=f"{num_bits} bits")
    steps = range(len(exact))
    for values, color, name, style in (
        (exact, GREY, "exact", "-"),
        (wrapped, BLUE, "wrapped", "--"),
        (saturated, ORANGE, "saturated", ":"),
    ):
        right = "right" if values[-1] == exact[-1] else "wrong"
        ax.plot(steps, values, color=color, ls=style, label=name if name == "exact" else f"{name}: {right}")
        ax.plot(steps[-1], values[-1], "o", color=color, ms=5, clip_on=False)
    reach = 1.12 * max(map(abs, exact))
    ax.set(xlabel="products added", ylabel="sum", xlim=(0, len(products)), ylim=(-reach, reach))
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return ax


def overflow_by_bits(
    shares: Mapping[str, Mapping[int, float]], ax: Axes | None = None, *, marks: Mapping[str, int] | None = None
) -> Axes:
    """Draw the sums that overflow, in per cent, against the width of the accumulator.

    Args:
        shares: ``{"at the end": {8: 99.0, 16: 26.5, ...}, "on the way": ...}``, one line each.
        marks: widths to point out, by what they are.
    """
    ax = _axes(ax, (5.6, 3.0))
    for style, marker, (name, by_bits) in zip(("-", "--", ":", "-."), "osD^", shares.items(), strict=False):
        bits = sorted(by_bits)
        ax.plot(bits, [by_bits[each] for each in bits], ls=style, marker=marker, ms=4.5, label=name)
    for name, width in (marks or {}).items():
        ax.axvline(width, color=PLUM, lw=1.2, ls=":")
        ax.text(width - 0.15, 97, name, rotation=90, ha="right", va="top", fontsize=8, color=INK)
    widths = sorted({bits for by_bits in shares.values() for bits in by_bits})
    ax.set(xlabel="width of the accumulator (bits)", ylabel="sums that overflow (%)", ylim=(-2, 103))
    ax.set_xticks(widths[:: max(1, len(widths) // 12)])
    ax.legend(loc="lower left")
    return ax


def _axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize)[1]
