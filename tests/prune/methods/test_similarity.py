"""Equation (6): exact for equal neurons and positive multiples, bounded for others, and the same in a network."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from frugal.core.errors import UnsupportedModel
from frugal.data import drawn
from frugal.graph.channels import Family
from frugal.graph.trace import trace
from frugal.measure.accuracy import accuracy
from frugal.nets import pretrained
from frugal.prune.methods.similarity import (
    find_multiples,
    merge_error_bound,
    merge_multiples,
    merge_neurons,
    merge_similar,
    why_no_multiples,
)

SLACK = 1e-12  # a few hundred roundings of float64 numbers near 1


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layers(neurons=6, inputs=5, out=4, seed=0):
    return chance(neurons, inputs, seed=seed), chance(neurons, seed=seed + 1), chance(out, neurons, seed=seed + 2)


def run(weights, x, activation=F.relu):
    weight1, bias1, weight2 = weights
    return activation(x @ weight1.T + bias1) @ weight2.T


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("activation", [F.relu, torch.sigmoid, F.silu, F.gelu, F.hardswish])
def test_equal_neurons_become_one_exactly(activation):
    weight1, bias1, weight2 = layers()
    weight1[3], bias1[3] = weight1[0], bias1[0]
    weight1[5], bias1[5] = weight1[0], bias1[0]
    weight1[4], bias1[4] = weight1[1], bias1[1]
    merged = merge_neurons(weight1, bias1, weight2, torch.tensor([0, 1, 2, 0, 1, 0]))
    assert merged[0].shape == (3, 5)
    x = chance(50, 5, seed=9)
    assert (run(merged, x, activation) - run((weight1, bias1, weight2), x, activation)).abs().max() < SLACK


def test_the_lectures_example_neurons_1_and_2():
    weight1, bias1, weight2 = layers()
    row, bias, column = merge_neurons(weight1, bias1, weight2, torch.tensor([0, 0, 1, 2, 3, 4]))
    torch.testing.assert_close(row[0], (weight1[0] + weight1[1]) / 2, rtol=0, atol=SLACK)
    torch.testing.assert_close(bias[0], (bias1[0] + bias1[1]) / 2, rtol=0, atol=SLACK)
    torch.testing.assert_close(column[:, 0], weight2[:, 0] + weight2[:, 1], rtol=0, atol=SLACK)
    assert torch.equal(row[1:], weight1[2:])
    assert torch.equal(column[:, 1:], weight2[:, 2:])


def test_a_group_in_one_step_is_not_a_chain_of_pairs():
    weight1, bias1, weight2 = layers(neurons=3)
    at_once = merge_neurons(weight1, bias1, weight2, torch.tensor([0, 0, 0]))
    first = merge_neurons(weight1, bias1, weight2, torch.tensor([0, 0, 1]))
    chain = merge_neurons(*first, torch.tensor([0, 0]))
    assert (chain[0] - at_once[0]).abs().max() > 0.01
    counted = merge_neurons(*first, torch.tensor([0, 0]), importance=torch.tensor([2.0, 1.0]))
    for a, b in zip(counted, at_once, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=SLACK)


@pytest.mark.parametrize("seed", range(5))
def test_the_error_stays_within_its_bound(seed):
    weights = layers(neurons=8, seed=10 * seed)
    groups = torch.tensor([0, 0, 1, 2, 2, 2, 3, 3])
    x = chance(200, 5, seed=seed)
    error = (run(merge_neurons(*weights, groups), x) - run(weights, x)).abs()
    bound = merge_error_bound(*weights, groups, x)
    assert (error <= bound + SLACK).all()
    assert (error > bound / 4).any()  # and it is not a bound that says nothing


def test_the_bound_of_a_pair_is_the_one_of_the_equation():
    weight1, bias1, weight2 = layers(neurons=2)
    x = chance(20, 5)
    half = (x @ (weight1[1] - weight1[0]) + bias1[1] - bias1[0]).abs() / 2
    bound = half[:, None] * (weight2[:, 0].abs() + weight2[:, 1].abs())
    torch.testing.assert_close(
        merge_error_bound(weight1, bias1, weight2, torch.tensor([0, 0]), x), bound, rtol=0, atol=SLACK
    )


@pytest.mark.parametrize("importance", [None, torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])])
def test_the_sum_of_columns_is_kept(importance):
    weight1, bias1, weight2 = layers()
    column = merge_neurons(weight1, bias1, weight2, torch.tensor([0, 1, 0, 2, 1, 0]), importance)[2]
    torch.testing.assert_close(column.sum(1), weight2.sum(1), rtol=0, atol=SLACK)


def test_reordering_neurons_does_not_change_the_merged_function():
    weight1, bias1, weight2 = layers()
    groups = torch.tensor([0, 1, 0, 2, 1, 0])
    order = torch.tensor([5, 3, 0, 1, 4, 2])
    _, renumbered = groups[order].unique(return_inverse=True)
    x = chance(30, 5)
    shuffled = merge_neurons(weight1[order], bias1[order], weight2[:, order], renumbered)
    assert (run(shuffled, x) - run(merge_neurons(weight1, bias1, weight2, groups), x)).abs().max() < SLACK


def test_merging_and_removing_a_dead_neuron_commute():
    weight1, bias1, weight2 = layers()
    weight1[4], bias1[4] = 0, -1.0  # ReLU gives 0: equation (5) has nothing to absorb
    keep = torch.tensor([0, 1, 2, 3, 5])
    first = merge_neurons(weight1[keep], bias1[keep], weight2[:, keep], torch.tensor([0, 1, 0, 2, 3]))
    row, bias, column = merge_neurons(weight1, bias1, weight2, torch.tensor([0, 1, 0, 2, 3, 4]))
    alive = torch.tensor([0, 1, 2, 4])
    for a, b in zip(first, (row[alive], bias[alive], column[:, alive]), strict=True):
        assert torch.equal(a, b)


def test_importance_moves_the_row_and_nobody_important_is_a_plain_mean():
    weight1, bias1, weight2 = layers(neurons=2)
    groups = torch.tensor([0, 0])
    row = merge_neurons(weight1, bias1, weight2, groups, torch.tensor([3.0, 1.0]))[0][0]
    torch.testing.assert_close(row, 0.75 * weight1[0] + 0.25 * weight1[1], rtol=0, atol=SLACK)
    assert torch.equal(
        merge_neurons(weight1, bias1, weight2, groups, torch.zeros(2))[0],
        merge_neurons(weight1, bias1, weight2, groups)[0],
    )


# Positive multiples.


@pytest.mark.parametrize("activation", [F.relu, F.leaky_relu, lambda x: x])
def test_positive_multiples_merge_exactly(activation):
    weight1, bias1, weight2 = layers()
    for second, first, c in ((3, 0, 2.5), (4, 0, 0.01), (5, 1, 7.0)):
        weight1[second], bias1[second] = c * weight1[first], c * bias1[first]
    merged = merge_multiples(weight1, bias1, weight2)
    assert merged[0].shape == (3, 5)
    x = chance(50, 5)
    assert (run(merged, x, activation) - run((weight1, bias1, weight2), x, activation)).abs().max() < SLACK


def test_the_column_counts_as_often_as_the_multiple():
    """Neuron 2 is c times neuron 1: a function W2[:, 1] + c W2[:, 2] of neuron 1, as in the sheet's formula."""
    weight1, bias1, weight2 = layers(neurons=2)
    weight1[1], bias1[1] = 3 * weight1[0], 3 * bias1[0]
    row, _, column = merge_multiples(weight1, bias1, weight2)
    scale = (row[0] / weight1[0])[0]
    torch.testing.assert_close(column[:, 0] * scale, weight2[:, 0] + 3 * weight2[:, 1], rtol=0, atol=SLACK)


