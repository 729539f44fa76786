"""Pictures of training through the rounding draw the values and the gradients they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from frugal.quant.grids import FloatGrid
from frugal.quant.ste import clamp_through, round_through
from frugal.show import straight_through


@pytest.fixture
def ax():
    return Figure().subplots()


def line(ax, label):
    return next(each for each in ax.lines if each.get_label() == label)


def test_a_rounding_is_drawn_with_the_gradient_that_autograd_gives_it(ax):
    straight_through.through(torch.round, -2, 2, ax)
    assert not np.any(line(ax, "gradient").get_ydata())
    assert set(np.unique(line(ax, "value").get_ydata())) == {-2, -1, 0, 1, 2}


def test_a_clipped_estimator_has_a_gradient_inside_only(ax):
    straight_through.through(lambda x: round_through(clamp_through(x, -1, 1)), -2, 2, ax)
    drawn = line(ax, "gradient")
    inside = np.abs(np.asarray(drawn.get_xdata())) < 1
    np.testing.assert_array_equal(np.asarray(drawn.get_ydata()), inside.astype(np.float32))


def test_a_latent_path_keeps_the_two_values_apart(ax):
    straight_through.latent_path([0.1, 0.3], [0.0, 0.25], 0.6, ax)
    assert list(line(ax, "latent: float").get_ydata()) == [0.1, 0.3]
    assert list(line(ax, "used: rounded").get_ydata()) == [0.0, 0.25]
    with pytest.raises(ValueError, match="got 1 and 2"):
        straight_through.latent_path([0.1], [0.0, 0.25], 0.6, ax)


def test_a_descent_ends_on_the_curve_and_marks_its_least_point(ax):
    steps, errors = [0.5, 1.0, 1.5], [3.0, 1.0, 2.0]
    straight_through.descent(steps, errors, {"one": [1.5, 1.0]}, ax)
    assert list(line(ax, "one").get_ydata()) == [2.0, 1.0]
    assert list(line(ax, "least error").get_xdata()) == [1.0, 1.0]


def test_every_rule_for_the_step_has_a_line_and_the_ends_are_marked(ax):
    x = torch.linspace(-4, 4, 9)
    straight_through.step_gradients(x, {"a": x, "b": -x}, (-3, 3), ax)
    np.testing.assert_array_equal(line(ax, "b").get_ydata(), -x)
    assert [each.get_xdata()[0] for each in ax.lines[2:]] == [-3, 3]


def test_three_regions_say_what_becomes_of_the_weights(ax):
    straight_through.three_regions(torch.tensor([0.9, -0.7, 0.1, -0.05]), 0.3, ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "become 0: 50 %" in labels
    assert "the others: ±0.800" in labels
    lost = 2 * 0.1**2 + 0.1**2 + 0.05**2  # 0.9 and -0.7 became ±0.8, the others 0
    whole = 0.9**2 + 0.7**2 + 0.1**2 + 0.05**2
    assert f"{100 * lost / whole:.1f} %" in ax.get_title(loc="left") + ax.get_title()


def test_latent_values_have_a_line_each(ax):
    straight_through.latent_values(torch.tensor([[0.1, -0.2, 0.3], [0.4, -0.5, 0.6]]), ax, bound=1.0)
    assert [list(each.get_ydata()) for each in ax.lines[:2]] == [
        pytest.approx([0.1, 0.4]),
        pytest.approx([-0.2, -0.5]),
    ]
    assert len(ax.lines) == 3 + 1 + 2  # weights, zero, two bounds
    with pytest.raises(ValueError, match="steps, weights"):
        straight_through.latent_values(torch.zeros(3), ax)


def test_grids_show_the_values_within_reach(ax):
    straight_through.grids({"float": FloatGrid(2, 1).values(), "three": torch.tensor([-1.0, 0.0, 1.0])}, ax, reach=2.0)
    assert [len(each.get_xdata()) for each in ax.lines] == [9, 3]  # ±0.5, 1, 1.5, 2 and 0
    assert [each.get_text() for each in ax.get_yticklabels()] == ["float", "three"]


def test_before_and_after_are_two_circles(ax):
    straight_through.rounded_and_trained({"W4A4": (70.0, 88.0), "binary": (10.0, 80.0)}, ax, original=91.0)
    assert list(line(ax, "rounded").get_xdata()) == [70.0, 10.0]
    assert list(line(ax, "trained through it").get_xdata()) == [88.0, 80.0]


def test_sums_stand_over_their_nodes_degree(ax):
    sums = torch.tensor([[1.0, 2.0], [30.0, -40.0]])
    straight_through.sums_by_degree(torch.tensor([2, 60]), sums, {"all": (-40.0, 30.0)}, ax)
    assert list(ax.lines[0].get_xdata()) == [2, 2, 60, 60]
    assert list(ax.lines[0].get_ydata()) == [1.0, 2.0, 30.0, -40.0]
    with pytest.raises(ValueError, match="features"):
        straight_through.sums_by_degree(torch.tensor([2]), sums, {}, ax)


def test_a_picture_without_axes_makes_its_own():
    made = straight_through.rounded_and_trained({"W4A4": (70.0, 88.0)}, original=91.0)
    assert made.get_xlabel()
    plt.close(made.figure)
