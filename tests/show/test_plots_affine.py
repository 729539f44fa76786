"""Pictures of chapters 4.1 and 4.2 draw the numbers they were given."""

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from frugal.quant.affine import choose_qparams
from frugal.show import plots_affine
from frugal.show.style import BLUE, ORANGE

ENDS = torch.tensor([-1.0, 1.0])
RELU = torch.linspace(0, 1, 1001)


@pytest.fixture
def ax():
    return Figure(figsize=(5, 3)).subplots()


DRAWINGS = {
    "rounding_error": lambda ax: plots_affine.rounding_error(choose_qparams(ENDS, 3), -1.2, 1.2, ax),
    "decibels_by_bits": lambda ax: plots_affine.decibels_by_bits({"a": {2: 6.0, 3: 12.0}, "b": {2: 1.0}}, ax),
    "clipping_error": lambda ax: plots_affine.clipping_error([50, 100], [0.1, 0.4], [0.1, 0.0], ax),
    "used_codes": lambda ax: plots_affine.used_codes(RELU, choose_qparams(RELU, 4), ax),
    "nudged_range": lambda ax: plots_affine.nudged_range(-0.9, 2.0, 3, ax),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_returns_the_axes_it_was_given_with_a_label(name, ax):
    assert DRAWINGS[name](ax) is ax
    assert ax.get_xlabel()
    ax.figure.draw_without_rendering()
    assert plt.get_fignums() == []


def test_the_sawtooth_stays_within_half_a_step_inside_the_range(ax):
    plots_affine.rounding_error(choose_qparams(ENDS, 3, symmetric=True), -1, 1, ax)
    error = torch.as_tensor(ax.lines[0].get_ydata())
    assert error.abs().max() <= 0.5 + 3 * torch.finfo(torch.float32).eps * 3  # three steps from 0 to the end
    assert error.abs().max() > 0.49


def test_what_is_clipped_is_shaded_only_where_there_is_something(ax):
    plots_affine.rounding_error(choose_qparams(ENDS, 3, symmetric=True), -1, 1.5, ax)
    assert ax.get_legend_handles_labels()[1].count("clipped") == 1


def test_the_least_sum_of_the_two_errors_is_marked(ax):
    plots_affine.clipping_error([25, 50, 75, 100], [0.0, 0.1, 0.2, 0.4], [0.9, 0.05, 0.0, 0.0], ax)
    mark = ax.lines[-1]
    assert list(mark.get_xdata()) == [50]
    assert list(mark.get_ydata()) == pytest.approx([0.15 / 0.4])


def test_symmetric_codes_after_a_relu_leave_those_below_zero_shaded(ax):
    plots_affine.used_codes(RELU, choose_qparams(RELU, 4, symmetric=True), ax)
    labels = ax.get_legend_handles_labels()[1]
    assert "used: 8 of 15 codes" in labels
    assert "never used" in labels


def test_the_bar_of_real_0_stands_at_the_zero_point(ax):
    qparams = choose_qparams(RELU, 4)
    plots_affine.used_codes(RELU, qparams, ax)
    orange = [bar for bar in ax.patches if bar.get_facecolor() == to_rgba(ORANGE)]
    assert [bar.get_x() + bar.get_width() / 2 for bar in orange] == [qparams.zero_point.item()]


def test_more_codes_than_can_be_told_apart_are_refused(ax):
    with pytest.raises(ValueError, match="up to 64 codes, got 256"):
        plots_affine.used_codes(RELU, choose_qparams(RELU), ax)


@pytest.mark.parametrize("low", [-1.5, -0.9, -0.1])
def test_among_the_nudged_codes_one_is_exactly_0(ax, low):
    plots_affine.nudged_range(low, 2.0, 3, ax)
    (nudged,) = [line for line in ax.lines if line.get_color() == BLUE]
    assert len(nudged.get_xdata()) == 8
    assert 0.0 in list(nudged.get_xdata())


def test_a_range_without_extent_is_refused(ax):
    with pytest.raises(ValueError, match="low must be below high"):
        plots_affine.nudged_range(1.0, 1.0, 3, ax)


@pytest.mark.parametrize("least, expected", [(0.0, (0.0, 2.0)), (-1.0, (-2.0, 2.0))])
def test_pixels_with_negative_values_have_0_in_the_middle(ax, least, expected):
    plots_affine.pixels(torch.tensor([[least, 2.0]]), ax)
    assert ax.images[0].get_clim() == expected


def test_pixels_refuses_more_than_one_channel(ax):
    with pytest.raises(ValueError, match=r"one channel \[h, w\]"):
        plots_affine.pixels(torch.zeros(3, 4, 4), ax)
