"""The picture draws what it was given."""

import pytest
from matplotlib.figure import Figure

from frugal.show.roofline import roofline

PEAKS = {"wide": 1000.0, "narrow": 100.0}
READS = {1 << 14: 200.0, 1 << 28: 10.0}


@pytest.fixture
def ax():
    return Figure().subplots()


def test_every_bandwidth_is_a_line_that_rises_with_it_and_ends_at_the_highest_peak(ax):
    roofline(PEAKS, READS, ax=ax)
    slopes = [line for line in ax.lines if len(line.get_xdata()) > 2]
    assert len(slopes) == len(READS)
    for line, rate in zip(slopes, (200.0, 10.0), strict=True):
        x, y = line.get_xdata(), line.get_ydata()
        assert y[0] == pytest.approx(x[0] * rate)
        assert y[-1] == pytest.approx(min(1000.0, x[-1] * rate))


def test_peaks_and_layers_are_named(ax):
    roofline(PEAKS, READS, {"a layer": (10.0, 50.0)}, ax=ax)
    assert {text.get_text() for text in ax.texts} == {"wide", "narrow", "a layer"}
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_without_limits_there_is_nothing_to_draw(ax):
    with pytest.raises(ValueError, match="at least one peak"):
        roofline({}, READS, ax=ax)
