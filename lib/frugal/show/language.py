"""Pictures of a language model and of what its rounding does.

    next_words      what the model expects to come next
    column_walk     one row of weights, part rounded, part moved to make up for it
    feature_sizes   the largest activation of each feature, one line for each way to prepare the model
    loss_by_bits    nll against width, one line for each method, the float model as a floor

Nothing is shown here: the notebook's cell ends in ``plt.show()``.
Learn: course/4_quantization/4_10_language_models.ipynb
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from frugal.core.check import describe
from frugal.show.style import BLUE, GREY, ORANGE, PALETTE, TEAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def next_words(chances: Tensor, words: Sequence[str], ax: Axes | None = None, *, most: int = 6) -> Axes:
    """Draw the likeliest words, [vocabulary] chances that add up to 1, as bars in per cent."""
    if chances.ndim != 1 or len(chances) != len(words):
        raise ValueError(f"next_words needs one chance for each of {len(words)} words, got {describe(chances)}")
    ax = _axes(ax)
    top = chances.detach().topk(min(most, len(words)))
    rows = range(len(top.indices))
    ax.barh(rows, 100 * top.values, color=BLUE, height=0.62)
    ax.set(xlabel="chance (%)", xlim=(0, 100), yticks=rows, yticklabels=[words[i] for i in top.indices.tolist()])
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    return ax


def column_walk(original: Tensor, now: Tensor, done: int, step: float, ax: Axes | None = None) -> Axes:
    """Draw one row of weights after ``done`` of its columns are rounded: where each was, and where it is.

    Args:
        original, now: [in].
        done: columns that lie on the grid; the others are free and may have moved.
        step: of the grid, drawn as lines.
    """
    if original.ndim != 1 or original.shape != now.shape or not 0 <= done <= len(now):
        raise ValueError(
            f"column_walk needs two rows of one length and 0 to {len(now)} columns, "
            f"got {describe(original)}, {describe(now)} and {done}"
        )
    ax = _axes(ax)
    columns = range(len(now))
    reach = int(max(original.abs().max().item(), now.abs().max().item()) / step) + 1
    for code in range(-reach, reach + 1):
        ax.axhline(code * step, color=GREY, lw=0.5, alpha=0.5)
    ax.vlines(columns, original, now, color=ORANGE, lw=1.6)
    ax.plot(columns, original, ls="", marker="_", ms=12, mew=1.4, color=TEAL, label="as it was")
    ax.plot(columns[:done], now[:done], ls="", marker="s", ms=6, color=BLUE, label="rounded")
    ax.plot(columns[done:], now[done:], ls="", marker="o", ms=6, mfc="none", color=ORANGE, label="free, moved")
    ax.set(xlabel="column (input)", ylabel="weight (real)", xlim=(-0.7, len(now) - 0.3))
    ax.grid(False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    return ax


def feature_sizes(sizes: Mapping[str, Tensor], ax: Axes | None = None) -> Axes:
    """Draw the largest |activation| of every feature, [features] for each name, on a logarithmic axis."""
    ax = _axes(ax)
    for marker, (name, each) in zip("osD^v" * len(sizes), sizes.items(), strict=False):
        ax.plot(range(len(each)), each, marker=marker, ms=3.5, lw=1.0, label=name)
    ax.set(xlabel="feature", ylabel="largest |activation|", yscale="log")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    return ax


def loss_by_bits(losses: Mapping[str, Mapping[int, float]], floor: float, ax: Axes | None = None) -> Axes:
    """Draw nll against width, ``{"nearest": {2: 0.5, 3: 0.43}, ...}``, above the float model's ``floor``."""
    ax = _axes(ax)
    for marker, color, (name, by_bits) in zip("osD^v" * 2, PALETTE * 2, losses.items(), strict=False):
        bits = sorted(by_bits)
        ax.plot(bits, [by_bits[each] for each in bits], marker=marker, ms=5, color=color, label=name)
    ax.axhline(floor, color=GREY, lw=1.2, ls="--", label="float32")
    ax.set(xlabel="width (bits)", ylabel="nll (nats per token)")
    ax.set_xticks(sorted({each for by_bits in losses.values() for each in by_bits}))
    ax.legend()
    return ax


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]
