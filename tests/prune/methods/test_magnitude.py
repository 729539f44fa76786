"""Equation (5): exact where a row is zero, off by a known amount without absorption, the same in any order."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from frugal.graph.channels import find_channels
from frugal.nets.pretrained import load
from frugal.prune.masks import count_dropped, count_zeros, weights_of
from frugal.prune.methods.magnitude import prune_channels, prune_weights, remove_absorbing, remove_neurons

ACTIVATIONS = [torch.relu, torch.sigmoid, F.silu, F.gelu, F.hardswish]
SLACK = 1e-12  # of sums of a few float64 products


def pair(m=6, n=5, k=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((m, n), (m,), (k, m), (k,))]


def run(layers, x, activation):
    w1, b1, w2, b2 = layers
    return activation(x @ w1.T + b1) @ w2.T + b2


# The equation.


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_neurons_without_weights_leave_without_a_trace(activation):
    w1, b1, w2, b2 = pair()
    w1[[1, 4]] = 0
    x = torch.randn(9, 5, dtype=torch.float64)
    smaller = remove_neurons(w1, b1, w2, b2, [4, 1], activation)
    assert [list(each.shape) for each in smaller] == [[4, 5], [4], [3, 4], [3]]
    torch.testing.assert_close(run(smaller, x, activation), run((w1, b1, w2, b2), x, activation), rtol=0, atol=SLACK)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_without_absorption_the_error_is_the_column_times_what_was_emitted(activation):
    w1, b1, w2, b2 = pair()
    w1[2] = 0
    x = torch.randn(9, 5, dtype=torch.float64)
    plain = remove_neurons(w1, b1, w2, b2, [2], activation, constants=torch.zeros(1, dtype=torch.float64))
    error = run((w1, b1, w2, b2), x, activation) - run(plain, x, activation)
    torch.testing.assert_close(error, (w2[:, 2] * activation(b1[2])).expand(9, 3), rtol=0, atol=SLACK)


def test_the_mean_output_is_the_best_constant():
    """Least squares: any other constant, σ(b) among them, leaves a larger mean squared error."""
    w1, b1, w2, b2 = pair()
    x = torch.randn(200, 5, dtype=torch.float64)
    hidden = torch.relu(x @ w1.T + b1)
    wanted = run((w1, b1, w2, b2), x, torch.relu)

    def error(constant):
        given = None if constant is None else torch.as_tensor([constant], dtype=torch.float64)
        return (run(remove_neurons(w1, b1, w2, b2, [3], torch.relu, given), x, torch.relu) - wanted).square().mean()

    best = error(hidden[:, 3].mean())
    assert all(error(other) > best for other in (None, 0.0, hidden[:, 3].mean() + 0.1, hidden[:, 3].median()))


def test_one_after_the_other_is_the_same_as_all_at_once():
    layers = pair()
    at_once = remove_neurons(*layers, [1, 4], torch.sigmoid)
    first = remove_neurons(*layers, [4], torch.sigmoid)
    then = remove_neurons(*first, [1], torch.sigmoid)
    for a, b in zip(at_once, then, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=SLACK)


def test_the_equation_is_what_surgery_does_to_a_network():
    w1, b1, w2, b2 = pair()
    net = nn.Sequential(nn.Linear(5, 6), nn.SiLU(), nn.Linear(6, 3)).double()
    for parameter, value in zip(net.parameters(), (w1, b1, w2, b2), strict=True):
        parameter.data.copy_(value)
    channels = find_channels(net, (5,))
    smaller = remove_absorbing(net, channels, [0, 5], (5,))
    expected = remove_neurons(w1, b1, w2, b2, [0, 5], F.silu)
    for parameter, value in zip(smaller.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value, rtol=0, atol=SLACK)


def test_each_neuron_takes_its_row_its_bias_and_its_column_with_it():
    before, after = pair(m=6, n=5, k=3), remove_neurons(*pair(m=6, n=5, k=3), [2], torch.relu)
    assert sum(t.numel() for t in before) - sum(t.numel() for t in after) == 5 + 1 + 3


@pytest.mark.parametrize(
    "neurons, message",
    [
        ([6], "there is no neuron 6; the layer has neurons 0 to 5"),
        ([-1], "there is no neuron -1"),
        ([1, 1], "a neuron goes once"),
        (range(6), "all 6 neurons would go; keep one"),
    ],
)
def test_a_choice_that_leaves_no_layer_is_refused(neurons, message):
    with pytest.raises(ValueError, match=message):
        remove_neurons(*pair(), list(neurons), torch.relu)


def test_layers_that_do_not_fit_are_refused():
    w1, b1, w2, b2 = pair()
    with pytest.raises(ValueError, match="do not fit together"):
        remove_neurons(w1, b1, w2.T, b2, [0], torch.relu)
    with pytest.raises(ValueError, match="one constant for each of 2 neurons"):
        remove_neurons(w1, b1, w2, b2, [0, 1], torch.relu, b1[:1])


# Single weights.


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9])
def test_single_weights_are_counted_exactly_in_each_layer_or_in_all(sparsity):
    net = load("resnet8_drawn")
    local = count_zeros(prune_weights(net, sparsity, scope="local").model)
    assert all(each.zeros == count_dropped(each.total, sparsity) for each in local.values())
    everywhere = count_zeros(prune_weights(net, sparsity).model)
    total = sum(each.total for each in everywhere.values())
    assert sum(each.zeros for each in everywhere.values()) == count_dropped(total, sparsity)


def test_what_stays_is_at_least_as_large_as_what_goes():
    net = load("resnet8_drawn")
    pruned = prune_weights(net, 0.6)
    size = {name: weight.detach().abs() for name, weight in weights_of(net).items()}
    kept = torch.cat([size[name][keep] for name, keep in pruned.masks.items()])
    gone = torch.cat([size[name][~keep] for name, keep in pruned.masks.items()])
    assert kept.min() >= gone.max()
    for name, weight in weights_of(pruned.model).items():
        assert torch.equal(weight.detach(), torch.where(pruned.masks[name], weights_of(net)[name].detach(), 0))


# Channels.


def convnet(activation, seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), activation(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.BatchNorm2d(6), activation(),
        nn.Conv2d(6, 8, 3, padding=1), activation(), nn.Conv2d(8, 3, 3, padding=1),
    ).double().eval()  # fmt: skip
    for norm in (net[1], net[4]):
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return net


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU, nn.Sigmoid])
@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("p", [1, 2])
def test_channels_without_weights_are_chosen_and_leave_without_a_trace(activation, scope, p):
    """Through batch norm, a depthwise layer and zero padding: what the channels emit is absorbed without any data."""
    net = convnet(activation)
    with torch.no_grad():
        net[0].weight[[1, 4]] = 0
        net[3].weight[[1, 4]] = 0
        net[6].weight[[0, 3]] = 0
    x = torch.randn(2, 2, 9, 7, dtype=torch.float64)
    smaller = prune_channels(net, (2, 9, 7), 4 / 14 if scope == "global" else 0.3, p=p, scope=scope)
    assert (smaller[0].out_channels, smaller[3].groups, smaller[6].out_channels) == (4, 4, 6)
    torch.testing.assert_close(smaller(x), net(x), rtol=0, atol=SLACK)


def test_the_mean_of_what_channels_emit_serves_better_than_nothing():
    net = convnet(nn.Sigmoid)
    x = torch.randn(16, 2, 9, 7, dtype=torch.float64)
    mean = prune_channels(net, (2, 9, 7), 0.5, absorb="mean", batches=[x])
    nothing = prune_channels(net, (2, 9, 7), 0.5, absorb="nothing")
    assert (mean(x) - net(x)).square().mean() < 0.5 * (nothing(x) - net(x)).square().mean()


def test_renumbering_the_filters_does_not_change_the_pruned_function():
    net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 3, 3)).double()
    other = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 3, 3)).double()
    order = torch.tensor([2, 0, 5, 1, 4, 3])
    with torch.no_grad():
        other[0].weight.copy_(net[0].weight[order])
        other[0].bias.copy_(net[0].bias[order])
        other[2].weight.copy_(net[2].weight[:, order])
        other[2].bias.copy_(net[2].bias)
    x = torch.randn(2, 2, 9, 9, dtype=torch.float64)
    a, b = (prune_channels(each, (2, 9, 9), 0.5) for each in (net, other))
    torch.testing.assert_close(a(x), b(x), rtol=0, atol=SLACK)


def test_norms_are_those_of_the_function_that_runs_batch_norm_included():
    net = nn.Sequential(nn.Conv2d(2, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3)).eval()
    with torch.no_grad():
        net[0].weight[0], net[0].weight[1] = 1.0, 2.0
        net[1].weight.copy_(torch.tensor([10.0, 1.0]))
    smaller = prune_channels(net, (2, 8, 8), 0.5)
    assert torch.equal(smaller[0].weight, net[0].weight[:1])
    assert isinstance(smaller[1], nn.BatchNorm2d)


@pytest.mark.parametrize("name", ["resnet8_drawn", "mobilenet_drawn"])
@pytest.mark.parametrize("members", ["out", "all"])
def test_a_trained_network_loses_the_parameters_that_surgery_counts(name, members):
    net = load(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    smaller = prune_channels(net, (3, 32, 32), 0.5, members=members, multiple=4)
    assert smaller(torch.randn(2, 3, 32, 32)).isfinite().all()
    assert sum(p.numel() for p in smaller.parameters()) < 0.6 * sum(p.numel() for p in net.parameters())
    convs = [m for m in smaller.modules() if isinstance(m, nn.Conv2d)]
    assert all(conv.out_channels % 4 == 0 for conv in convs)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_choices_that_do_not_exist_are_refused():
    net = convnet(nn.ReLU)
    with pytest.raises(ValueError, match="absorb must be one of bias, mean, nothing, got 'all'"):
        prune_channels(net, (2, 9, 7), 0.5, absorb="all")
    with pytest.raises(ValueError, match="absorb='mean' needs batches="):
        prune_channels(net, (2, 9, 7), 0.5, absorb="mean")
    with pytest.raises(ValueError, match="absorb='mean' needs batches="):
        prune_channels(net, (2, 9, 7), 0.5, batches=[torch.zeros(1, 2, 9, 7)])
    channels = find_channels(net, (2, 9, 7))
    with pytest.raises(ValueError, match="cannot be removed"):
        remove_absorbing(net, channels, [int(channels.group.max())], (2, 9, 7))
