"""MobileNetV2: counted, equal to torchvision's, and without activation where the paper has none."""

import pytest
import torch
import torchvision
from torch import nn

from frugal.nets.blocks import round_channels
from frugal.nets.mobilenet_v2 import InvertedResidual, Stage, mobilenet_v2, mobilenet_v2_small


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_it_computes_what_torchvisions_computes():
    ours, reference = mobilenet_v2(), torchvision.models.mobilenet_v2()
    assert count(ours) == 3_504_872
    state = reference.state_dict()
    assert {name: value.shape for name, value in ours.state_dict().items()} == {n: v.shape for n, v in state.items()}
    ours.load_state_dict(state)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), reference.eval()(x))


@pytest.mark.parametrize("width", [0.25, 0.5, 0.75, 1.4])
def test_every_width_has_torchvisions_shapes(width):
    with torch.device("meta"):
        ours, reference = mobilenet_v2(width=width), torchvision.models.mobilenet_v2(width_mult=width)
    expected = [value.shape for value in reference.state_dict().values()]
    assert [value.shape for value in ours.state_dict().values()] == expected


def test_the_small_one_takes_its_stages_as_values():
    model = mobilenet_v2_small(num_classes=7, stages=(Stage(1, 8, 1, 1), Stage(2, 16, 1, 2)))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert count(model) < count(mobilenet_v2_small())


def test_a_block_adds_its_input_only_where_the_shapes_agree():
    for in_channels, out_channels, stride, expected in ((8, 8, 1, True), (8, 8, 2, False), (8, 16, 1, False)):
        assert InvertedResidual(in_channels, out_channels, stride, expansion=2).is_residual is expected


def test_nothing_bends_what_a_block_returns():
    """With its last batch norm scaled by -1 a block returns its negative: no activation follows the projection."""
    block = InvertedResidual(8, 16, 1, expansion=4).eval()
    x = torch.randn(2, 8, 5, 5)
    y = block(x)
    nn.init.constant_(block.conv[-1].weight, -1.0)
    assert torch.equal(block(x), -y)


@pytest.mark.parametrize("channels, expected", [(16, 16), (11, 16), (12, 16), (10.9, 16), (8.8, 8), (44, 48), (1, 8)])
def test_channels_are_multiples_of_eight_and_never_below_nine_tenths(channels, expected):
    rounded = round_channels(channels)
    assert rounded == expected
    assert rounded % 8 == 0
    assert rounded >= 0.9 * channels
