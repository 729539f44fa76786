"""L1 filters: the smallest sums go, greedily without the inputs that went, and each layer takes the share it bears."""

import pytest
import torch
from torch import nn

from frugal.graph.channels import find_channels
from frugal.nets.pretrained import load
from frugal.prune.methods.l1_filters import choose_filters, prune_filters, sensitivity

SHAPE = (2, 8, 8)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 3, 3)).double()


def filters_left(before, after, layer):
    """Numbers of the filters of one layer that are still there, by their biases, which are all different."""
    known = {value: i for i, value in enumerate(before[layer].bias.tolist())}
    return [known[value] for value in after[layer].bias.tolist()]


def test_the_filters_with_the_largest_sums_stay_in_their_order():
    net = network()
    smaller = prune_filters(net, SHAPE, 0.5)
    for layer, count in ((0, 2), (2, 3)):
        sums = net[layer].weight.detach().abs().sum((1, 2, 3))
        assert filters_left(net, smaller, layer) == sorted(sums.topk(count).indices.tolist())
    assert torch.equal(smaller[4].weight, net[4].weight[:, filters_left(net, smaller, 2)])


def test_greedy_sums_leave_out_what_reads_filters_that_are_gone():
    net = network()
    with torch.no_grad():
        net[0].weight[0] *= 0.01  # filter 0 goes first
        net[2].weight[5, 0] = 100.0  # filter 5 lives of it alone
        net[2].weight[5, 1:] = 0.0
    shares = {"0": 0.25, "2": 1 / 6}
    assert 5 in filters_left(net, prune_filters(net, SHAPE, shares), 2)
    assert 5 not in filters_left(net, prune_filters(net, SHAPE, shares, greedy=True), 2)


def test_where_nothing_before_was_removed_greedy_is_independent():
    net = network()
    channels = find_channels(net, SHAPE)
    shares = {"2": 0.5}
    assert choose_filters(net, channels, shares) == choose_filters(net, channels, shares, greedy=True)


def test_a_layer_that_is_not_named_stays_whole():
    smaller = prune_filters(network(), SHAPE, {"2": 0.5})
    assert (smaller[0].out_channels, smaller[2].out_channels) == (4, 3)


def test_batch_norm_counts_as_part_of_its_filter():
    net = nn.Sequential(nn.Conv2d(2, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3)).eval()
    with torch.no_grad():
        net[0].weight[0], net[0].weight[1] = 1.0, 2.0
        net[1].weight.copy_(torch.tensor([10.0, 1.0]))
    assert torch.equal(prune_filters(net, SHAPE, 0.5)[0].weight, net[0].weight[:1])


def test_a_layer_is_as_sensitive_as_its_pruned_network_is_bad():
    net = network()
    x = torch.randn(4, *SHAPE, dtype=torch.float64)
    wanted = net(x).detach()
    rows = sensitivity(net, SHAPE, lambda model: (model(x) - wanted).square().mean().item(), shares=(0.0, 0.5))
    assert [(row.layers, row.share, row.removed) for row in rows] == [
        (("0",), 0.0, 0), (("0",), 0.5, 2), (("2",), 0.0, 0), (("2",), 0.5, 3)
    ]  # fmt: skip
    assert [row.value == 0 for row in rows] == [True, False, True, False]
    alone = prune_filters(net, SHAPE, {"2": 0.5})
    assert rows[3].value == (alone(x) - wanted).square().mean().item()


def test_a_residual_network_gets_smaller_and_runs():
    net = load("resnet8_drawn")
    smaller = prune_filters(net, (3, 32, 32), 0.5, greedy=True)
    assert smaller(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert sum(p.numel() for p in smaller.parameters()) < 0.6 * sum(p.numel() for p in net.parameters())


def test_bad_shares_are_refused():
    with pytest.raises(ValueError, match="no layer '4' makes channels that may go; these do: 0, 2"):
        prune_filters(network(), SHAPE, {"4": 0.5})
    with pytest.raises(ValueError, match="from 0 to below 1"):
        prune_filters(network(), SHAPE, {"0": 1.0})
    with pytest.raises(ValueError, match="from 0 to below 1"):
        prune_filters(network(), SHAPE, -0.5)
