"""Recipes carried out on small networks: what they must equal, what they must improve, what they must not touch."""

import copy
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from frugal.core.errors import UnsupportedModel
from frugal.data import drawn
from frugal.data.calibration import calibration_batches
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.nets.graph_net import GraphNet
from frugal.nets.llama import Llama, LlamaShape
from frugal.nets.pretrained import load as pretrained
from frugal.quant.config import weights_and_activations
from frugal.quant.convert import quantize_model, weight_bytes
from frugal.quant.layers import QuantizedLayer, quantizable_layers
from frugal.quant.methods.dfq import quantize_without_data
from frugal.quant.methods.spiq import quantize_network
from frugal.quant.recipe import KNOWN, Operand, Recipe, quantize, step
from frugal.quant.recipe.grids import ACTIVATION_GRIDS, WEIGHT_GRIDS, GridLayer
from frugal.quant.recipe.ranges import RANGES


def small_net():
    """Two convolutions with batch norms that have seen something, a residual sum, a linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
                self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
                self.conv3, self.bn3 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
                self.relu = nn.ReLU()
                self.pool, self.linear = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)

            def forward(self, x):
                x = self.relu(self.bn1(self.conv1(x)))
                x = self.relu(x + self.bn3(self.conv3(self.relu(self.bn2(self.conv2(x))))))
                return self.linear(self.pool(x).flatten(1))

        net = Net().train()
        for _ in range(20):
            net(torch.randn(16, 3, 8, 8))
        return net.eval()


def pictures(n=24):
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def same_layers(a, b):
    pairs = zip(a.modules(), b.modules(), strict=True)
    both = [(x, y) for x, y in pairs if isinstance(x, QuantizedLayer)]
    assert both
    for x, y in both:
        assert torch.equal(x.codes, y.codes)
        assert torch.equal(x.weight_qparams.scale, y.weight_qparams.scale)


def test_the_plain_recipe_equals_prepare_calibrate_convert():
    """Except for one thing: here ranges are those of inputs that earlier layers have already quantized."""
    net, x = small_net(), pictures()
    mine = quantize(net, Recipe(activations=None), x).network
    theirs = quantize_model(fold_batchnorm(net), weights_and_activations(8, None), x)
    same_layers(mine, theirs)
    assert torch.equal(mine(x), theirs(x))


def test_data_free_quantization_equals_the_papers_pipeline():
    net = small_net()
    mine = quantize(net, replace(KNOWN["dfq_w8a8"], data=step("norms", shape=(3, 8, 8))))
    theirs = quantize_without_data(net, shape=(3, 8, 8))
    same_layers(mine.network, theirs)
    x = pictures()
    torch.testing.assert_close(mine.network(x), theirs(x), rtol=0, atol=1e-6)


def test_input_scales_without_data_agree_with_spiq():
    net, x = small_net(), pictures()
    recipe = Recipe(activations=Operand(8, granularity="per_channel"), data=step("norms", shape=(3, 8, 8)))
    mine, theirs = quantize(net, recipe).network, quantize_network(net, (3, 8, 8))
    torch.testing.assert_close(mine(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_the_network_and_the_recipe_stay_as_they_were():
    net, recipe = small_net(), KNOWN["omse_bias_w4a4"]
    before, card = copy.deepcopy(net.state_dict()), copy.deepcopy(recipe)
    quantize(net, recipe, pictures())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert recipe == card


def test_bits_and_bytes_are_those_of_the_layers():
    made = quantize(small_net(), KNOWN["omse_bias_w4a4"], pictures())
    assert [(each.weight_bits, each.activation_bits) for each in made.report.layers] == [(8, 8), (4, 4), (4, 4), (8, 8)]
    assert made.report.size_bytes == weight_bytes(made.network)
    assert made.report.float_bytes == weight_bytes(fold_batchnorm(small_net()))
    conv2 = made.network.get_submodule("conv2")
    assert (conv2.weight_qparams.quant_max, conv2.activation_qparams.quant_max) == (7, 7)


def test_every_bit_is_worth_about_six_decibels():
    """Uniform noise: halving the step quarters its power, 6.02 dB. Ranges are fixed by min and max."""
    errors = [
        quantize(small_net(), Recipe(weights=Operand(bits, granularity="per_channel")), pictures()).report.layers[1]
        for bits in (4, 5, 6, 7)
    ]
    steps = [b.weight_sqnr_db - a.weight_sqnr_db for a, b in pairwise(errors)]
    assert all(5 < each < 8 for each in steps), steps


def test_bias_correction_gives_every_layer_the_float_mean():
    net, x = small_net(), pictures()
    recipe = Recipe(Operand(3, granularity="per_channel"), Operand(3, symmetric=False), corrections="bias")
    made = quantize(net, recipe, x)
    float_mean, mean = fold_batchnorm(net)(x).mean(0), made.network(x).mean(0)
    slack = 1e-5 * float_mean.abs().max()
    assert (mean - float_mean).abs().max() <= slack  # the last layer's mean output is that of the float one
    plain = quantize(net, Recipe(recipe.weights, recipe.activations), x).network(x).mean(0)
    assert (plain - float_mean).abs().max() > 100 * slack


@pytest.mark.parametrize("name", ["gptq", "adaround", "brecq", "qdrop"])
def test_roundings_that_look_at_data_beat_the_nearest(name):
    net, x = small_net(), pictures(64)
    kept = {"weights": Operand(3, "mse", granularity="per_channel"), "activations": None}
    options = {"adaround": {"steps": 100}, "brecq": {"steps": 100}, "qdrop": {"steps": 100}}.get(name, {})
    output = {
        rounding: quantize(net, Recipe(**kept, rounding=step(rounding, **words)), x).report.layers[-1].output_sqnr_db
        for rounding, words in (("nearest", {}), (name, options))
    }
    assert output[name] > output["nearest"]


@pytest.mark.parametrize("name", WEIGHT_GRIDS)
def test_every_weight_grid_runs_and_says_its_bits(name):
    bits = {"binary": 1, "ternary": 2, "fp8": 8}.get(name, 4)
    made = quantize(small_net(), Recipe(Operand(bits, granularity="per_channel", grid=name), None), pictures())
    assert made.network(pictures(2)).isfinite().all()
    whole = quantize(small_net(), Recipe(None, Operand(8, symmetric=False)), pictures())
    assert made.report.size_bytes < whole.report.size_bytes
    assert all(0 < each.weight_sqnr_db < math.inf for each in made.report.layers) or name in ("binary", "power_of_two")


@pytest.mark.parametrize("name", ACTIVATION_GRIDS)
def test_every_activation_grid_runs(name):
    made = quantize(small_net(), Recipe(None, Operand(8, grid=name, symmetric=False)), pictures())
    assert made.report.layers[0].output_sqnr_db > 3
    assert isinstance(made.network.conv1, QuantizedLayer if name == "uniform" else GridLayer)


@pytest.mark.parametrize("name", RANGES)
def test_every_range_runs_for_weights_and_activations(name):
    recipe = Recipe(Operand(6, name, granularity="per_channel"), Operand(6, name, symmetric=name == "ristretto"))
    assert quantize(small_net(), recipe, pictures()).report.layers[-1].output_sqnr_db > 10


def test_options_reach_their_function():
    """Clipping one value in five costs more than clipping one in ten thousand."""
    found = []
    for percentile in (80, 99.99):
        operand = Operand(8, step("percentile", percentile=percentile), symmetric=False)
        found.append(quantize(small_net(), Recipe(None, operand), pictures()).report.layers[-1].output_sqnr_db)
    assert found[0] < found[1] - 10


def test_allocations_change_the_layers_that_they_name():
    patterns = {"conv2": [5, 6], "linear": None}
    recipe = Recipe(allocation=(step("first_last", bits=7), step("per_layer", patterns=patterns)))
    made = quantize(small_net(), recipe, pictures())
    assert [(each.weight_bits, each.activation_bits) for each in made.report.layers] == [
        (7, 7),
        (5, 6),
        (8, 8),
        (32, 32),
    ]
    assert isinstance(made.network.linear, nn.Linear)
    with pytest.raises(ValueError, match="'fc' matches no layer"):
        quantize(small_net(), Recipe(allocation=step("per_layer", patterns={"fc": 4})), pictures())


def test_bits_by_sensitivity_keep_the_budget():
    made = quantize(small_net(), Recipe(allocation=step("pareto", budget=4.0)), pictures())
    weights = {name: layer.weight.numel() for name, layer in quantizable_layers(small_net()).items()}
    spent = sum(weights[each.name] * each.weight_bits for each in made.report.layers)
    assert spent <= 4 * sum(weights.values())


def test_wide_channels_get_more_bits_and_moments_come_back():
    net = small_net()
    with torch.no_grad():
        net.conv2.weight[:4] *= 8
    kept = {"weights": Operand(3, granularity="per_channel"), "activations": None, "transforms": ()}
    plain = quantize(net, Recipe(**kept), pictures()).report.layers[1].weight_sqnr_db
    made = quantize(net, Recipe(**kept, allocation="channel_bits", corrections="weight_moments"), pictures())
    assert made.report.layers[1].weight_sqnr_db > plain + 3
    w = made.network.conv2.layer.weight.flatten(1)
    torch.testing.assert_close(w.mean(1), net.conv2.weight.flatten(1).mean(1))
    torch.testing.assert_close(w.var(1), net.conv2.weight.flatten(1).var(1))


def test_distilled_pictures_need_no_batches():
    recipe = Recipe(data=step("distilled", shape=(3, 8, 8), count=8, steps=20))
    assert quantize(small_net(), recipe).report.layers[-1].output_sqnr_db > 15


def test_split_channels_compute_the_same_in_more_channels():
    made = quantize(
        small_net(), Recipe(None, Operand(8), ("fold_batchnorm", step("split_channels", ratio=0.2))), pictures()
    )
    assert made.network.conv2.layer.operation.weight.shape[1] == 10
    assert made.network.conv1.operation.weight.shape[1] == 3
    assert made.report.layers[0].weight_sqnr_db == math.inf


def test_the_score_and_the_watch_are_called():
    seen = []
    made = quantize(small_net(), Recipe(), pictures(), score=lambda network: 42.0, watch=seen.append)
    assert made.report.score == 42.0
    assert [each.name for each in seen] == ["conv1", "conv2", "conv3", "linear"] == [e.name for e in made.report.layers]
    assert "conv3" in str(made.report)
    assert "score 42.00" in str(made.report)


@pytest.mark.parametrize("name", ["smooth_quant_w8a8", "gptq_w4", "awq_w4", "hqq_w4", "rotate_w4", "omse_bias_w4a4"])
def test_a_language_model_is_quantized(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Llama(LlamaShape(dim=16, hidden=44, layers=2, heads=2, kv_heads=1, vocabulary=20, context=12)).eval()
        tokens = torch.randint(20, (6, 10))
    made = quantize(model, KNOWN[name], tokens)
    assert {each.name for each in made.report.layers} == set(quantizable_layers(model))
    assert made(tokens).shape == (6, 10, 20)
    assert made.report.layers[-1].output_sqnr_db > 3


def test_a_graph_network_is_quantized():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, nodes, edges = GraphNet(6, 3).eval(), torch.randn(40, 6), torch.randint(40, (2, 120))
    made = quantize(model, Recipe(transforms=(), corrections="bias"), [(nodes, edges)])
    assert made.report.layers[-1].output_sqnr_db > 20
    expected = model(nodes, edges)
    assert (made(nodes, edges) - expected).abs().max() < 0.2 * expected.abs().max()


def test_a_vision_transformer_is_quantized():
    from torchvision.models.vision_transformer import VisionTransformer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VisionTransformer(16, 4, 2, 2, 32, 64, num_classes=5).eval()
        nn.init.normal_(model.heads.head.weight)
    x = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    made = quantize(model, Recipe(Operand(8, granularity="per_channel"), Operand(8, symmetric=False)), x)
    assert made.report.layers[-1].output_sqnr_db > 20
    assert isinstance(made.network.get_submodule("encoder.layers.encoder_layer_0.mlp.0"), QuantizedLayer)


def test_bad_data_is_refused():
    net = small_net()
    with pytest.raises(ValueError, match="calibrates on batches, got None"):
        quantize(net, Recipe())
    with pytest.raises(ValueError, match="at least one batch"):
        quantize(net, Recipe(), [])
    with pytest.raises(ValueError, match="one shape but for the first axis"):
        quantize(net, Recipe(), [torch.randn(2, 3, 8, 8), torch.randn(2, 3, 9, 9)])
    with pytest.raises(ValueError, match="is for language models"):
        quantize(net, Recipe(transforms="rotate"), pictures())


def test_a_network_that_mixes_rows_is_refused():
    class Mixes(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return self.linear(x) - x.mean(0)

    with pytest.raises(UnsupportedModel, match="mixes the rows"):
        quantize(Mixes(), Recipe(transforms=()), torch.randn(8, 4))


def test_each_part_of_a_recipe_gives_some_accuracy_back():
    """The small trained network at four bits with ends at eight: first round to nearest, then what is known better."""
    model = pretrained("resnet8_drawn")
    x, labels = drawn.draw(250, split="test")
    batches = calibration_batches(drawn.draw(64)[0], 64)
    ends = step("first_last", bits=8)

    def percent(recipe):
        return accuracy(quantize(model, recipe, batches).network, x, labels)

    plain = percent(Recipe(Operand(3, granularity="per_channel"), Operand(4, symmetric=False), allocation=ends))
    fitted = {
        "weights": Operand(3, "omse", granularity="per_channel"),
        "activations": Operand(4, "mse", symmetric=False),
    }
    learned = percent(
        Recipe(**fitted, rounding=step("adaround", steps=60, rows=2000), allocation=ends, corrections="bias")
    )
    assert percent(Recipe()) > accuracy(model, x, labels) - 1
    assert learned > plain + 5
