"""Pictures of equations (1) and (4): what rounding does to numbers, which codes are used, where real 0 lands.

    rounding_error    the error of every real, in steps: a sawtooth
    decibels_by_bits  signal to noise against width
    clipping_error    rounding and clipping against the range
    used_codes        how often each code occurs, and which never do
    nudged_range      a range that was asked for, and the nearest one in which 0 is a code
    pixels            one channel as a picture

Learn:   course/4_quantization/4_1_the_operator.ipynb and 4_2_zero_point.ipynb
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugal.core.check import check_num_bits, describe
from frugal.quant.affine import QParams, dequantize, qparams_from_range, quantize
from frugal.show.style import BLUE, DIVERGING, GREY, INK, ORANGE, PLUM, SKY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 2000  # of a curve: enough for every tooth of 6 bits
CODES_MOST = 64  # bars thinner than this cannot be told apart


def rounding_error(qparams: QParams, low: float, high: float, ax: Axes | None = None) -> Axes:
    """Draw how far the code's real number lies from each real, in steps; half a step is marked."""
    ax = _axes(ax)
    x = torch.linspace(low, high, POINTS)
    error = (dequantize(quantize(x, qparams), qparams) - x) / qparams.scale
    ax.axhspan(-0.5, 0.5, color=SKY, alpha=0.3, lw=0, label="half a step")
    label = "clipped"
    for start, end in ((low, qparams.low.item()), (qparams.high.item(), high)):
        if start < end:
            ax.axvspan(start, end, color=PLUM, alpha=0.12, lw=0, label=label)
            label = "_"  # one entry in the legend is enough
    ax.plot(x, error, color=BLUE, lw=1.2, label="error")
    ax.set(xlabel="x (real)", ylabel="error (steps)", xlim=(low, high), ylim=(-1.1, 1.1))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    return ax


def decibels_by_bits(series: Mapping[str, Mapping[int, float]], ax: Axes | None = None) -> Axes:
    """Draw signal to noise against width, one line for each name: ``{"weights": {2: 3.1, 3: 9.8}, ...}``."""
    ax = _axes(ax)
    for marker, (name, by_bits) in zip("osD^vP" * len(series), series.items(), strict=False):
        bits = sorted(by_bits)
        ax.plot(bits, [by_bits[each] for each in bits], marker=marker, ms=5, label=name)
    widths = sorted({each for by_bits in series.values() for each in by_bits})
    ax.set(xlabel="width (bits)", ylabel="signal to noise (dB)", xticks=widths)
    ax.legend(loc="upper left")
    return ax


def clipping_error(
    percent: Sequence[float], rounding: Sequence[float], clipping: Sequence[float], ax: Axes | None = None
) -> Axes:
    """Draw the two parts of the squared error and their sum against alpha; 1 is the error when nothing is clipped.

    Args:
        percent: alpha as per cent of the largest magnitude, rising, the last one 100.
        rounding, clipping: mean squared error of the values inside and outside alpha, one for each.
        ax: where to draw.
    """
    ax = _axes(ax)
    whole = rounding[-1] + clipping[-1]
    total = [(inside + outside) / whole for inside, outside in zip(rounding, clipping, strict=True)]
    best = min(range(len(total)), key=total.__getitem__)
    ax.plot(percent, [each / whole for each in clipping], color=PLUM, ls=":", label="clipping: x beyond alpha")
    ax.plot(percent, [each / whole for each in rounding], color=BLUE, ls="--", label="rounding: x within alpha")
    ax.plot(percent, total, color=INK, lw=2, label="together")
    ax.plot(percent[best], total[best], "o", color=ORANGE, ms=8, label=f"least, at {percent[best]:.0f} %")
    ax.set(xlabel="alpha (% of max|x|)", ylabel="squared error\n(1: nothing clipped)", ylim=(0, 1.6))
    ax.legend(loc="upper right")
    return ax


