"""Tables of what is kept: means and spreads over seeds, as text and as bars.

    spread_of   rows of a measurement -> mean and standard deviation of each cell
    cell        one of them in words: 97.3 ± 0.4
    beside      bars of one network, without training beside with training

Lecture: slide 26. Learn: course/4_quantization/4_9_the_tables.ipynb
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frugal.show.style import BLUE, GREY, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Key = tuple[str, str, str]
WAYS = (("without training", ORANGE), ("with training", BLUE))


def spread_of(rows: Iterable[Mapping[str, Any]]) -> dict[Key, tuple[float, float]]:
    """Gather ``kept_percent`` by network, format and way, and return mean and standard deviation (0 for one seed).

    >>> rows = [{"network": "a", "format": "W8A8", "way": "with", "kept_percent": value} for value in (98.0, 100.0)]
    >>> spread_of(rows)["a", "W8A8", "with"]
    (99.0, 1.4142135623730951)
    """
    values: dict[Key, list[float]] = {}
    for row in rows:
        values.setdefault((row["network"], row["format"], row["way"]), []).append(float(row["kept_percent"]))
    return {
        key: (statistics.fmean(each), statistics.stdev(each) if len(each) > 1 else 0.0) for key, each in values.items()
    }


def cell(spread: tuple[float, float] | None) -> str:
    """Write mean ± standard deviation, or a dash where nothing was measured.

    >>> cell((97.34, 0.41)), cell(None)
    ('97.3 ± 0.4', '-')
    """
    return "-" if spread is None else f"{spread[0]:.1f} ± {spread[1]:.1f}"


def beside(
    kept: Mapping[Key, tuple[float, float]], network: str, formats: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Draw one network's cells as pairs of bars with their spread; a line at 100 is float32."""
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1]
    for place, (way, color) in enumerate(WAYS):
        found = [kept.get((network, form, way), (0.0, 0.0)) for form in formats]
        at = [position + 0.4 * (place - 0.5) for position in range(len(formats))]
        means, deviations = [mean for mean, _ in found], [deviation for _, deviation in found]
        ax.bar(at, means, width=0.38, color=color, label=way)
        ax.errorbar(at, means, yerr=deviations, ls="", color=INK, lw=1.2, capsize=2)
    ax.axhline(100, color=GREY, lw=1.0, ls="--")
    ax.set(xticks=range(len(formats)), xticklabels=formats, ylabel="kept of float32 (%)", ylim=(0, 108))
    ax.grid(False, axis="x")
    return ax
