"""What two instructions do with bytes, number by number, and their pictures.

    vpdpbusd    u8 · s8, four products to a lane, added to an int32        exact
    vpmaddubsw  u8 · s8, two products to a lane, in an int16               saturates: 2 · 255 · 127 does not fit

Both are imitated in plain torch, so the lesson is the same on a processor that has neither.
Learn: course/4_quantization/4_8_int8_for_real.ipynb
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.quant.accumulator import accumulator_range, saturate, wrap
from frugal.show.style import BLUE, GREY, INK, ORANGE, PLUM, SKY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LANES, QUAD = 16, 4  # of a register of 64 bytes: lanes, and bytes in each
BINS = 80


def dpbusd(acc: Tensor, a: Tensor, w: Tensor) -> Tensor:
    """vpdpbusd: in every lane, acc + a0·w0 + a1·w1 + a2·w2 + a3·w3.

    Args:
        acc: int32 [lanes].
        a: uint8 [4], the same four values for every lane; or [lanes, 4].
        w: int8 [lanes, 4].

    >>> a, w = torch.tensor([1, 2, 3, 4], dtype=torch.uint8), torch.tensor([[1, 1, 1, 1], [-1, 0, 0, 5]]).to(torch.int8)
    >>> dpbusd(torch.tensor([100, 200], dtype=torch.int32), a, w).tolist()
    [110, 219]
    """
    if a.dtype != torch.uint8 or w.dtype != torch.int8 or w.ndim != 2 or w.shape[1] != QUAD or a.shape[-1:] != (QUAD,):
        raise ValueError(f"dpbusd needs a uint8 [4] and w int8 [lanes, 4], got {describe(a)} and {describe(w)}")
    products = a.to(torch.int64) * w.to(torch.int64)
    return wrap(acc.to(torch.int64) + products.sum(1), 32).to(torch.int32)


def maddubs(a: Tensor, w: Tensor) -> Tensor:
    """vpmaddubsw: pairs of products, added in 16 bits with saturation.

    Args:
        a: uint8 [..., even].
        w: int8, of a shape that fits beside it.

    Returns:
        int16 [..., half as many].

    >>> maddubs(torch.tensor([255, 255], dtype=torch.uint8), torch.tensor([127, 127], dtype=torch.int8)).tolist()
    [32767]
    """
    return saturate(pair_sums(a, w), 16).to(torch.int16)


def pair_sums(a: Tensor, w: Tensor) -> Tensor:
    """a0·w0 + a1·w1 of every pair, exact: int64 [..., half as many]."""
    if a.dtype != torch.uint8 or w.dtype != torch.int8 or a.shape[-1] != w.shape[-1] or a.shape[-1] % 2:
        raise ValueError(f"pairs need a uint8 and w int8 of an even length, got {describe(a)} and {describe(w)}")
    return (a.to(torch.int64) * w.to(torch.int64)).unflatten(-1, (-1, 2)).sum(-1)


def one_instruction(acc: Tensor, a: Tensor, w: Tensor, lane: int, ax: Axes | None = None) -> Axes:
    """Draw one vpdpbusd: three registers of 64 bytes, and one of the 16 lanes enlarged.

    Args:
        acc, a, w: as for ``dpbusd``, with 16 lanes.
        lane: 0 to 15.
    """
    if len(w) != LANES or not 0 <= lane < LANES:
        raise ValueError(f"the picture has {LANES} lanes, got {len(w)} and lane {lane}")
    after = dpbusd(acc, a, w)
    ax = _axes(ax, (8.6, 3.2))
    x, rows = lane * QUAD, {"a": 5.2, "w": 4.0, "sum": 2.8}
    for y in rows.values():
        ax.fill_between([0, LANES * QUAD], y, y + 0.8, color=SKY, alpha=0.35, lw=0)
        ax.fill_between([x, x + QUAD], y, y + 0.8, color=BLUE, lw=0)
        _strokes(ax, range(0, LANES * QUAD + 1, QUAD), y, y + 0.8, INK, 1.0)
    for y in (rows["a"], rows["w"]):
        _strokes(ax, [each for each in range(LANES * QUAD) if each % QUAD], y + 0.2, y + 0.6, GREY, 0.6)
    for other in range(LANES):
        color = "white" if other == lane else INK
        middle = other * QUAD + QUAD / 2
        ax.text(middle, rows["sum"] + 0.4, f"{after[other]}", ha="center", va="center", fontsize=6.5, color=color)
    for name, y in (("a  uint8", 5.2), ("w  int8", 4.0), ("sum  int32", 2.8)):
        ax.text(-0.8, y + 0.4, name, ha="right", va="center", fontsize=9)
    ax.text(x + QUAD / 2, 6.15, f"lane {lane}", ha="center", va="bottom", fontsize=8, color=BLUE)
    _enlarge(ax, acc[lane], a if a.ndim == 1 else a[lane], w[lane], after[lane])
    for side in (0, 1):
        ax.plot([x + side * QUAD, side * LANES * QUAD], [2.8, 2.05], color=BLUE, lw=0.8)
    ax.set(xlim=(-9, LANES * QUAD + 0.5), ylim=(0, 6.8))
    ax.axis("off")
    return ax


def sixteen_bits(sums: Tensor, ax: Axes | None = None) -> Axes:
    """Draw how often pair sums occur, and the part that an int16 cannot hold."""
    ax = _axes(ax, (5.6, 2.8))
    values = sums.double().flatten()
    low, high = accumulator_range(16)
    counts, edges = torch.histogram(values, BINS)
    ax.stairs(counts.clamp(min=0.5).numpy(), edges.numpy(), fill=True, color=SKY, baseline=0.5)
    beyond = (values < low) | (values > high)
    label = f"no int16: {100 * beyond.double().mean().item():.1f} %"
    for start, end in ((values.min().item(), low), (high, values.max().item())):
        if start < end:
            ax.axvspan(start, end, color=PLUM, alpha=0.18, lw=0, label=label)
            label = "_"
    for end in (low, high):
        ax.axvline(end, color=ORANGE, lw=1.4)
    ax.set(yscale="log", xlabel="a0 · w0 + a1 · w1", ylabel="pairs", ylim=(0.5, 40 * counts.max().item()))
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper left")
    return ax


def _enlarge(ax: Axes, acc: Tensor, a: Tensor, w: Tensor, after: Tensor) -> None:
    """The chosen lane: four products, and what they are added to."""
    width = LANES * QUAD / 6
    words = [f"{x} · {y}\n= {x * y}" for x, y in zip(a.tolist(), w.tolist(), strict=True)]
    cells = [f"{acc}\nso far", *words, f"{after}\nnew sum"]
    for place, word in enumerate(cells):
        color = ORANGE if place == 0 else BLUE if place == len(cells) - 1 else INK
        ax.text((place + 0.5) * width, 1.2, word, ha="center", va="center", fontsize=9, color=color)
        if place:
            ax.text(place * width, 1.3, "=" if place == len(cells) - 1 else "+", ha="center", va="center", fontsize=10)


def _strokes(ax: Axes, places: range | list[int], low: float, high: float, color: str, lw: float) -> None:
    """Upright marks as one path: a flipbook of them stays small."""
    gap = float("nan")
    xs = [value for x in places for value in (x, x, gap)]
    ax.plot(xs, [value for _ in places for value in (low, high, gap)], color=color, lw=lw)


def _axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize)[1]
