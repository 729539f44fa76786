"""Each picture draws the numbers it was given, labels its axes, and leaves showing to the notebook."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from frugal.quant.affine import QParams, choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel
from frugal.show import plots

X = torch.randn(1000, generator=torch.Generator().manual_seed(0))
Q3 = choose_qparams(torch.tensor([-1.0, 2.0]), 3)


@pytest.fixture
def ax():
    return Figure(figsize=(5, 3)).subplots()


DRAWINGS = {
    "staircase": lambda ax: plots.staircase(Q3, -1.5, 2.5, ax),
    "number_line": lambda ax: plots.number_line(Q3, ax),
    "histogram_with_grid": lambda ax: plots.histogram_with_grid(X, Q3, ax),
    "tensor_grid": lambda ax: plots.tensor_grid(X[:6].reshape(2, 3), ax),
    "channel_ranges": lambda ax: plots.channel_ranges(X.reshape(10, 4, 5, 5), ax),
    "error_by_bits": lambda ax: plots.error_by_bits({"a": {2: 0.1, 4: 0.01}, "b": {2: 0.2}}, ax),
    "accuracy_bars": lambda ax: plots.accuracy_bars({"a": 90.0, "b": 12.5}, ax, original=91.0, chance=10.0),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_returns_the_axes_it_was_given_with_a_label(name, ax):
    assert DRAWINGS[name](ax) is ax
    assert ax.get_xlabel()
    ax.figure.draw_without_rendering()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_without_axes_makes_its_own(name):
    made = DRAWINGS[name](None)
    assert made.get_xlabel()
    plt.close(made.figure)


def test_the_staircase_is_the_quantizer(ax):
    plots.staircase(Q3, -1.5, 2.5, ax)
    x, y = ax.lines[1].get_data()
    expected = dequantize(quantize(torch.as_tensor(np.asarray(x)), Q3), Q3)
    assert torch.equal(torch.as_tensor(np.asarray(y)), expected)
    assert len(set(np.asarray(y).tolist())) == 8


def test_the_number_line_has_a_mark_for_each_code_and_one_for_zero(ax):
    plots.number_line(Q3, ax)
    marks, zero = ax.lines
    reals = marks.get_xdata()[::3]
    assert torch.equal(torch.as_tensor(np.asarray(reals)), dequantize(torch.arange(-4, 4, dtype=torch.int8), Q3))
    assert list(zero.get_xdata()) == [0, 0]
    assert [text.get_text() for text in ax.texts] == [str(code) for code in range(-4, 4)]


def test_a_number_line_of_256_codes_stays_readable(ax):
    plots.number_line(choose_qparams(X, 8), ax)
    assert len(ax.texts) == 16


def test_the_histogram_counts_every_value_and_names_what_is_clipped(ax):
    plots.histogram_with_grid(X, Q3, ax)
    counts = ax.patches[0].get_data().values
    assert counts.sum() == len(X)
    error = (dequantize(quantize(X, Q3), Q3) - X).abs()
    clipped = (error > Q3.scale / 2 + 1e-6).float().mean().item()
    assert ax.get_title(loc="left") + ax.get_title() == f"{clipped:.2%} of the values are clipped"
    assert len(ax.lines[0].get_xdata()[::3]) == 8


def test_a_grid_prints_rows_down_and_columns_across(ax):
    plots.tensor_grid(torch.arange(6).reshape(2, 3), ax)
    placed = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in ax.texts}
    assert placed == {(row, column): str(3 * row + column) for row in range(2) for column in range(3)}


def test_a_grid_prints_codes_as_whole_numbers_and_reals_with_two_digits(ax):
    plots.tensor_grid(torch.tensor([0.125, float("nan")]), ax)
    assert [text.get_text() for text in ax.texts] == ["0.12", "nan"]


@pytest.mark.parametrize("shape", [(2, 2, 2), (0,), (30, 30), ()])
def test_a_grid_refuses_what_nobody_could_read(shape, ax):
    with pytest.raises(ValueError, match="tensor_grid needs 1 to 400 values"):
        plots.tensor_grid(torch.zeros(shape), ax)


def test_channel_ranges_are_those_of_the_channels(ax):
    weight = torch.stack([torch.linspace(-k, 2 * k, 9) for k in (3.0, 1.0, 2.0)])
    plots.channel_ranges(weight, ax)
    bars = [(segment[0][1], segment[1][1]) for segment in ax.collections[0].get_segments()]
    assert bars == [(-1, 2), (-2, 4), (-3, 6)]


def test_bars_carry_their_numbers(ax):
    plots.accuracy_bars({"a": 90.04, "b": 12.5}, ax)
    assert [text.get_text() for text in ax.texts] == ["90.0", "12.5"]
    assert [bar.get_width() for bar in ax.patches] == [90.04, 12.5]
    assert ax.get_legend() is None


def test_pictures_of_one_scale_refuse_several(ax):
    many = choose_qparams(X.reshape(10, 100), 4, granularity=PerChannel(0))
    for draw in (plots.number_line, lambda q, ax: plots.staircase(q, -1, 1, ax)):
        with pytest.raises(ValueError, match="draws one scale, got 10"):
            draw(many, ax)
    with pytest.raises(ValueError, match="draws one scale, got 10"):
        plots.histogram_with_grid(X, many, ax)


def test_a_weight_needs_channels(ax):
    with pytest.raises(ValueError, match="needs a weight"):
        plots.channel_ranges(X, ax)


def test_parameters_that_cover_a_tensor_clip_none_of_it(ax):
    plots.histogram_with_grid(X, choose_qparams(X, 3), ax)
    assert ax.get_title(loc="left") + ax.get_title() == "0.00% of the values are clipped"


def test_nothing_is_shaded_where_nothing_is_clipped(ax):
    wide = QParams(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32), -128, 127)
    plots.staircase(wide, -1.0, 1.0, ax)
    assert "clipped" not in [text.get_text() for text in ax.get_legend().get_texts()]
