"""Pictures of a language model draw the numbers they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from frugal.show import language


@pytest.fixture
def ax():
    return Figure().subplots()


def test_the_likeliest_words_come_first(ax):
    language.next_words(torch.tensor([0.1, 0.6, 0.3]), ["a", "b", "c"], ax, most=2)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "c"]
    assert [round(bar.get_width()) for bar in ax.patches] == [60, 30]
    with pytest.raises(ValueError, match="each of 2 words"):
        language.next_words(torch.ones(3) / 3, ["a", "b"], ax)


def test_a_walk_shows_what_is_rounded_and_what_moved(ax):
    original, now = torch.tensor([0.3, 0.4, -0.9]), torch.tensor([0.5, 0.3, -0.8])
    language.column_walk(original, now, 1, 0.5, ax)
    done, free = (line for line in ax.lines if line.get_label() in ("rounded", "free, moved"))
    assert done.get_ydata().tolist() == [0.5]
    np.testing.assert_allclose(free.get_ydata(), [0.3, -0.8], rtol=1e-6)
    with pytest.raises(ValueError, match="0 to 3 columns"):
        language.column_walk(original, now, 4, 0.5, ax)


def test_sizes_and_losses_have_a_line_each_and_labels(ax):
    language.feature_sizes({"plain": torch.ones(4), "turned": torch.ones(4) * 2}, ax)
    assert len(ax.lines) == 2
    other = Figure().subplots()
    language.loss_by_bits({"nearest": {4: 1.0, 2: 3.0}}, 0.9, other)
    assert list(other.lines[0].get_xdata()) == [2, 4]
    assert other.get_ylabel() == "nll (nats per token)"


def test_a_picture_without_axes_makes_its_own():
    made = language.loss_by_bits({"nearest": {4: 1.0}}, 0.9)
    assert made.get_xlabel()
    plt.close(made.figure)
