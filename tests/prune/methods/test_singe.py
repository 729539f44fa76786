"""SInGE: the integral gives back the ablation, the score has its closed form, and the flow removes for real."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from frugal.data import drawn
from frugal.graph.channels import find_channels
from frugal.graph.fold import fold_batchnorm
from frugal.nets import pretrained
from frugal.prune.methods.singe import (
    ablations,
    integrated_gradients,
    prune_entwined,
    prune_once,
    relevance,
    relevances,
)


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(net, seed=0):
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.copy_(chance(*parameter.shape, seed=seed + i) / 2)
    return net.double()


def mlp(activation=nn.Tanh, neurons=6):
    return filled(nn.Sequential(nn.Linear(4, neurons), activation(), nn.Linear(neurons, 3)))


def batches(count=2, inputs=4, size=8):
    return [(chance(size, inputs, seed=i), torch.arange(size) % 3) for i in range(count)]


def first_family(net, shape):
    channels = find_channels(net, shape)
    return channels, channels.families()[0]


def quadratic(weight, a):
    """A network and data whose loss is ½ Σ a w² in the weights of its first layer, [neurons, inputs]."""
    neurons, inputs = weight.shape
    net = nn.Sequential(nn.Linear(inputs, neurons, bias=False), nn.Linear(neurons, neurons, bias=False)).double()
    with torch.no_grad():
        net[0].weight.copy_(weight)
        net[1].weight.copy_(torch.eye(neurons))
    data = [(torch.eye(inputs).double(), a.T)]  # input j makes column j of the weight
    return net, data, lambda y, a: (a * y.square()).sum() / 2


# The signed integral.


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU, nn.SiLU, nn.Sigmoid])
def test_the_integral_is_the_loss_minus_the_loss_without_the_neuron(activation):
    net = mlp(activation)
    channels, family = first_family(net, (4,))
    integral = integrated_gradients(net, channels, family, batches(), F.cross_entropy, nodes=24)
    ablation = ablations(net, channels, family, batches(), F.cross_entropy)
    assert ablation.abs().min() > 1e-4
    torch.testing.assert_close(integral, ablation, rtol=0, atol=1e-9)


def test_the_ablation_is_what_zeros_in_row_and_bias_do():
    net = mlp(nn.ReLU)
    channels, family = first_family(net, (4,))
    (x, y), *_ = pairs = batches(1)
    found = ablations(net, channels, family, pairs, F.cross_entropy)
    full = F.cross_entropy(net(x), y)
    for neuron in range(6):
        without = filled(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)))
        with torch.no_grad():
            without[0].weight[neuron], without[0].bias[neuron] = 0, 0
        torch.testing.assert_close(found[neuron], full - F.cross_entropy(without(x), y), rtol=0, atol=1e-12)


def test_one_node_is_enough_for_a_quadratic():
    weight, a = chance(5, 3), chance(5, 3, seed=1).abs()
    net, data, loss = quadratic(weight, a)
    channels, family = first_family(net, (3,))
    integral = integrated_gradients(net, channels, family, data, loss, nodes=1)
    torch.testing.assert_close(integral, (a * weight.square()).sum(1) / 2, rtol=0, atol=1e-12)


def test_through_a_sum_a_neuron_is_both_its_rows():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.c(torch.tanh(self.a(x) + self.b(x)))

    net = filled(Sum())
    channels, family = first_family(net, (4,))
    assert family.layers == ("a", "b")
    integral = integrated_gradients(net, channels, family, batches(), F.cross_entropy, nodes=24)
    ablation = ablations(net, channels, family, batches(), F.cross_entropy)
    torch.testing.assert_close(integral, ablation, rtol=0, atol=1e-9)


# The score.


@pytest.mark.parametrize("path", ["layer", "neuron"])
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("mu, steps", [(0.9, 10), (0.5, 3), (0.99, 0)])
def test_the_score_of_a_quadratic_has_a_closed_form(mu, steps, p, path):
    weight, a = chance(5, 3), chance(5, 3, seed=1).abs()
    net, data, loss = quadratic(weight, a)
    channels, family = first_family(net, (3,))
    found = relevance(net, channels, family, data, loss, mu=mu, steps=steps, p=p, path=path)
    geometric = (1 - mu ** (2 * (steps + 1))) / (1 - mu**2)
    torch.testing.assert_close(found, (a * weight.square()).norm(p=p, dim=1) * geometric, rtol=1e-12, atol=0)


def test_without_steps_it_is_weight_times_gradient():
    net = mlp(nn.ReLU)
    channels, family = first_family(net, (4,))
    pairs = batches(1)
    found = relevance(net, channels, family, pairs, F.cross_entropy, steps=0)
    F.cross_entropy(net(pairs[0][0]), pairs[0][1]).backward()
    products = torch.cat([net[0].weight * net[0].weight.grad, (net[0].bias * net[0].bias.grad)[:, None]], dim=1)
    torch.testing.assert_close(found, products.detach().norm(dim=1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("path", ["layer", "neuron"])
def test_rescaling_a_pair_of_relu_layers_changes_no_score(path):
    """The same function must get the same scores; a magnitude would be c times larger."""
    net, scaled = mlp(nn.ReLU), mlp(nn.ReLU)
    with torch.no_grad():
        scaled[0].weight.mul_(8), scaled[0].bias.mul_(8), scaled[2].weight.div_(8)
    channels, family = first_family(net, (4,))
    one, other = (relevance(each, channels, family, batches(), F.cross_entropy, path=path) for each in (net, scaled))
    torch.testing.assert_close(other, one, rtol=1e-10, atol=0)


@pytest.mark.parametrize("path", ["layer", "neuron"])
def test_reordering_neurons_reorders_scores(path):
    net, shuffled = mlp(), mlp()
    order = torch.tensor([5, 3, 0, 1, 4, 2])
    with torch.no_grad():
        shuffled[0].weight.copy_(net[0].weight[order])
        shuffled[0].bias.copy_(net[0].bias[order])
        shuffled[2].weight.copy_(net[2].weight[:, order])
    channels, family = first_family(net, (4,))
    one, other = (relevance(each, channels, family, batches(), F.cross_entropy, path=path) for each in (net, shuffled))
    torch.testing.assert_close(other, one[order], rtol=1e-10, atol=0)


def test_batches_are_averaged_by_their_inputs():
    net = mlp()
    channels, family = first_family(net, (4,))
    x, y = chance(10, 4), torch.arange(10) % 3
    whole = relevance(net, channels, family, [(x, y)], F.cross_entropy)
    uneven = relevance(net, channels, family, [(x[:3], y[:3]), (x[3:], y[3:])], F.cross_entropy)
    torch.testing.assert_close(uneven, whole, rtol=1e-10, atol=0)


def test_a_neuron_that_nobody_reads_is_worth_nothing():
    net = mlp()
    with torch.no_grad():
        net[2].weight[:, 3] = 0
    channels, family = first_family(net, (4,))
    for path in ("layer", "neuron"):
        scores = relevance(net, channels, family, batches(), F.cross_entropy, path=path)
        assert scores[3] == 0
        assert (scores.argsort()[1:] != 3).all()
    assert integrated_gradients(net, channels, family, batches(), F.cross_entropy)[3] == 0


def test_scores_leave_the_network_as_it_was():
    net = mlp().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    channels, _ = first_family(net, (4,))
    scores = relevances(net, channels, batches(), F.cross_entropy)
    assert scores[:6].isfinite().all()
    assert scores[6:].isinf().all()  # the outputs cannot go
    assert net.training
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


# Removal.


def test_the_least_relevant_share_goes_and_constants_are_absorbed():
    net = mlp(nn.Sigmoid)
    with torch.no_grad():
        net[0].weight[[1, 4]] = 0  # constant neurons, worth sigmoid(bias)
        net[2].weight[:, [1, 4]] *= 1e-6
    smaller = prune_once(net, (4,), batches(), F.cross_entropy, 1 / 3)
    assert smaller[0].weight.shape == (4, 4)
    assert torch.equal(smaller[0].weight, net[0].weight[[0, 2, 3, 5]])
    x = chance(9, 4)
    torch.testing.assert_close(smaller(x), net(x), rtol=0, atol=1e-12)
    kept = prune_once(net, (4,), batches(), F.cross_entropy, 0.0)
    assert torch.equal(kept(x), net(x))


def test_a_trained_network_gets_smaller_and_keeps_its_batch_norms():
    model = pretrained.load("resnet8_drawn")
    images, labels = drawn.draw(64, split="train")
    smaller = prune_once(model, (3, 32, 32), [(images, labels)], F.cross_entropy, 0.5, steps=3)
    assert smaller.layer2[0].conv1.out_channels == model.layer2[0].conv1.out_channels // 2
    assert isinstance(smaller.layer2[0].bn1, nn.BatchNorm2d)
    assert smaller(images).shape == (64, 10)


def test_pruning_by_relevance_hurts_less_than_removing_the_most_relevant():
    model = fold_batchnorm(pretrained.load("resnet8_drawn"))
    images, labels = drawn.draw(128, split="train")
    channels = find_channels(model, (3, 32, 32))
    scores = relevances(model, channels, [(images, labels)], F.cross_entropy, steps=5)
    from frugal.prune.scores import choose_groups
    from frugal.prune.surgery import remove_channels

    least, most = (
        remove_channels(
            model, channels, choose_groups(torch.where(scores.isinf(), scores, sign * scores), channels, 0.25)
        )
        for sign in (1, -1)
    )
    assert F.cross_entropy(least(images), labels) < F.cross_entropy(most(images), labels)


def test_the_entwined_flow_fine_tunes_after_every_slice_and_reaches_its_share():
    net = filled(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)))
    seen = []

    def fine_tune(network):
        seen.append((len(network[0].weight), len(network[2].weight)))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for x, y in batches():
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()

    before = [p.clone() for p in net.parameters()]
    smaller = prune_entwined(net, (4,), batches(), F.cross_entropy, 0.5, fine_tune, slices=2, steps=2)
    assert seen == [(6, 6), (4, 6), (4, 5), (4, 3)]  # 4 of 8 in two slices, then 3 of 6 as 1 and 2
    assert smaller[0].weight.shape == (4, 4)
    assert smaller[2].weight.shape == (3, 4)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_the_entwined_flow_scores_the_network_as_it_is_by_then():
    """Fine-tuning makes a removed neuron's rival worthless: the second slice must take that one."""
    net = mlp(neurons=4)
    channels, family = first_family(net, (4,))
    ranks = relevance(net, channels, family, batches(), F.cross_entropy).argsort().tolist()
    favourite = ranks[-1]

    def ruin(network):
        if len(network[0].weight) == 3:
            with torch.no_grad():
                place = favourite - (ranks[0] < favourite)
                assert torch.equal(network[0].weight[place], net[0].weight[favourite])
                network[2].weight[:, place] = 0

    smaller = prune_entwined(net, (4,), batches(), F.cross_entropy, 0.5, ruin, slices=2)
    left = sorted(set(range(4)) - {ranks[0], favourite})
    assert torch.equal(smaller[0].weight, net[0].weight[left])


