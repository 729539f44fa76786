"""Rounding layer by layer: later layers see what earlier ones became, and the model itself stays."""

import pytest
import torch
from torch import nn

from frugal.core.errors import UnsupportedModel
from frugal.nets.graph_net import GraphNet
from frugal.quant.rounding import layer_inputs
from frugal.quant.sequential import round_layers, sample_inputs, walk


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


def halved(name, layer, x, x_float):
    layer.weight.data.div_(2)
    return layer


def test_one_pass_shows_each_layer_what_running_both_networks_for_every_layer_would():
    model, x = network(), torch.randn(5, 2, 4, 4)
    seen, expected = {}, {}

    def look(name, layer, x, x_float):
        seen[name] = layer_inputs(layer, x, x_float)
        return halved(name, layer, x, x_float)

    def round_layer(layer, inputs):
        expected["3" if isinstance(layer, nn.Linear) else "0"] = inputs
        return layer.weight / 2

    walked, rounded = walk(model, look, x), round_layers(model, round_layer, x)
    for name in ("0", "3"):
        torch.testing.assert_close(seen[name].x, expected[name].x)
        torch.testing.assert_close(seen[name].x_float, expected[name].x_float)
        assert torch.equal(walked.get_submodule(name).weight, rounded.get_submodule(name).weight)
    torch.testing.assert_close(walked(x), rounded(x))


def test_a_walk_leaves_the_model_alone_and_visits_a_shared_layer_once():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    before, visits = shared.weight.clone(), []

    def visit(name, layer, x, x_float):
        visits.append(name)
        return halved(name, layer, x, x_float)

    walked = walk(model, visit, torch.randn(3, 4))
    assert visits == ["0"]
    assert walked[0] is walked[2]
    assert torch.equal(shared.weight, before)


def test_a_graph_beside_its_copy_is_the_same_graph_twice():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, nodes, edges = GraphNet(3, 2).eval(), torch.randn(7, 3), torch.randint(7, (2, 12))
    same = walk(model, lambda name, layer, x, x_float: layer, (nodes, edges))
    torch.testing.assert_close(same(nodes, edges), model(nodes, edges))


def test_a_walk_refuses_rows_that_mix_and_layers_that_never_run():
    class Mixes(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.unused = nn.ModuleList()

        def forward(self, x):
            return self.linear(x) - x.mean(0)

    mixes = Mixes()
    with pytest.raises(UnsupportedModel, match="mixes the rows"):
        walk(mixes, halved, torch.randn(8, 4))
    mixes.unused.append(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"never reached unused\.0"):
        walk(mixes, halved, torch.randn(8, 4))


def test_sampled_rows_are_rows_of_the_layer_and_come_from_all_parts():
    layer, x = nn.Conv2d(2, 4, 3, padding=1), torch.randn(8, 2, 5, 5)
    found = sample_inputs(layer, x, 2 * x, 40, together=2)
    assert found.x.shape == (1, 40, 18)
    assert torch.equal(found.x_float, 2 * found.x)
    for part, drawn in zip(x.split(2), found.x[0].split(10), strict=True):
        rows = layer_inputs(layer, part).x[0]
        assert all((rows == row).all(dim=1).any() for row in drawn)
