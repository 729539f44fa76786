"""The roofline: which limit a layer meets first, the processor's or the memory's.

Formula: attainable = min(peak, intensity · bandwidth)
Learn:   course/4_quantization/4_8_int8_for_real.ipynb
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from frugal.core.units import format_bytes
from frugal.show.style import BLUE, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def roofline(
    peaks_gops: Mapping[str, float],
    read_gb_s: Mapping[int, float],
    layers: Mapping[str, tuple[float, float]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw both limits in logarithmic axes, and layers as points under them.

    Args:
        peaks_gops: per instruction set, thousand million operations a second.
        read_gb_s: per size of array in bytes, thousand million bytes a second.
        layers: per name, its intensity (operations per byte) and what was attained (Gop/s).
        ax: where to draw; a new figure when it is None.
    """
    if not peaks_gops or not read_gb_s:
        raise ValueError("a roofline needs at least one peak and one bandwidth; bench.roofline.measure gives both")
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(6, 4))[1]
    x = np.geomspace(0.5, 4096, 200)
    highest = max(peaks_gops.values())
    for place, (size, rate) in enumerate(sorted(read_gb_s.items())):
        shade = str(0.2 + 0.5 * place / len(read_gb_s))
        line = ax.plot(x, np.minimum(x * rate, highest), color=shade, lw=1)[0]
        line.set_label(f"{format_bytes(size)}: {rate:.0f} GB/s")
    for name, gops in peaks_gops.items():
        ax.axhline(gops, color=BLUE, lw=1, ls=":")
        ax.annotate(name, (x[0], gops), xytext=(2, 2), textcoords="offset points", fontsize=8, color=BLUE)
    for name, (intensity, gops) in (layers or {}).items():
        ax.plot(intensity, gops, "o", color=ORANGE, ms=4)
        ax.annotate(name, (intensity, gops), xytext=(4, -8), textcoords="offset points", fontsize=7)
    ax.set(xscale="log", yscale="log", xlabel="operations per byte moved", ylabel="Gop/s", title="What limits a layer")
    ax.legend(frameon=False, fontsize=7, title="read from an array of", title_fontsize=7, loc="lower right")
    return ax
