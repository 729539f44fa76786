"""Pictures of quantization: each function takes data and axes, draws, and returns the axes.

    staircase            real in, real out: the rounding steps
    number_line          the codes as marks on the real line
    histogram_with_grid  a tensor's values, the levels it may take, what is clipped
    tensor_grid          a small matrix with its numbers
    channel_ranges       the range of each output channel inside the range of the tensor
    error_by_bits        rounding error against width
    accuracy_bars        accuracy of several networks beside the original

Nothing is shown here: the notebook's cell ends in ``plt.show()``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.quant.affine import QParams, dequantize, quantize
from frugal.show.style import BLUE, DIVERGING, GREY, INK, ORANGE, PLUM, SKY, TEAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 1000  # of a curve: two for each pixel
CELLS_MOST = 400  # numbers in cells smaller than this cannot be read


def staircase(qparams: QParams, low: float, high: float, ax: Axes | None = None) -> Axes:
    """Draw real value in against real value out: steps inside the range, flat where values are clipped."""
    ax = _axes(ax)
    _check_per_tensor(qparams, "staircase")
    x = torch.linspace(low, high, POINTS)
    ax.plot(x, x, color=GREY, lw=1, ls="--", label="as it was")
    ax.plot(x, dequantize(quantize(x, qparams), qparams), color=BLUE, label="quantized")
    _shade_clipped(qparams, low, high, ax)
    ax.set(xlabel="x (real)", ylabel="scale · (q - zero_point)", xlim=(low, high))
    ax.legend(loc="upper left")
    return ax


def number_line(qparams: QParams, ax: Axes | None = None) -> Axes:
    """Draw every code as a mark where its real number lies; real 0 stands out."""
    ax = _axes(ax, height=1.5)
    _check_per_tensor(qparams, "number_line")
    codes = torch.arange(qparams.quant_min, qparams.quant_max + 1)
    reals = (codes - qparams.zero_point) * qparams.scale
    ax.plot(*_marks(reals, 0, 1), color=BLUE, lw=0.8 if len(codes) > 40 else 1.6)
    ax.plot([0, 0], [-0.35, 1], color=ORANGE, lw=2.2, label=f"real 0 is code {qparams.zero_point.item()}")
    every = -(-len(codes) // 16)  # at most 16 numbers fit
    for code, real in zip(codes.tolist()[::every], reals.tolist()[::every], strict=True):
        ax.text(real, 1.12, str(code), ha="center", va="bottom", fontsize=8)
    ax.set(xlabel="scale · (q - zero_point) (real)", yticks=[], ylim=(-0.4, 2.4))
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ax.legend(loc="upper right")
    return ax


def histogram_with_grid(x: Tensor, qparams: QParams, ax: Axes | None = None, *, bins: int = 80) -> Axes:
    """Draw how often values occur, the levels they are rounded to, and the part that is clipped."""
    ax = _axes(ax)
    _check_per_tensor(qparams, "histogram_with_grid")
    x = x.detach().float().reshape(-1)
    counts, edges = torch.histogram(x, bins)
    ax.stairs(counts.numpy(), edges.numpy(), fill=True, color=SKY, label="values")
    codes = torch.arange(qparams.quant_min, qparams.quant_max + 1)
    levels = (codes - qparams.zero_point) * qparams.scale
    _shade_clipped(qparams, x.min().item(), x.max().item(), ax)
    low, high = _rounded_range(qparams)
    clipped = ((x < low) | (x > high)).float().mean().item()
    parts_of_axes = ax.get_xaxis_transform()  # for y; x stays real
    ax.plot(*_marks(levels, 0, 0.06), color=BLUE, lw=1, transform=parts_of_axes, label=f"{len(codes)} levels")
    ax.set(xlabel="x (real)", ylabel="values per bin", title=f"{clipped:.2%} of the values are clipped")
    ax.legend(loc="upper right")
    return ax


def tensor_grid(x: Tensor, ax: Axes | None = None, *, title: str = "") -> Axes:
    """Draw a small matrix as cells with their numbers: rows down, columns across, zero white."""
    ax = _axes(ax)
    if x.ndim not in (1, 2) or not 0 < x.numel() <= CELLS_MOST:
        raise ValueError(f"tensor_grid needs 1 to {CELLS_MOST} values in one or two dimensions, got {describe(x)}")
    cells = x.detach().reshape(-1, x.shape[-1]).double()  # [rows, columns]
    finite = cells[torch.isfinite(cells)]
    reach = (finite.abs().max().item() if finite.numel() else 0.0) or 1.0
    ax.imshow(cells.numpy(), cmap=DIVERGING, vmin=-2 * reach, vmax=2 * reach, aspect="auto")  # pale: text reads
    for row, numbers in enumerate(x.detach().reshape(cells.shape).tolist()):
        for column, value in enumerate(numbers):
            text = f"{value:.2f}" if x.is_floating_point() else str(value)
            ax.text(column, row, text, ha="center", va="center", color=INK, fontsize=9)
    ax.set(xticks=range(cells.shape[1]), yticks=range(cells.shape[0]), xlabel="column", ylabel="row", title=title)
    ax.tick_params(length=0)
    ax.grid(False)
    return ax


def channel_ranges(weight: Tensor, ax: Axes | None = None) -> Axes:
    """Draw the range of every output channel as a bar, sorted, inside the one range of the whole tensor."""
    ax = _axes(ax)
    if weight.ndim < 2 or weight.numel() == 0:
        raise ValueError(f"channel_ranges needs a weight [out, in, ...], got {describe(weight)}")
    low, high = weight.detach().float().flatten(1).aminmax(dim=1)  # [out]
    order = (high - low).argsort()
    ax.axhspan(low.min().item(), high.max().item(), color=ORANGE, alpha=0.15, lw=0, label="range of the tensor")
    places = torch.arange(len(order))
    ax.vlines(places, low[order], high[order], color=BLUE, lw=max(0.8, min(6, 200 / len(order))), label="of a channel")
    ax.set(xlabel="output channel, by range", ylabel="weight (real)")
    ax.legend(loc="upper left")
    return ax


def error_by_bits(
    errors: Mapping[str, Mapping[int, float]], ax: Axes | None = None, *, ylabel: str = "mean squared error"
) -> Axes:
    """Draw error against width, one line for each method: ``{"per tensor": {2: 0.1, 3: 0.02}, ...}``."""
    ax = _axes(ax)
    for marker, (name, by_bits) in zip("osD^vP*X" * len(errors), errors.items(), strict=False):
        bits = sorted(by_bits)
        ax.plot(bits, [by_bits[each] for each in bits], marker=marker, ms=5, label=name)
    widths = sorted({each for by_bits in errors.values() for each in by_bits})
    ax.set(xlabel="width (bits)", ylabel=ylabel, xticks=widths, yscale="log")
    ax.legend()
    return ax


def accuracy_bars(
    accuracies: Mapping[str, float],
    ax: Axes | None = None,
    *,
    original: float | None = None,
    chance: float | None = None,
) -> Axes:
    """Draw accuracies in per cent as bars with their numbers; lines for the original network and for guessing."""
    ax = _axes(ax)
    names, values = list(accuracies), list(accuracies.values())
    rows = range(len(names))
    ax.barh(rows, values, color=BLUE, height=0.62)
    for row, value in zip(rows, values, strict=True):
        inside = value > 20
        ax.text(
            value + (-1.2 if inside else 1.2),
            row,
            f"{value:.1f}",
            ha="right" if inside else "left",
            va="center",
            color="white" if inside else INK,
            fontsize=9,
        )
    lines: Sequence[tuple[float | None, str, str]] = [(original, TEAL, "original"), (chance, PLUM, "guessing")]
    for level, color, name in lines:
        if level is not None:
            ax.axvline(level, color=color, lw=1.6, ls="--", label=f"{name}, {level:.1f} %")
    ax.set(xlabel="accuracy (%)", xlim=(0, 100), yticks=rows, yticklabels=names)
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    return ax


def _axes(ax: Axes | None, height: float = 3.0) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(5.6, height))[1]


def _marks(at: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Vertical strokes as one line with gaps: a picture of 256 levels stays a tenth of 256 lines."""
    x = torch.stack([at, at, torch.full_like(at, torch.nan)], dim=1)  # [marks, 3]
    y = torch.tensor([low, high, torch.nan]).expand(len(at), 3)
    return x.flatten(), y.flatten()


def _check_per_tensor(qparams: QParams, name: str) -> None:
    if qparams.scale.numel() != 1:
        raise ValueError(f"{name} draws one scale, got {qparams.scale.numel()}; choose one channel, or PerTensor()")


def _rounded_range(qparams: QParams) -> tuple[float, float]:
    """The reals that are off by half a step at most: to the outermost codes and half a step past them."""
    half = qparams.scale.item() / 2
    return qparams.low.item() - half, qparams.high.item() + half


def _shade_clipped(qparams: QParams, low: float, high: float, ax: Axes) -> None:
    """Mark the reals that are clipped: their error exceeds half a step, and grows with them."""
    label = "clipped"
    first, last = _rounded_range(qparams)
    for start, end in ((low, first), (last, high)):
        if start < end:
            ax.axvspan(start, end, color=PLUM, alpha=0.12, lw=0, label=label)
            label = "_"  # one entry in the legend is enough
