"""Pictures of a network's memory draw the numbers they were given."""

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure

from frugal.quant.statistics import clipped_normal
from frugal.show import no_data


@pytest.fixture
def ax():
    return Figure().subplots()


def test_the_mean_is_marked_where_the_formula_has_it(ax):
    no_data.clipped_bell(1.0, -1.5, ax)
    (line,) = (line for line in ax.lines if line.get_label().startswith("mean"))
    expected = clipped_normal(torch.tensor(1.0), torch.tensor(1.5))[0].item()
    assert line.get_xdata()[0] == pytest.approx(expected)
    with pytest.raises(ValueError, match="must not be 0"):
        no_data.clipped_bell(1.0, 0.0, ax)


def test_each_layer_has_its_dots(ax):
    pair = (torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.0]))
    no_data.promised_and_seen({"a": pair, "b": pair}, ax)
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == ".") == 4
    with pytest.raises(ValueError, match=r"\[channels\]"):
        no_data.promised_and_seen({"a": (pair[0], pair[1][:1])}, ax)


def test_ranges_are_sorted_and_the_shared_one_is_the_largest(ax):
    no_data.input_ranges(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 0.5]), ax)
    assert [bar.get_height() for bar in ax.patches] == [1.0, 3.0]
    with pytest.raises(ValueError, match=r"\[channels\]"):
        no_data.input_ranges(torch.ones(2), torch.ones(3), ax)


def test_pictures_stand_side_by_side():
    figure = no_data.drawn_beside_real(torch.rand(4, 3, 8, 8), torch.rand(5, 3, 8, 8), [2.0, 1.0])
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 0]
    plt.close(figure)
    with pytest.raises(ValueError, match="4 pictures"):
        no_data.drawn_beside_real(torch.rand(3, 3, 8, 8), torch.rand(5, 3, 8, 8), [1.0])
