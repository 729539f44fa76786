"""Rounding layer by layer: later layers see what earlier ones became, and the model itself stays."""

import pytest
import torch
from torch import nn

from frugal.quant.sequential import round_layers


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def test_the_second_layer_sees_the_rounded_first_one_and_the_float_target():
    model, x = network(), torch.randn(5, 2, 4, 4)
    seen = {}

    def halve(layer, inputs):
        seen[type(layer)] = inputs
        return layer.weight / 2

    rounded = round_layers(model, halve, [x[:2], x[2:]])
    linear = seen[nn.Linear]
    torch.testing.assert_close(linear.x_float[0], model[:3](x))
    torch.testing.assert_close(linear.x[0], rounded[:3](x))
    assert not torch.allclose(linear.x, linear.x_float)
    torch.testing.assert_close(seen[nn.Conv2d].x, seen[nn.Conv2d].x_float)


def test_the_model_stays_and_only_named_layers_change():
    model, x = network(), torch.randn(5, 2, 4, 4)
    before = model[3].weight.clone()
    rounded = round_layers(model, lambda layer, inputs: torch.zeros_like(layer.weight), x, names=["3"])
    assert torch.equal(model[3].weight, before)
    assert torch.equal(rounded[0].weight, model[0].weight)
    assert not rounded[3].weight.any()


def test_rows_may_be_few():
    counts = []
    model, x = network(), torch.randn(50, 2, 4, 4)
    round_layers(model, lambda layer, inputs: counts.append(inputs.x.shape[1]) or layer.weight, x, rows=20)
    assert counts == [20, 20]


def test_bad_input_is_refused():
    model, x = network(), torch.randn(5, 2, 4, 4)
    with pytest.raises(ValueError, match="no layer 7"):
        round_layers(model, lambda layer, inputs: layer.weight, x, names=["7"])
    with pytest.raises(ValueError, match=r"must be \[4, 2, 3, 3\]"):
        round_layers(model, lambda layer, inputs: layer.weight.flatten(1), x)
