"""Packing, drawn: where the weights of a matrix lie in memory after ``kernels.pack``.

    matrix [out, k]                      memory, one row for each 64 bytes
    16 outputs x 4 values of k    ->     [c0: k0..k3][c1: k0..k3] ... [c15: k0..k3]

The picture is what ``pack`` does, not what it should do: numbered weights are packed and found again.
Learn: course/4_quantization/4_8_int8_for_real.ipynb
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from frugal.kernels.pack import DEPTH, PANEL, QUAD, pack
from frugal.show.style import BLUE, INK, LIGHT, ORANGE, SKY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle

LARGEST = 127  # outputs and k are numbered with int8
PADDING, WEIGHT, HERE = range(3)


def places(out: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Pack numbered weights: which output and which k lies at each byte; -1 where it is filled up.

    Returns:
        outputs, depths: [quad rows, 64 bytes].
    """
    if not (0 < out <= LARGEST and 0 < k <= LARGEST):
        raise ValueError(f"out and k must be from 1 to {LARGEST} to be numbered, got {out} and {k}")
    outputs = torch.arange(1, out + 1)[:, None].expand(out, k)
    depths = torch.arange(1, k + 1).expand(out, k)
    packed = [pack(each.to(torch.int8).contiguous()).data for each in (outputs, depths)]
    found = [each.reshape(-1, PANEL * QUAD).numpy().astype(int) - 1 for each in packed]
    return found[0], found[1]


def padded_share(out: int, taps: int, depth: int) -> float:
    """The part of a packed weight that is filling, 0 to 1.

    >>> padded_share(16, 9, 64), padded_share(64, 49, 3)
    (0.0, 0.953125)
    """
    rooms = -(-out // PANEL) * PANEL * taps * (-(-depth // DEPTH) * DEPTH)
    return 1 - out * taps * depth / rooms


def packing(out: int, k: int, row: int, ax: Axes | None = None) -> Axes:
    """Draw a matrix of weights and the memory that it is packed into, with one row of 64 bytes marked in both.

    Args:
        out, k: of the matrix.
        row: of the memory, 64 bytes each, counted from 0.
    """
    outputs, depths = places(out, k)
    if not 0 <= row < len(outputs):
        raise ValueError(f"this pack has {len(outputs)} rows of 64 bytes, got row {row}")
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(8.6, 3.9))[1]
    matrix = np.full((out, k), WEIGHT)
    inside = outputs[row] >= 0
    matrix[outputs[row][inside], depths[row][inside]] = HERE
    memory = np.where(outputs >= 0, WEIGHT, PADDING)
    memory[row] = np.where(inside, HERE, PADDING)

    left, gap, height = 1.6 * k, 8, len(outputs)  # a weight is drawn wider in the matrix than a byte in memory
    _cells(ax, matrix, 0, left / k, height / out)
    _cells(ax, memory, left + gap, 1, 1)
    _grid(ax, np.linspace(0, left, k + 1), np.linspace(0, len(outputs), out + 1))
    _grid(ax, left + gap + np.arange(0, 65, QUAD), np.arange(len(outputs) + 1))
    ax.add_patch(_frame(left + gap, row))
    ax.set(xlim=(-1, left + gap + 65), ylim=(len(outputs) + 4.6, -2.4))
    ax.text(left / 2, -0.5, f"weights: {out} outputs, k = {k}", ha="center", fontsize=9)
    ax.text(left + gap + 32, -0.5, f"memory: {len(outputs)} rows of 64 bytes", ha="center", fontsize=9)
    ax.text(0, len(outputs) + 3, f"row {row}:  {_words(outputs[row], depths[row])}", fontsize=9, color=INK)
    ax.axis("off")
    return ax


def _words(outputs: np.ndarray, depths: np.ndarray) -> str:
    """The first two and the last four of a row's quads."""

    def quad(place: int) -> str:
        at = slice(QUAD * place, QUAD * place + QUAD)
        names = [f"w[{o},{k}]" if o >= 0 else "0" for o, k in zip(outputs[at], depths[at], strict=True)]
        return " ".join(names)

    return f"{quad(0)} | {quad(1)} | … | {quad(PANEL - 1)}"


def _cells(ax: Axes, kinds: np.ndarray, x: float, width: float, height: float) -> None:
    """Colour the cells, neighbours of a kind in a row as one bar: a flipbook of them stays small."""
    ax.broken_barh([(x, kinds.shape[1] * width)], (0, len(kinds) * height), color=LIGHT, lw=0)
    for kind, color in ((WEIGHT, SKY), (HERE, BLUE)):
        for row, line in enumerate(kinds):
            edges = np.flatnonzero(np.diff(np.concatenate([[False], line == kind, [False]]).astype(int))).reshape(-1, 2)
            bars = [(x + first * width, (last - first) * width) for first, last in edges]
            if bars:
                ax.broken_barh(bars, (row * height, height), color=color, lw=0)


def _frame(x: float, row: int) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((x, row), 64, 1, fill=False, ec=ORANGE, lw=1.6)


def _grid(ax: Axes, xs: np.ndarray, ys: np.ndarray) -> None:
    """White lines between the cells, each direction as one path."""
    nan = np.nan
    ax.plot(np.column_stack([xs, xs, xs * nan]).ravel(), np.tile([ys[0], ys[-1], nan], len(xs)), color="white", lw=0.8)
    ax.plot(np.tile([xs[0], xs[-1], nan], len(ys)), np.column_stack([ys, ys, ys * nan]).ravel(), color="white", lw=0.8)