def test_negative_multiples_are_not_alike_and_gelu_is_not_homogeneous():
    weight1, bias1, weight2 = layers(neurons=2)
    weight1[1], bias1[1] = -2 * weight1[0], -2 * bias1[0]
    assert find_multiples(weight1, bias1)[0].tolist() == [0, 1]
    weight1[1], bias1[1] = 2 * weight1[0], 2 * bias1[0]
    x = chance(50, 5)
    merged = merge_multiples(weight1, bias1, weight2)
    assert (run(merged, x, F.gelu) - run((weight1, bias1, weight2), x, F.gelu)).abs().max() > 0.01


def test_neurons_of_zeros_are_alike():
    weight1, bias1, weight2 = layers()
    weight1[[1, 4]], bias1[[1, 4]] = 0, 0
    assert find_multiples(weight1, bias1)[0].tolist() == [0, 1, 2, 3, 1, 4]
    x = chance(10, 5)
    merged = merge_multiples(weight1, bias1, weight2)
    assert (run(merged, x) - run((weight1, bias1, weight2), x)).abs().max() < SLACK


# Networks.


def mlp(activation=nn.ReLU):
    net = nn.Sequential(nn.Linear(5, 6), activation(), nn.Linear(6, 4)).double()
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.copy_(chance(*parameter.shape, seed=i))
    return net


@pytest.mark.parametrize("pivot", ["mean", "saliency"])
def test_in_a_network_it_is_the_same_equation(pivot):
    net = mlp()
    with torch.no_grad():
        net[0].weight[2] = net[0].weight[0] + 1e-3 * chance(5, seed=7)
        net[0].bias[2] = net[0].bias[0]
    merged = merge_similar(net, (5,), threshold=0.01, pivot=pivot)
    importance = net[2].weight.norm(dim=0) if pivot == "saliency" else None
    groups = torch.tensor([0, 1, 0, 2, 3, 4])
    expected = merge_neurons(net[0].weight, net[0].bias, net[2].weight, groups, importance)
    for a, b in zip((merged[0].weight, merged[0].bias, merged[2].weight), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=SLACK)
    assert torch.equal(merged[2].bias, net[2].bias)


