"""SNIP: the gradient of a switch on each weight, normalised, before any training."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from frugal.prune.masks import count_dropped, weights_of
from frugal.prune.methods.snip import prune_snip, snip_scores


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 3)
    ).double()


def batch(seed=0, size=12):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(size, 2, 6, 6, generator=rng, dtype=torch.float64), torch.randint(3, (size,), generator=rng)


@pytest.mark.parametrize("training", [True, False])
def test_scores_are_the_gradients_of_switches_at_1(training):
    net = network()
    x, y = batch()
    weights = {name: weight.detach() for name, weight in weights_of(net).items()}
    switches = {name: torch.ones_like(weight, requires_grad=True) for name, weight in weights.items()}
    net.train(training)
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    out = functional_call(net, {**buffers, **{name: switches[name] * weights[name] for name in weights}}, (x,))
    found = torch.autograd.grad(cross_entropy(out, y), list(switches.values()))
    total = sum(each.abs().sum() for each in found)
    scores = snip_scores(net, [(x, y)], training=training)
    for name, each in zip(switches, found, strict=True):
        torch.testing.assert_close(scores[name], each.abs() / total, rtol=1e-12, atol=1e-15)


def test_scores_sum_to_1_over_all_layers():
    scores = snip_scores(network(), [batch(), batch(1)])
    assert sum(each.sum().item() for each in scores.values()) == pytest.approx(1, abs=1e-12)


def test_the_most_sensitive_connections_stay_and_the_network_is_a_copy():
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    scores = snip_scores(net, [batch()])
    pruned = prune_snip(net, 0.8, [batch()])
    everything = torch.cat([each.flatten() for each in scores.values()])
    kept = torch.cat([mask.flatten() for mask in pruned.masks.values()])
    assert int((~kept).sum()) == count_dropped(len(kept), 0.8)
    assert everything[kept].min() >= everything[~kept].max()
    assert all((w[~pruned.masks[name]] == 0).all() for name, w in weights_of(pruned.model).items())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_scaling_a_relu_layer_and_the_next_does_not_change_the_masks():
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    rng = torch.Generator().manual_seed(0)
    given = [(torch.randn(20, 6, generator=rng, dtype=torch.float64), torch.randint(3, (20,), generator=rng))]
    before = prune_snip(net, 0.5, given).masks
    with torch.no_grad():
        net[0].weight.mul_(16)
        net[0].bias.mul_(16)
        net[2].weight.div_(16)
    after = prune_snip(net, 0.5, given).masks
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_every_layer_can_be_made_to_keep_some():
    pruned = prune_snip(network(), 0.97, [batch()], at_least=2)
    assert all(int(mask.sum()) >= 2 for mask in pruned.masks.values())


def test_a_loss_that_nothing_changes_is_refused():
    with pytest.raises(ValueError, match="no connection changes the loss"):
        snip_scores(network(), [batch()], lambda out, y: 0 * out.sum())
    with pytest.raises(ValueError, match="no batch was given"):
        prune_snip(network(), 0.5, [])
