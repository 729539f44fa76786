"""Pictures of one scale against many: what each channel of a weight gets from it.

    spread             how unlike the channels are, in one number
    codes_by_channel   how many codes each output channel can use
    two_grids          the weights of one channel between the levels of two grids
    accuracy_by_bits   accuracy against width, one line for each method

Nothing is shown here: the notebook's cell ends in ``plt.show()``.
Lecture: slide 22. Learn: course/4_quantization/4_3_per_channel.ipynb
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from frugal.core.check import describe
from frugal.quant.affine import QParams, choose_qparams
from frugal.quant.granularity import PerChannel
from frugal.quant.layers import quantizable_layers, weight_of
from frugal.show.style import BLUE, GREY, INK, ORANGE, PLUM, TEAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDER_THAN_CHANNEL = 1.6  # how far beyond the channel's largest weight two_grids looks


def channel_alphas(weight: Tensor) -> Tensor:
    """Return the largest magnitude of each output channel of a weight [out, in, ...].  [out]

    >>> channel_alphas(torch.tensor([[1.0, -4.0], [0.5, 0.0]])).tolist()
    [4.0, 0.5]
    """
    if weight.ndim < 2 or weight.numel() == 0:
        raise ValueError(f"channels need a weight [out, in, ...], got {describe(weight)}")
    return weight.detach().flatten(1).abs().amax(dim=1)


def spread(weight: Tensor) -> float:
    """Say how unlike the output channels are: the largest of their magnitudes by the smallest; 1 when all are alike.

    >>> spread(torch.tensor([[1.0, -4.0], [0.5, 0.0]]))
    8.0
    """
    alphas = channel_alphas(weight)
    return (alphas.max() / alphas.min()).item()


def spreads(model: nn.Module) -> dict[str, float]:
    """Return the spread of every convolution and linear layer of a network, by its name."""
    layers = quantizable_layers(model)
    return {name: spread(weight_of(layer)) for name, layer in layers.items()}


def codes_within(weight: Tensor, num_bits: int) -> Tensor:
    """Count the codes inside each output channel's range when one symmetric scale serves the whole tensor.  int64 [out]

    The codes are -k, ..., 0, ..., k, with k the code of the channel's largest magnitude.

    >>> codes_within(torch.tensor([[7.0, -1.0], [1.0, 0.2], [0.4, 0.1]]), num_bits=4).tolist()
    [15, 3, 1]
    """
    scale = choose_qparams(weight.detach(), num_bits, symmetric=True).scale
    return 2 * torch.round(channel_alphas(weight) / scale).long() + 1


def codes_by_channel(weight: Tensor, num_bits: int, ax: Axes | None = None) -> Axes:
    """Draw how many codes every output channel can use: with the tensor's scale as bars, with its own as a line."""
    ax = _axes(ax)
    codes = codes_within(weight, num_bits).sort().values
    own = choose_qparams(weight.detach(), num_bits, symmetric=True, granularity=PerChannel(0))
    all_codes = own.quant_max - own.quant_min + 1
    ax.axhline(all_codes, color=BLUE, lw=1.8, label=f"its own scale: {all_codes}")
    ax.bar(range(len(codes)), codes.tolist(), width=0.8, color=ORANGE, label="the tensor's scale")
    ax.set(
        xlabel="output channel, by range",
        ylabel="codes in its range",
        ylim=(0, 1.28 * all_codes),
        xlim=(-0.8, len(codes) - 0.2),
    )
    ax.legend(loc="upper left", ncols=2)
    ax.grid(False, axis="x")
    return ax


def two_grids(values: Tensor, grids: Mapping[str, QParams], ax: Axes | None = None) -> Axes:
    """Draw the weights of one channel, and below them, one row each, the levels that grids offer around them.

    Args:
        values: the weights of one channel, any shape.
        grids: name -> parameters with one scale.
    """
    ax = _axes(ax)
    values = values.detach().flatten()
    reach = values.abs().max().item() * WIDER_THAN_CHANNEL or 1.0
    _marks(ax, values, 0.5, color=TEAL, lw=1.8)
    names = ["weights"]
    for row, (name, qparams) in enumerate(grids.items(), 1):
        if qparams.scale.numel() != 1:
            raise ValueError(f"two_grids draws one scale per row, got {qparams.scale.numel()} for {name!r}")
        codes = torch.arange(qparams.quant_min, qparams.quant_max + 1)
        levels = (codes - qparams.zero_point) * qparams.scale
        levels = levels[levels.abs() <= reach]
        color = (ORANGE, BLUE, PLUM)[(row - 1) % 3]
        _marks(ax, levels, 0.5 - row, color=color, lw=1.8 if len(levels) <= 40 else 0.8)
        names.append(f"{name}\n{len(levels)} level{'s' * (len(levels) != 1)} here")
    ax.axvline(0, color=GREY, lw=0.6, zorder=0)
    rows = len(names)
    ax.set(xlabel="real value", xlim=(-reach, reach), ylim=(-rows + 1, 1))
    ax.set_yticks([0.5 - row for row in range(rows)], names)
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    return ax


def accuracy_by_bits(
    accuracies: Mapping[str, Mapping[int, float]],
    ax: Axes | None = None,
    *,
    original: float | None = None,
    chance: float | None = None,
) -> Axes:
    """Draw accuracy in per cent against width: ``{"per tensor, symmetric": {8: 97.0, 4: 60.2}, ...}``.

    Names that begin alike up to the comma share a colour; the second of them is dashed.
    """
    ax = _axes(ax)
    families = list(dict.fromkeys(name.partition(",")[0] for name in accuracies))
    seen: set[str] = set()
    widths = sorted({bits for by_bits in accuracies.values() for bits in by_bits}, reverse=True)
    for name, by_bits in accuracies.items():
        family = name.partition(",")[0]
        color = (ORANGE, BLUE, PLUM, TEAL)[families.index(family) % 4]
        dashed = family in seen
        seen.add(family)
        places = [widths.index(bits) for bits in sorted(by_bits, reverse=True)]
        ax.plot(
            places,
            [by_bits[bits] for bits in sorted(by_bits, reverse=True)],
            color=color,
            ls="--" if dashed else "-",
            marker="o" if dashed else "s",
            mfc="white" if dashed else color,
            ms=5.5,
            label=name,
        )
    for level, word in ((original, "float32"), (chance, "guessing")):
        if level is not None:
            ax.axhline(level, color=GREY, lw=1, ls=":", zorder=0)
            beside = ax.get_yaxis_transform()
            ax.text(0.99, level, word, color=INK, fontsize=8, ha="right", va="bottom", transform=beside)
    ax.set(xlabel="width of weights and activations (bits)", ylabel="accuracy (%)", ylim=(0, 104))
    ax.set_xticks(range(len(widths)), [str(bits) for bits in widths])
    ax.set_xlim(-0.35, len(widths) - 0.65)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 0.12), fontsize=9)
    return ax


def _marks(ax: Axes, places: Tensor, y: float, *, color: str, lw: float) -> None:
    """Draw upright marks in one path: a flipbook of hundreds of them stays small."""
    gap = float("nan")
    xs = [x for place in places.tolist() for x in (place, place, gap)]
    ys = [height for _ in places for height in (y - 0.22, y + 0.22, gap)]
    ax.plot(xs, ys, color=color, lw=lw, solid_capstyle="butt")


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(5.6, 3.0))[1]