def used_codes(x: Tensor, qparams: QParams, ax: Axes | None = None) -> Axes:
    """Draw which part of the values gets each code, on a logarithmic axis; codes that no value gets are shaded."""
    ax = _axes(ax)
    first, last = qparams.quant_min, qparams.quant_max
    count = last - first + 1
    if qparams.scale.numel() != 1 or count > CODES_MOST:
        raise ValueError(f"used_codes draws one scale and up to {CODES_MOST} codes, got {count}; take fewer bits")
    q = quantize(x.detach(), qparams).to(torch.int64).reshape(-1)
    often = torch.bincount(q - first, minlength=count).tolist()
    share = {code: 100 * many / q.numel() for code, many in enumerate(often, first) if many}  # per cent
    zero = int(qparams.zero_point)
    ax.bar(list(share), list(share.values()), color=BLUE, width=0.8, label=f"used: {len(share)} of {count} codes")
    ax.bar([zero], [share.get(zero, 0.0)], color=ORANGE, width=0.8, label="real 0")
    label = "never used"
    for code in range(first, last + 1):
        if code not in share:
            ax.axvspan(code - 0.5, code + 0.5, color=PLUM, alpha=0.15, lw=0, label=label)
            label = "_"  # one entry in the legend is enough
    ax.set(xlabel="code", ylabel="part of the values (%)", yscale="log", xlim=(first - 0.6, last + 0.6))
    ax.set_xticks(range(first, last + 1, 1 + count // 20))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, columnspacing=1.2)
    return ax


def nudged_range(low: float, high: float, num_bits: int, ax: Axes | None = None) -> Axes:
    """Draw the codes spread over a range as asked, and moved by less than a step so that real 0 is one of them."""
    ax = _axes(ax, height=2.2)
    check_num_bits(num_bits)
    if not low < high:
        raise ValueError(f"low must be below high, got {low} and {high}")
    qparams = qparams_from_range(torch.tensor(float(low)), torch.tensor(float(high)), num_bits)
    scale, zero_point = qparams.scale.item(), int(qparams.zero_point)
    step = (high - low) / (2**num_bits - 1)
    asked = [low + step * code for code in range(2**num_bits)]
    nudged = [scale * (code - zero_point) for code in range(qparams.quant_min, qparams.quant_max + 1)]
    ax.axvline(0, color=ORANGE, lw=1.6, ls="--", label="real 0")
    for height, levels, color in ((1, asked, GREY), (0, nudged, BLUE)):
        ax.hlines([height], levels[0], levels[-1], color=color, lw=1)
        ax.plot(levels, [height] * len(levels), "|", color=color, ms=16, mew=1.6)
    miss = min(map(abs, asked)) / step
    title = f"real 0 was {miss:.2f} steps off a code; low moved by {abs(nudged[0] - low):.2f}"
    ax.set(xlabel="x (real)", yticks=[0, 1], yticklabels=["nudged", "as asked"], ylim=(-0.6, 1.6), title=title)
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 0.34), borderaxespad=0.2)
    return ax


def pixels(x: Tensor, ax: Axes | None = None, *, title: str = "", reach: float | None = None, unit: str = "") -> Axes:
    """Draw a matrix as a picture with a colour bar: from 0 upwards, or, with negative values, around a pale 0.

    Args:
        x: [h, w].
        ax: where to draw.
        title: above the picture.
        reach: the magnitude at the end of the colour bar; by default the largest one in ``x``.
        unit: beside the colour bar.
    """
    ax = _axes(ax, height=3.2)
    if x.ndim != 2:
        raise ValueError(f"pixels draws one channel [h, w], got {describe(x)}")
    x = x.detach().double()
    reach = reach or x.abs().max().item() or 1.0
    signed = bool((x < 0).any())
    image = ax.imshow(x.numpy(), cmap=DIVERGING if signed else "cividis", vmin=-reach if signed else 0, vmax=reach)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.72)
    bar.set_label(unit)
    bar.outline.set_visible(False)  # type: ignore[operator]
    ax.set(xticks=[], yticks=[], title=title)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.grid(False)
    return ax


def _axes(ax: Axes | None, height: float = 2.5) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(5.6, height))[1]
