"""Pictures of lab 4.4 draw the numbers they were given, and the line of the best holds nobody who is beaten."""

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from frugal.show import clipping

CHANNEL = torch.linspace(-1, 1, 101)
ENTRIES = {"a": (3.0, 50.0), "b": (3.0, 80.0), "c": (4.0, 70.0), "d": (5.0, 90.0)}


@pytest.fixture
def ax():
    return Figure(figsize=(5, 3)).subplots()


DRAWINGS = {
    "two_errors": lambda ax: clipping.two_errors([1, 2, 3], [(0.1, 0.9), (0.4, 0.2), (0.9, 0.1)], ax),
    "channel_with_ends": lambda ax: clipping.channel_with_ends(CHANNEL, {3: 0.5, 4: 0.9}, ax),
    "moments": lambda ax: clipping.moments({"w": torch.eye(4), "q": torch.ones(4, 4)}, ax),
    "levels": lambda ax: clipping.levels(CHANNEL, {"whole": CHANNEL.round()}, ax),
    "pareto": lambda ax: clipping.pareto(ENTRIES, (3.5, 85.0), ax, original=92.0),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_returns_the_axes_it_was_given_with_a_label(name, ax):
    assert DRAWINGS[name](ax) is ax
    assert ax.get_xlabel()
    ax.figure.draw_without_rendering()
    assert plt.get_fignums() == []


def test_the_least_sum_of_rounding_and_overload_is_marked(ax):
    DRAWINGS["two_errors"](ax)
    mark = ax.lines[-1]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([2], [pytest.approx(0.6)])


def test_the_share_of_clipped_weights_is_told_for_each_end(ax):
    DRAWINGS["channel_with_ends"](ax)
    outside = [(CHANNEL.abs() > end).float().mean().item() for end in (0.5, 0.9)]
    assert ax.get_legend_handles_labels()[1] == [
        f"{bits} bits: {o:.1%} clipped" for bits, o in zip((3, 4), outside, strict=True)
    ]


def test_moments_lie_at_mean_and_norm(ax):
    clipping.moments({"w": torch.tensor([[0.0, 2.0], [5.0, 5.0]])}, ax)
    (line,) = ax.lines
    assert list(line.get_xdata()) == [1.0, 5.0]
    assert list(line.get_ydata()) == pytest.approx([2**0.5, 0.0])


def test_a_grid_shows_each_of_its_values_once(ax):
    DRAWINGS["levels"](ax)
    strokes = ax.collections[0].get_segments()
    assert [stroke[0][0] for stroke in strokes] == [-1.0, 0.0, 1.0]


def test_ones_own_point_is_told_whether_it_lies_above_the_line(ax):
    assert "yours: above the line" in clipping.pareto(ENTRIES, (3.5, 85.0), ax).get_legend_handles_labels()[1]
    beaten = Figure().subplots()
    assert "yours" in clipping.pareto(ENTRIES, (4.5, 80.0), beaten).get_legend_handles_labels()[1]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_is_exactly_what_no_other_point_beats(points):
    def beats(one, other):
        return one != other and one[0] <= other[0] and one[1] >= other[1]

    assert set(clipping.front(points)) == {point for point in points if not any(beats(each, point) for each in points)}


def test_empty_data_is_refused(ax):
    with pytest.raises(ValueError, match="one pair of errors for each end"):
        clipping.two_errors([], [], ax)
    with pytest.raises(ValueError, match="one entry or more"):
        clipping.pareto({}, None, ax)
    with pytest.raises(ValueError, match="needs weights"):
        clipping.channel_with_ends(torch.empty(0), {3: 1.0}, ax)
