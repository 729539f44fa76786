"""Pictures of the first chapter: the data, the machine's instructions, the times of repeated calls.

    contact_sheet   drawn pictures, one row per class
    products        what one instruction multiplies, and which ones this machine has
    call_times      the time of every call of a series, and their median

Nothing is shown here: the notebook's cell ends in ``plt.show()``.
Learn: course/0_start/0_1_your_machine.ipynb
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from frugal.data.drawn import CLASSES, SIZE, sheet
from frugal.kernels.cpu import INSTRUCTION_SETS, InstructionSet
from frugal.show.style import BLUE, GREY, INK, LIGHT, ORANGE, PLUM

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def contact_sheet(columns: int = 12, ax: Axes | None = None, *, seed: int = 0, split: str = "val") -> Axes:
    """Draw the first pictures of each class of ``data.drawn``, one row per class."""
    ax = _axes(ax, (5.6, 5.6 * len(CLASSES) / columns))
    ax.imshow(sheet(columns, seed=seed, split=split).permute(1, 2, 0).numpy(), interpolation="nearest")
    for edge in range(SIZE, SIZE * columns, SIZE):
        ax.axvline(edge - 0.5, color="white", lw=0.8)
    for edge in range(SIZE, SIZE * len(CLASSES), SIZE):
        ax.axhline(edge - 0.5, color="white", lw=0.8)
    ax.set_yticks([SIZE * (row + 0.5) - 0.5 for row in range(len(CLASSES))], CLASSES)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def products(found: Iterable[InstructionSet], ax: Axes | None = None) -> Axes:
    """Draw how many products of two bytes one instruction does, for every set of the course; those found stand out."""
    ax = _axes(ax, (5.6, 2.6))
    have = {each.name for each in found}
    sets = sorted(INSTRUCTION_SETS, key=lambda each: (each.products, each.name))
    colors = [BLUE if each.name in have else LIGHT for each in sets]
    ax.barh(range(len(sets)), [each.products for each in sets], left=0.5, color=colors, height=0.66)
    for row, each in enumerate(sets):
        words = f"{each.products:,}" + ("   here" if each.name in have else "")
        ax.text(each.products * 1.15 + 0.5, row, words, va="center", color=INK, fontsize=9)
    ax.set(xlabel="products of two bytes in one instruction", xscale="log", xlim=(0.5, 200_000))
    ax.set_yticks(range(len(sets)), [each.name for each in sets])
    ax.grid(False, axis="y")
    return ax


def call_times(times_ms: Sequence[float], warmup: int, ax: Axes | None = None) -> Axes:
    """Draw the time of every call in the order they came, those of the warm-up apart, and the median of the others."""
    if not 0 <= warmup < len(times_ms):
        raise ValueError(f"warmup must leave at least one of the {len(times_ms)} calls, got {warmup}")
    ax = _axes(ax, (5.6, 2.8))
    middle = statistics.median(times_ms[warmup:])
    ax.plot(range(1, warmup + 1), times_ms[:warmup], "x", color=PLUM, ms=6, mew=1.8, label="warm-up, not counted")
    ax.plot(range(warmup + 1, len(times_ms) + 1), times_ms[warmup:], "o", color=BLUE, ms=3.5, label="counted")
    ax.axhline(middle, color=ORANGE, lw=1.8, label="median of the counted", zorder=0)
    ax.set(xlabel="call", ylabel="time (ms)", ylim=(0, 1.06 * max(times_ms)))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, fontsize=9)
    ax.spines["bottom"].set_color(GREY)
    return ax


def _axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize)[1]
