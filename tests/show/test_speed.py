"""The pictures of speed draw the ratios, shares and layers they were given."""

import pytest
from matplotlib.figure import Figure

from frugal.show import speed

PEAKS, READS = {"wide": 1000.0}, {1 << 14: 200.0, 1 << 28: 10.0}


@pytest.fixture
def ax():
    return Figure().subplots()


def test_layers_of_a_kind_are_alike_and_named_once(ax):
    speed.layers_under_the_roof(PEAKS, READS, {"wide": [(100, 500), (50, 300)], "narrow": [(2, 9)], "none": []}, ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["wide", "narrow"]
    marks = [line for line in ax.lines if line.get_linestyle() == "None"]
    assert [list(line.get_ydata()) for line in marks] == [[500, 300], [9]]
    assert len(ax.artists) == 1, "the roofs keep their own legend"


def test_shares_of_each_whole_add_up_to_all(ax):
    speed.shares({"a": (3, 10.0), "b": (1, 30.0)}, ("products", "time"), ax)
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == pytest.approx([75, 25, 25, 75])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["products", "time"]


def test_a_slower_one_points_to_the_left(ax):
    speed.times_faster({"fast": 8.0, "slow": 0.5}, ax, than="it")
    assert [bar.get_x() + bar.get_width() for bar in ax.patches] == [8.0, 0.5]
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "times as fast as it"


@pytest.mark.parametrize("ratios", [{}, {"a": 0.0}])
def test_ratios_are_above_zero(ax, ratios):
    with pytest.raises(ValueError, match="ratios must be above 0"):
        speed.times_faster(ratios, ax, than="it")


def test_nothing_has_no_shares(ax):
    with pytest.raises(ValueError, match="each whole must be above 0"):
        speed.shares({"a": (0, 1)}, ("products", "time"), ax)
