"""Pictures of ranges draw the numbers they were given and refuse what does not fit."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from frugal.show import post_training


@pytest.fixture
def ax():
    return Figure().subplots()


def test_the_curve_is_the_sum_of_its_parts(ax):
    alpha = torch.tensor([1.0, 2.0, 3.0])
    post_training.clip_curve(alpha, alpha, 1 / alpha, ax, marks={"best": 1.0})
    together = next(line for line in ax.lines if line.get_label() == "together")
    np.testing.assert_allclose(together.get_ydata(), [2.0, 2.5, 3 + 1 / 3], rtol=1e-6)
    with pytest.raises(ValueError, match="one length"):
        post_training.clip_curve(alpha, alpha[:2], alpha, ax)


def test_each_grid_has_a_row_of_marks(ax):
    post_training.grid_on_bell(torch.randn(200), {"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([2.0])}, ax)
    assert [len(line.get_xdata()) for line in ax.lines] == [2, 1]


def test_bars_are_sorted_by_width(ax):
    post_training.bits_by_channel(torch.tensor([4.0, 1.0, 2.0]), torch.tensor([5, 3, 4]), ax)
    assert [bar.get_height() for bar in ax.patches] == [3, 4, 5]
    with pytest.raises(ValueError, match=r"\[channels\]"):
        post_training.bits_by_channel(torch.ones(3), torch.ones(2), ax)


def test_the_marked_combinations_stand_at_their_error(ax):
    post_training.output_errors(torch.tensor([3.0, 1.0, 2.0]), nearest=2, best=1, ax=ax)
    points = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert points["to the nearest"] == [[1.0, 2.0]]
    assert points["the best"] == [[0.0, 1.0]]


def test_a_picture_without_axes_makes_its_own():
    made = post_training.output_errors(torch.tensor([3.0, 1.0]), 0, 1)
    assert made.get_xlabel()
    plt.close(made.figure)
