"""Pictures of speed: layers under the roof, what a kind of layer does and takes, and a ladder of ratios.

Learn: course/4_quantization/4_8_int8_for_real.ipynb
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from frugal.show.roofline import roofline
from frugal.show.style import BLUE, INK, ORANGE, PLUM, SKY, TEAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = (("o", BLUE), ("s", ORANGE), ("^", PLUM), ("D", TEAL))


def layers_under_the_roof(
    peaks_gops: Mapping[str, float],
    read_gb_s: Mapping[int, float],
    kinds: Mapping[str, Sequence[tuple[float, float]]],
    ax: Axes | None = None,
) -> Axes:
    """Draw the roofline, and one mark for each layer, alike for layers of a kind.

    Args:
        peaks_gops, read_gb_s: as for ``roofline``.
        kinds: per kind of layer, its layers' intensity (operations per byte) and what they attained (Gop/s).
    """
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(7.4, 4.4))[1]
    roofline(peaks_gops, read_gb_s, ax=ax)
    roofs = ax.get_legend()
    assert roofs is not None, "roofline draws a legend"
    marks = [
        ax.plot(*zip(*layers, strict=True), marker, color=color, ms=5, ls="", alpha=0.85, label=kind)[0]
        for (marker, color), (kind, layers) in zip(LOOKS, kinds.items(), strict=False)
        if layers
    ]
    ax.legend(handles=marks, loc="lower left", bbox_to_anchor=(0, 1.07), ncols=len(marks), fontsize=8)
    ax.add_artist(roofs)
    return ax


def shares(parts: Mapping[str, Sequence[float]], columns: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw how parts make up each of several wholes, as stacked bars in per cent.

    Args:
        parts: ``{"depthwise": (macs, seconds), "1 × 1": (...)}``.
        columns: what the numbers of a part are, such as ``("products", "time")``.
    """
    totals = [sum(values[place] for values in parts.values()) for place in range(len(columns))]
    if not totals or min(totals) <= 0:
        raise ValueError(f"each whole must be above 0, got {totals}")
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(6.4, 2.3))[1]
    left = [0.0] * len(columns)
    for color, (name, values) in zip((BLUE, SKY, PLUM, TEAL), parts.items(), strict=False):
        widths = [100 * value / total for value, total in zip(values, totals, strict=True)]
        ax.barh(range(len(columns)), widths, left=left, color=color, height=0.6, label=name)
        for row, width in enumerate(widths):
            if width > 6:
                ink = INK if color == SKY else "white"
                ax.text(left[row] + width / 2, row, f"{width:.0f} %", ha="center", va="center", color=ink, fontsize=9)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    ax.set(xlim=(0, 100), yticks=range(len(columns)), yticklabels=columns, xlabel="%")
    ax.invert_yaxis()
    ax.grid(False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(parts), fontsize=9)
    return ax


def times_faster(ratios: Mapping[str, float], ax: Axes | None = None, *, than: str) -> Axes:
    """Draw ratios of time as bars on a logarithmic axis; a bar to the right of 1 is faster.

    Args:
        ratios: per name, the other's time over this one's.
        than: what they are compared with.
    """
    if not ratios or min(ratios.values()) <= 0:
        raise ValueError(f"ratios must be above 0, got {dict(ratios)}")
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(5.6, 0.6 + 0.42 * len(ratios)))[1]
    for row, ratio in enumerate(ratios.values()):
        ax.barh(row, ratio - 1, left=1, color=BLUE if ratio >= 1 else PLUM, height=0.6)
        ax.annotate(f" {ratio:.3g} ", (ratio, row), va="center", ha="left" if ratio >= 1 else "right", fontsize=9)
    ax.axvline(1, color=INK, lw=1)
    ends = [*ratios.values(), 1.0]
    ax.set(xscale="log", xlim=(min(ends) / 2.2, max(ends) * 2.2), xlabel=f"times as fast as {than}")
    ax.set(yticks=range(len(ratios)), yticklabels=list(ratios))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    return ax