def test_multiples_in_a_network_merge_exactly_with_batch_norm_and_pooling():
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3, padding=1)
    ).double()
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.copy_(chance(*parameter.shape, seed=i))
        net[1].running_var.copy_(chance(6, seed=20).exp())
        for value in (net[0].weight, net[1].running_mean, net[1].running_var):
            value[4] = value[1]
        net[1].weight[4], net[1].bias[4] = 3 * net[1].weight[1], 3 * net[1].bias[1]
    net.eval()
    merged = merge_similar(net, (3, 12, 12), threshold=1e-6, multiples=True)
    assert merged[0].out_channels == 5
    assert merge_similar(net, (3, 12, 12), threshold=1e-6)[0].out_channels == 6
    x = chance(4, 3, 12, 12)
    assert (merged(x) - net(x)).abs().max() < 1e-10


def test_scaling_a_pair_of_layers_does_not_change_what_is_merged():
    """A ReLU layer times c, the next by 1/c: the same function, and the same groups at the same threshold."""
    net, scaled = mlp(), mlp()
    with torch.no_grad():
        scaled[0].weight.mul_(8), scaled[0].bias.mul_(8), scaled[2].weight.div_(8)
    x = chance(20, 5)
    for threshold in (0.5, 1.0, 1.4):
        a, b = (merge_similar(each, (5,), threshold=threshold) for each in (net, scaled))
        assert a[0].weight.shape == b[0].weight.shape
        assert (a(x) - b(x)).abs().max() < SLACK


@pytest.mark.parametrize("name", ["resnet8_drawn", "mobilenet_drawn"])
@pytest.mark.parametrize("multiples", [False, True])
def test_a_share_of_every_layer_goes(name, multiples):
    model = pretrained.load(name)
    half = merge_similar(model, (3, 32, 32), share=0.25, multiples=multiples)
    before, after = model, half
    if name == "resnet8_drawn":
        for stage in ("layer1", "layer2", "layer3"):
            inner = f"{stage}.0.conv1"
            assert after.get_submodule(inner).out_channels == 0.75 * before.get_submodule(inner).out_channels
    assert parameters(half) < parameters(model)
    assert half(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_merging_keeps_more_accuracy_than_dropping_as_many():
    """The columns of a channel that goes are added to its twin's: without that, the same rows do worse."""
    model = pretrained.load("resnet8_drawn")
    images, labels = drawn.draw(400, split="test")
    merged = merge_similar(model, (3, 32, 32), share=0.125)
    dropped = pretrained.load("resnet8_drawn")
    from frugal.graph.channels import find_channels
    from frugal.prune.surgery import remove_channels

    channels = find_channels(dropped, (3, 32, 32))
    first = [g for family in channels.families() for g in family.groups[: len(family.groups) // 8]]
    dropped = remove_channels(dropped, channels, first)
    assert parameters(merged) <= parameters(dropped)
    assert accuracy(merged, images, labels) > accuracy(dropped, images, labels)


def test_the_reason_against_multiples_names_the_operation():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.c(self.a(x) + 1.0)

    assert "the function add" in why_no_multiples(trace(Gated()), Family(("a",), (0,)))
    assert "2 layers" in why_no_multiples(trace(Gated()), Family(("a", "b"), (0,)))
    relu = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2))
    assert why_no_multiples(trace(relu), Family(("0",), (0,))) == ""
    with pytest.raises(UnsupportedModel, match=r"1 \(GELU\)"):
        merge_similar(mlp(nn.GELU), (5,), threshold=0.1, multiples=True)


def test_bad_input_is_refused():
    weight1, bias1, weight2 = layers()
    good = torch.tensor([0, 1, 2, 3, 4, 5])
    with pytest.raises(ValueError, match="without gaps"):
        merge_neurons(weight1, bias1, weight2, torch.tensor([0, 1, 2, 3, 4, 6]))
    with pytest.raises(ValueError, match=r"groups must be int64 \[6\]"):
        merge_neurons(weight1, bias1, weight2, good[:5])
    with pytest.raises(ValueError, match="weight2 reads 6"):
        merge_neurons(weight1[:5], bias1[:5], weight2, good[:5])
    with pytest.raises(ValueError, match="weight1 must be finite"):
        merge_neurons(weight1 * math.nan, bias1, weight2, good)
    with pytest.raises(ValueError, match="importance must be 6 numbers"):
        merge_neurons(weight1, bias1, weight2, good, -torch.ones(6))
    with pytest.raises(ValueError, match="square root of 2"):
        find_multiples(weight1, bias1, 1.5)
    net = mlp()
    for arguments, words in (
        ({}, "either threshold or share"),
        ({"threshold": 0.1, "share": 0.1}, "either threshold or share"),
        ({"threshold": -0.1}, "threshold must be"),
        ({"threshold": 1.5, "multiples": True}, "square root of 2"),
        ({"share": 1.0}, "share must be"),
        ({"share": 0.1, "pivot": "median"}, "pivot must be one of mean, saliency"),
    ):
        with pytest.raises(ValueError, match=words):
            merge_similar(net, (5,), **arguments)
