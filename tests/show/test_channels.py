"""The pictures of chapter 4.3 count what the quantizer does, and draw what they count."""

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from frugal.quant.affine import choose_qparams, quantize
from frugal.show import channels

WEIGHT = (
    torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * torch.logspace(-2, 0, 6)[:, None, None, None]
)


@pytest.fixture
def ax():
    return Figure(figsize=(5, 3)).subplots()


@pytest.mark.parametrize("num_bits", range(2, 9))
def test_the_codes_within_a_channel_reach_to_the_code_of_its_largest_weight(num_bits):
    codes = quantize(WEIGHT, choose_qparams(WEIGHT, num_bits, symmetric=True))
    largest = codes.flatten(1).abs().amax(1).long()
    assert channels.codes_within(WEIGHT, num_bits).tolist() == (2 * largest + 1).tolist()


def test_the_spread_is_what_a_channel_was_multiplied_by():
    alike = torch.ones(2, 5)
    assert channels.spread(alike) == 1
    assert channels.spread(alike * torch.tensor([[4.0], [0.5]])) == 8


def test_spreads_name_every_layer():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    assert list(channels.spreads(model)) == ["0", "3"]


@pytest.mark.parametrize("weight", [torch.zeros(3), torch.zeros(0, 3)])
def test_what_has_no_channels_is_refused(weight):
    with pytest.raises(ValueError, match=r"channels need a weight \[out, in, ...\], got"):
        channels.channel_alphas(weight)


def test_codes_by_channel_draws_one_bar_for_each_channel_smallest_first(ax):
    assert channels.codes_by_channel(WEIGHT, 4, ax) is ax
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == sorted(channels.codes_within(WEIGHT, 4).tolist())
    assert heights[-1] == 15
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def test_two_grids_draws_the_levels_that_lie_near_the_channel(ax):
    own = choose_qparams(WEIGHT[0], 3, symmetric=True)
    shared = choose_qparams(WEIGHT, 3, symmetric=True)
    channels.two_grids(WEIGHT[0], {"shared": shared, "own": own}, ax)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["weights", "shared\n1 level here", "own\n7 levels here"]


def test_two_grids_refuses_many_scales(ax):
    from frugal.quant.granularity import PerChannel

    many = choose_qparams(WEIGHT, 4, symmetric=True, granularity=PerChannel(0))
    with pytest.raises(ValueError, match="one scale per row, got 6"):
        channels.two_grids(WEIGHT[0], {"many": many}, ax)


def test_accuracy_by_bits_goes_from_wide_to_narrow(ax):
    channels.accuracy_by_bits({"a, b": {4: 50.0, 8: 90.0}, "a, c": {8: 91.0, 4: 60.0}}, ax, original=92.0, chance=10.0)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["8", "4"]
    assert list(ax.lines[0].get_ydata()) == [90.0, 50.0]
    assert [line.get_linestyle() for line in ax.lines[:2]] == ["-", "--"]
