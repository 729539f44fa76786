"""Network slimming: the pull is λ sign(γ), it empties channels under SGD, and a channel with γ = 0 leaves no trace."""

import pytest
import torch
from torch import nn

from frugal.core.seed import generator
from frugal.graph.channels import find_channels
from frugal.prune.methods.slimming import factors, prune_slim, pull, slimming_scores, train_slim
from frugal.prune.training import TuningPlan

SLACK = 1e-12  # of sums of some hundred float64 products
SHAPE = (2, 8, 8)


def network(activation=nn.ReLU, width=8, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), activation(),
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), nn.BatchNorm2d(width), activation(),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), activation(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3),
    )  # fmt: skip


def with_statistics(net):
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            rng = generator("statistics", name)
            module.running_mean.copy_(torch.randn(8, generator=rng))
            module.running_var.copy_(torch.rand(8, generator=rng) + 0.5)
            module.weight.data.copy_(torch.randn(8, generator=rng))
            module.bias.data.copy_(torch.randn(8, generator=rng))
    return net.double().eval()


def test_the_gradient_of_the_pull_is_the_sign_times_lambda():
    net = with_statistics(network())
    net[1].weight.data[3] = 0.0
    pull(net, 0.25).backward()
    for gamma in factors(net).values():
        assert torch.equal(gamma.grad, 0.25 * gamma.detach().sign())
    assert all(p.grad is None for name, p in net.named_parameters() if name not in factors(net))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU, nn.Sigmoid])
@pytest.mark.parametrize("sparsity", [3 / 16, 5 / 16])
def test_channels_with_factor_0_leave_without_a_trace_whatever_their_beta(activation, sparsity):
    """Two families: the first passes two batch norms, coupled by the depthwise layer; its factors count together."""
    net = with_statistics(network(activation))
    dead = {1: [0, 5], 4: [0, 5], 7: [2]} if sparsity < 0.2 else {1: [0, 5, 6], 4: [0, 5, 6], 7: [2, 3]}
    for module, places in dead.items():
        net[module].weight.data[places] = 0.0
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    smaller = prune_slim(net, SHAPE, sparsity)
    assert smaller[0].out_channels == smaller[3].groups == 8 - len(dead[1])
    assert smaller[6].out_channels == 8 - len(dead[7])
    torch.testing.assert_close(smaller(x), net(x), rtol=0, atol=SLACK)


def test_a_channel_with_a_small_factor_is_taken_to_emit_what_its_beta_does():
    net = with_statistics(network(nn.SiLU))
    for module, places in {1: [0, 5], 4: [0, 5], 7: [2]}.items():
        net[module].weight.data[places] = 1e-3
    smaller = prune_slim(net, SHAPE, 3 / 16)
    for module, places in {1: [0, 5], 4: [0, 5], 7: [2]}.items():
        net[module].weight.data[places] = 0.0
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(smaller(x), net(x), rtol=0, atol=SLACK)


def test_a_channel_is_worth_the_factors_that_it_passes():
    net = with_statistics(network())
    channels = find_channels(net, SHAPE)
    scores = slimming_scores(net, channels)
    first, second = (torch.tensor(family.groups) for family in channels.families())
    both = net[1].weight.detach().abs() + net[4].weight.detach().abs()
    torch.testing.assert_close(scores[first], both, rtol=0, atol=SLACK)
    assert torch.equal(scores[second], net[7].weight.detach().abs())


def test_under_sgd_the_pull_brings_factors_to_0_and_the_network_still_learns():
    rng = generator(0, "slimming")
    y = torch.randint(3, (256,), generator=rng)
    level = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])[y]
    x = level[:, :, None, None] + 0.3 * torch.randn(256, *SHAPE, generator=rng)
    plan = TuningPlan(steps=200, lr=0.05, batch_size=32)
    net = network()
    free, slim = train_slim(net, x, y, strength=0.0, plan=plan), train_slim(net, x, y, strength=0.05, plan=plan)
    small = {
        name: sum(int((gamma.abs() < 0.02).sum()) for gamma in factors(model).values())
        for name, model in (("free", free), ("slim", slim), ("before", net))
    }
    assert small["free"] == small["before"] == 0
    assert small["slim"] >= 6
    smaller = prune_slim(slim, SHAPE, 0.25)
    for model in (slim, smaller):
        assert (model(x).argmax(1) == y).float().mean() > 0.9


def test_a_network_without_batch_norm_is_refused():
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3))
    with pytest.raises(ValueError, match="no batch norm with factors to compare"):
        prune_slim(net, SHAPE, 0.5)
    with pytest.raises(ValueError, match="no batch norm with factors to slim"):
        pull(net, 0.1)
    with pytest.raises(ValueError, match="strength must be 0 or more, got -1"):
        pull(network(), -1)


def test_layers_without_batch_norm_stay_whole():
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3)
    )
    smaller = prune_slim(net, SHAPE, 0.5)
    assert (smaller[0].out_channels, smaller[3].out_channels) == (2, 4)
