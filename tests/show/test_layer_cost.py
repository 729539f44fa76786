"""The cost of a layer: every product and byte is counted once."""

import pytest
import torch
from torch import nn

from frugal.quant.integer import to_int8
from frugal.show.layer_cost import KINDS, layer_costs


@pytest.fixture(scope="module")
def costs():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    x = torch.rand(2, 3, 6, 6)
    return layer_costs(to_int8(model, x), x)


def test_every_layer_is_there_with_its_kind(costs):
    assert [each.kind for each in costs] == [KINDS[0], "depthwise", "1 × 1", "linear"]


def test_products_are_counted_as_by_hand(costs):
    assert [each.macs for each in costs] == [
        2 * 36 * 8 * 3 * 9,  # pictures, pixels, outputs, inputs, kernel
        2 * 9 * 8 * 9,
        2 * 9 * 16 * 8,
        2 * 5 * 16,
    ]


def test_bytes_are_inputs_weights_and_outputs_each_once(costs):
    assert [each.moved_bytes for each in costs] == [
        2 * 36 * 3 + 8 * 3 * 9 + 2 * 36 * 8,
        2 * 36 * 8 + 8 * 9 + 2 * 9 * 8,
        2 * 9 * 8 + 16 * 8 + 2 * 9 * 16,
        2 * 16 + 5 * 16 + 4 * 2 * 5,  # the last layer makes float32
    ]


def test_intensity_and_speed_follow(costs):
    for each in costs:
        assert each.latency_s > 0
        assert each.intensity == pytest.approx(2 * each.macs / each.moved_bytes)
        assert each.gops == pytest.approx(2 * each.macs / each.latency_s / 1e9)