def test_an_entwined_residual_network_runs_and_trains():
    model = pretrained.load("resnet8_drawn")
    images, labels = drawn.draw(32, split="train")
    calls = []
    smaller = prune_entwined(
        model, (3, 32, 32), [(images, labels)], F.cross_entropy, 0.5, calls.append, slices=1, steps=1
    )
    assert len(calls) == 3  # the inner layers of three blocks; the streams are frozen
    assert smaller.layer3[0].conv1.out_channels == 32
    F.cross_entropy(smaller.train()(images), labels).backward()


def test_bad_input_is_refused():
    net = mlp()
    channels, family = first_family(net, (4,))
    for arguments, words in (
        ({"mu": 1.0}, "mu must lie between 0 and 1"),
        ({"mu": 0.0}, "mu must lie between 0 and 1"),
        ({"steps": -1}, "steps must be 0 or more"),
        ({"p": 3}, "p must be 1 or 2"),
        ({"path": "network"}, "path must be 'layer' or 'neuron'"),
    ):
        with pytest.raises(ValueError, match=words):
            relevance(net, channels, family, batches(), F.cross_entropy, **arguments)
    with pytest.raises(ValueError, match="nodes must be 1 or more"):
        integrated_gradients(net, channels, family, batches(), F.cross_entropy, nodes=0)
    with pytest.raises(ValueError, match="no batch was given"):
        relevances(net, channels, [], F.cross_entropy)
    with pytest.raises(ValueError, match="the loss must be finite"):
        relevances(net, channels, batches(), lambda y, labels: y.sum() * math.nan)
    with pytest.raises(ValueError, match="slices must be 1 or more"):
        prune_entwined(net, (4,), batches(), F.cross_entropy, 0.5, lambda network: None, slices=0)
    with pytest.raises(ValueError, match="sparsity"):
        prune_once(net, (4,), batches(), F.cross_entropy, 1.0)


def test_batch_norm_must_be_folded_for_scores():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    channels = find_channels(net, (3, 8, 8))
    with pytest.raises(ValueError, match="fold batch norm first"):
        relevances(net, channels, [(torch.randn(1, 3, 8, 8), torch.zeros(1, 4, 4).long())], F.cross_entropy)
