"""Cells of a table: gathered by network, format and way, with their spread."""

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

from frugal.show import tables

ROWS = [
    {"network": "a", "format": form, "way": way, "kept_percent": value}
    for form, way, values in (("W8A8", "with training", (99.0, 101.0)), ("W8A8", "without training", (90.0,)))
    for value in values
]


def test_means_and_deviations_are_those_of_the_seeds():
    kept = tables.spread_of(ROWS)
    assert kept["a", "W8A8", "with training"] == (100.0, pytest.approx(2**0.5))
    assert kept["a", "W8A8", "without training"] == (90.0, 0.0)
    assert tables.cell(kept.get(("b", "W8A8", "with training"))) == "-"


def test_bars_stand_as_high_as_their_means_and_missing_ones_lie_flat():
    ax = Figure().subplots()
    assert tables.beside(tables.spread_of(ROWS), "a", ("W8A8", "W4A4"), ax) is ax
    assert [bar.get_height() for bar in ax.patches] == [90.0, 0.0, 100.0, 0.0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["W8A8", "W4A4"]


def test_a_picture_without_axes_makes_its_own():
    made = tables.beside({}, "a", ("W8A8",))
    assert made.get_ylabel()
    plt.close(made.figure)
