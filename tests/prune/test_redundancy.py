"""Output merging: percentiles that count pairs exactly, strategies that keep their mean, and a lossless end."""

import pytest
import torch
from torch import nn

from frugal.data import drawn
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.nets import pretrained
from frugal.prune.linkage import pairwise_distances
from frugal.prune.redundancy import STRATEGIES, layer_alphas, merge_outputs, percentile


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5])
def test_every_strategy_spends_alpha_on_average(strategy, alpha):
    alphas = layer_alphas([16, 16, 32, 32, 64, 64], alpha, strategy)
    assert sum(alphas) / 6 == pytest.approx(alpha)
    assert all(0 <= each <= 1 for each in alphas)


def test_strategies_rise_fall_and_stay():
    widths = [16, 16, 16, 32, 64, 64]
    rising = layer_alphas(widths, 0.3, "ascending")
    assert rising == sorted(rising)
    assert layer_alphas(widths, 0.3, "descending") == rising[::-1]
    assert len(set(layer_alphas(widths, 0.3, "constant"))) == 1
    block = layer_alphas(widths, 0.3, "block")
    assert block[0] == block[1] == block[2] < block[3] < block[4] == block[5]


@pytest.mark.parametrize("alpha, pairs", [(0.0, 0), (0.1, 2), (0.2, 3), (0.5, 8), (1.0, 15)])
def test_a_percentile_lets_its_share_of_pairs_through_rounded_up(alpha, pairs):
    distances = pairwise_distances(chance(6, 3))
    upper = distances[tuple(torch.triu_indices(6, 6, 1))]
    assert int((upper <= percentile(distances, alpha)).sum()) == pairs


def test_alpha_zero_is_lossless_and_still_finds_equals():
    model = fold_batchnorm(pretrained.load("resnet8_drawn")).double()
    same = merge_outputs(model, (3, 32, 32), 0.0)
    assert parameters(same) == parameters(model)
    with torch.no_grad():
        conv = model.layer2[0].conv1
        conv.weight[5], conv.bias[5] = conv.weight[2], conv.bias[2]
    fewer = merge_outputs(model, (3, 32, 32), 0.0)
    assert parameters(fewer) == parameters(model) - (conv.weight[0].numel() + 1) - 9 * 32
    x = chance(2, 3, 32, 32)
    torch.testing.assert_close(fewer(x), model(x), rtol=1e-10, atol=1e-10)


def test_more_alpha_leaves_fewer_parameters_and_a_little_keeps_the_accuracy():
    model = pretrained.load("mobilenet_drawn")
    images, labels = drawn.draw(300, split="test")
    sizes = [parameters(merge_outputs(model, (3, 32, 32), alpha, "constant")) for alpha in (0.0, 0.01, 0.1, 0.4)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.7 * sizes[0]
    gentle = merge_outputs(model, (3, 32, 32), 0.002, "constant")
    assert parameters(gentle) < sizes[0]
    assert accuracy(gentle, images, labels) > accuracy(model, images, labels) - 10


def test_bad_choices_are_refused():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="strategy must be one of constant, ascending"):
        merge_outputs(net, (3,), 0.1, "random")
    with pytest.raises(ValueError, match=r"alpha must be from 0 to 0\.5"):
        merge_outputs(net, (3,), 0.6, "block")
    with pytest.raises(ValueError, match=r"alpha must be from 0 to 1\.0"):
        merge_outputs(net, (3,), -0.1, "constant")
    with pytest.raises(ValueError, match="alpha must be from 0 to 1"):
        percentile(torch.zeros(2, 2), 1.5)
