"""Merging channels of networks: exact for equal ones, through sums, depthwise layers and flattening; else refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from frugal.core.errors import UnsupportedModel
from frugal.graph.channels import Family, find_channels
from frugal.graph.fold import fold_batchnorm
from frugal.nets import pretrained
from frugal.prune.merging import Cell, candidate, mean_cells, merge_channels, merge_network, why_not
from frugal.prune.surgery import remove_channels

SLACK = 1e-12  # a few hundred roundings of float64 numbers near 1


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(net, seed=0):
    """The network in float64, eval mode, with numbers that do not depend on what ran before."""
    net = net.double().eval()
    for i, (name, value) in enumerate(net.state_dict().items()):
        if value.is_floating_point():
            value.copy_(chance(*value.shape, seed=seed + i).div(3))
            if "running_var" in name:
                value.abs_().add_(0.5)
    return net


def twins(net, shape, layers, pairs):
    """Make channels of a family equal in all layers that make them, and return the cells that join them."""
    channels = find_channels(net, shape)
    family = next(f for f in channels.families() if f.layers == layers)
    for name in layers:
        layer = net.get_submodule(name)
        with torch.no_grad():
            for first, second in pairs:
                layer.weight[second] = layer.weight[first]
                if layer.bias is not None:
                    layer.bias[second] = layer.bias[first]
    cells = [Cell((family.groups[a], family.groups[b]), (0.5, 0.5), (1.0, 1.0)) for a, b in pairs]
    return channels, cells


class Sum(nn.Module):
    def __init__(self, activation=F.silu):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3)
        self.activation = activation

    def forward(self, x):
        return self.c(self.activation(self.a(x) + self.b(x)))


class Flat(nn.Module):
    def __init__(self, channels_last=False):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6 * 16, 4)
        self.channels_last = channels_last

    def forward(self, x):
        h = self.conv(x).sigmoid()
        return self.fc((h.permute(0, 2, 3, 1) if self.channels_last else h).flatten(1))


NETWORKS = {
    "two linear layers": (nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.Linear(6, 4)), (5,), ("0",)),
    "convolutions": (nn.Sequential(nn.Conv2d(3, 6, 3), nn.SiLU(), nn.Conv2d(6, 4, 3, padding=1)), (3, 8, 8), ("0",)),
    "a sum": (Sum(), (3, 8, 8), ("a", "b")),
    "flattened": (Flat(), (3, 6, 6), ("conv",)),
    "flattened, channels last": (Flat(channels_last=True), (3, 6, 6), ("conv",)),
    "depthwise": (
        nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU6(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU6(), nn.Conv2d(6, 4, 1)),
        (3, 8, 8),
        ("0", "2"),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_channels_become_one_and_the_function_stays(name):
    net, shape, layers = NETWORKS[name]
    net = filled(net)
    channels, cells = twins(net, shape, layers, [(0, 3), (4, 1)])
    before = sum(p.numel() for p in net.parameters())
    merged = merge_channels(net, channels, cells)
    x = chance(5, *shape, seed=9)
    torch.testing.assert_close(merged(x), net(x), rtol=0, atol=SLACK)
    assert sum(p.numel() for p in merged.parameters()) < before
    assert all(len(merged.get_submodule(each).weight) == 4 for each in layers)


def test_channels_that_agree_in_one_of_two_coupled_layers_are_not_alike():
    net = filled(Sum())
    with torch.no_grad():
        net.a.weight[1], net.a.bias[1] = net.a.weight[0], net.a.bias[0]
    channels = find_channels(net, (3, 8, 8))
    found = candidate(net, channels, channels.families()[0])
    difference = (found.vectors[0] - found.vectors[1]).norm()
    expected = torch.cat([(net.b.weight[0] - net.b.weight[1]).flatten(), (net.b.bias[0] - net.b.bias[1])[None]]).norm()
    torch.testing.assert_close(difference, expected, rtol=1e-12, atol=0)


def test_a_candidate_holds_rows_biases_and_the_length_of_columns():
    net = filled(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4)))
    channels = find_channels(net, (5,))
    found = candidate(net, channels, channels.families()[0])
    assert torch.equal(found.vectors, torch.cat([net[0].weight, net[0].bias[:, None]], dim=1))
    torch.testing.assert_close(found.outgoing, net[2].weight.norm(dim=0), rtol=1e-14, atol=0)


def test_rows_are_averaged_and_columns_added():
    net = filled(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4)))
    channels = find_channels(net, (5,))
    groups = channels.families()[0].groups
    cell = Cell((groups[1], groups[2], groups[5]), (0.5, 0.25, 0.25), (1.0, 2.0, 3.0))
    merged = merge_channels(net, channels, [cell])
    row = 0.5 * net[0].weight[1] + 0.25 * net[0].weight[2] + 0.25 * net[0].weight[5]
    column = net[2].weight[:, 1] + 2 * net[2].weight[:, 2] + 3 * net[2].weight[:, 5]
    torch.testing.assert_close(merged[0].weight[1], row, rtol=0, atol=SLACK)
    torch.testing.assert_close(merged[2].weight[:, 1], column, rtol=0, atol=SLACK)
    assert torch.equal(merged[2].bias, net[2].bias)
    assert torch.equal(merged[0].weight[[0, 2, 3]], net[0].weight[[0, 3, 4]])


def test_merging_and_removing_other_channels_commute():
    net = filled(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)))
    channels, cells = twins(net, (3, 8, 8), ("0",), [(0, 1)])
    one = remove_channels(net, channels, [3])  # groups 4, 5 are 3, 4 from now on; 0 and 1 stay
    one = merge_channels(one, find_channels(one, (3, 8, 8)), cells)
    other = merge_channels(net, channels, cells)  # group 1 is gone: 3 is 2 from now on
    other = remove_channels(other, find_channels(other, (3, 8, 8)), [2])
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_mean_cells_take_importance_and_survive_none():
    family = Family(("0",), (10, 11, 12, 13))
    plain, single = mean_cells(family, torch.tensor([0, 0, 0, 1]))
    assert plain.groups == (10, 11, 12)
    assert plain.average == pytest.approx((1 / 3,) * 3)
    assert single.add == (1.0,)
    weighted, _ = mean_cells(family, torch.tensor([0, 0, 0, 1]), torch.tensor([3.0, 1.0, 0.0, 5.0]))
    assert weighted.average == pytest.approx((0.75, 0.25, 0.0))
    nobody, _ = mean_cells(family, torch.tensor([0, 0, 0, 1]), torch.zeros(4))
    assert nobody.average == pytest.approx((1 / 3,) * 3)


@pytest.mark.parametrize("name", ["resnet8_drawn", "mobilenet_drawn"])
def test_a_trained_network_with_twins_loses_them_and_nothing_else(name):
    net = fold_batchnorm(pretrained.load(name)).double()
    channels = find_channels(net, (3, 32, 32))
    cells = []
    for family in channels.families():
        if why_not(net, channels, family):
            continue
        channels, more = twins(net, (3, 32, 32), family.layers, [(0, 1)])
        cells += more
    merged = merge_channels(net, channels, cells)
    x = chance(3, 3, 32, 32)
    torch.testing.assert_close(merged(x), net(x), rtol=1e-9, atol=1e-9)
    assert len(cells) >= 3


def test_nothing_chosen_changes_nothing():
    model = pretrained.load("resnet8_drawn")
    same = merge_network(model, (3, 32, 32), lambda found: [])
    x = chance(2, 3, 32, 32).float()
    assert torch.equal(same(x), fold_batchnorm(model)(x))


def test_channels_with_numbers_of_their_own_in_between_are_refused():
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3))
    with pytest.raises(UnsupportedModel, match=r"2 \(BatchNorm2d\) has numbers of its own"):
        merge_network(net, (3, 8, 8), lambda found: [])


@pytest.mark.parametrize(
    "between, words",
    [
        (nn.LocalResponseNorm(3), "LocalResponseNorm"),
        (nn.GroupNorm(1, 6, affine=False), "GroupNorm"),
        (nn.Conv2d(6, 6, 3, groups=3), "has 3 groups"),
    ],
)
def test_what_mixes_channels_is_refused(between, words):
    net = nn.Sequential(nn.Conv2d(3, 6, 3), between, nn.Conv2d(6, 4, 3))
    with pytest.raises(UnsupportedModel, match=words):
        merge_network(net, (3, 10, 10), lambda found: [])


def test_a_frozen_residual_stream_is_refused_with_its_reason():
    net = fold_batchnorm(pretrained.load("resnet8_drawn"))
    channels = find_channels(net, (3, 32, 32))
    frozen = sorted(channels.frozen)[:2]
    with pytest.raises(ValueError, match=f"group {frozen[0]} cannot be merged"):
        merge_channels(net, channels, [Cell(tuple(frozen), (0.5, 0.5), (1.0, 1.0))])


def test_bad_cells_are_refused():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    channels = find_channels(net, (3,))

    def merge(*groups):
        return merge_channels(net, channels, [Cell(each, (1.0,) * len(each), (1.0,) * len(each)) for each in groups])

    with pytest.raises(ValueError, match="group 1 occurs twice"):
        merge((0, 1), (1, 2))
    with pytest.raises(ValueError, match="group 4 is not of the family of group 0"):
        merge((0, 4))
    with pytest.raises(ValueError, match="group 8 cannot be merged: output"):
        merge((8, 9))
    with pytest.raises(ValueError, match="group 77 is not of the family"):
        merge((0, 77))
    with pytest.raises(ValueError, match="one number of each kind per group"):
        merge_channels(net, channels, [Cell((0, 1), (1.0,), (1.0, 1.0))])
    with pytest.raises(ValueError, match="there is no group 99"):
        candidate(net, channels, Family(("0",), (0, 99)))
