"""Pictures of narrow sums draw what the accumulators hold."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from frugal.show import narrow_sums


@pytest.fixture
def ax():
    return Figure().subplots()


def line(ax, label):
    return next(each for each in ax.lines if each.get_label() == label)


def test_every_layer_has_a_mark_for_each_way_to_know(ax):
    narrow_sums.bits_by_layer({"bound": [24, 26], "measured": [18, 19]}, ["conv1", "conv2"], ax)
    assert list(line(ax, "measured").get_xdata()) == [18, 19]
    assert [each.get_text() for each in ax.get_yticklabels()] == ["conv1", "conv2"]
    with pytest.raises(ValueError, match="2 layers"):
        narrow_sums.bits_by_layer({"bound": [24]}, ["conv1", "conv2"], ax)


@pytest.mark.parametrize(("done", "held"), [(0, 0), (2, -5), (3, -1), (6, 3)])
def test_the_ring_lies_on_the_number_that_four_bits_hold(ax, done, held):
    narrow_sums.on_a_circle((5, 6, 4, -7, -3, -2), done, 4, ax)
    ring = ax.lines[-1]
    angle = math.atan2(ring.get_xdata()[0], ring.get_ydata()[0])
    assert math.remainder(angle - held * 2 * math.pi / 16, 2 * math.pi) == pytest.approx(0, abs=1e-9)


def test_the_border_lies_between_the_largest_and_the_smallest_number(ax):
    narrow_sums.on_a_circle((1,), 1, 4, ax)
    border = next(each for each in ax.lines if each.get_linestyle() == ":")
    angle = math.atan2(border.get_xdata()[1], border.get_ydata()[1])
    assert angle == pytest.approx(7.5 * 2 * math.pi / 16)


def test_the_way_round_the_circle_never_jumps(ax):
    narrow_sums.on_a_circle((5, 6, 4, -7, -3, -2), 6, 4, ax)
    way = np.stack([ax.lines[-2].get_xdata(), ax.lines[-2].get_ydata()])
    longest = 7 * 2 * math.pi / 16 / narrow_sums.PARTS + 0.6 / 6 / narrow_sums.PARTS  # an arc at radius 1, and outwards
    assert np.linalg.norm(np.diff(way), axis=0).max() <= longest


def test_a_circle_that_nobody_could_read_is_refused(ax):
    with pytest.raises(ValueError, match="2 to 5 bits"):
        narrow_sums.on_a_circle((1,), 1, 8, ax)
    with pytest.raises(ValueError, match="0 to 1 products"):
        narrow_sums.on_a_circle((1,), 2, 4, ax)


def test_the_right_end_stands_out(ax):
    narrow_sums.ends_by_order({0: 5, 3: 7, 4: 1}, 3, ax)
    heights = [bar.get_height() for bar in ax.patches]
    colours = [bar.get_facecolor() for bar in ax.patches]
    assert heights == [5, 7, 1]
    assert colours[0] == colours[2] != colours[1]


def test_accuracy_is_drawn_by_rising_width(ax):
    narrow_sums.accuracy_by_width({"W4A4": {10: 75.0, 8: 10.0}}, ax, chance=10.0)
    assert list(line(ax, "W4A4").get_xdata()) == [8, 10]
    assert list(line(ax, "W4A4").get_ydata()) == [10.0, 75.0]


def test_the_cyclic_line_has_the_period_of_the_circle_and_no_jump(ax):
    narrow_sums.cyclic_activation(4, (2,), ax)
    drawn = np.asarray(line(ax, "cyclic, slope 2").get_ydata())
    np.testing.assert_array_equal(drawn[16:], drawn[:-16])
    assert np.abs(np.diff(drawn)).max() <= 3  # the slopes are 1 and -2; a step over the peak is smaller
    held = np.asarray(line(ax, "what is held").get_ydata())
    assert np.isnan(held).sum() == 3  # one gap for each wrap


def test_norms_are_sorted_under_their_bound(ax):
    narrow_sums.norms_under_bound({"trained": torch.tensor([3, 1, 2])}, 4.0, ax)
    np.testing.assert_array_equal(line(ax, "trained").get_ydata(), [1, 2, 3])
    assert list(line(ax, "bound 4").get_ydata()) == [4.0, 4.0]
    with pytest.raises(ValueError, match="one for each output"):
        narrow_sums.norms_under_bound({"x": torch.zeros(2, 2)}, 4.0, ax)


def test_a_picture_without_axes_makes_its_own():
    made = narrow_sums.accuracy_by_width({"W4A4": {10: 75.0}})
    assert made.get_xlabel()
    plt.close(made.figure)
