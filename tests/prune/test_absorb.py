"""Absorbing: a silenced channel is a constant, and the network without it computes the same, coupled or not."""

import pytest
import torch
from torch import nn

from frugal.graph.channels import find_channels
from frugal.prune.absorb import channel_masks, remove_silent, remove_with_means
from frugal.prune.masks import masked

SHAPE = (2, 7, 6)
SLACK = 1e-12  # of sums of some hundred float64 products


class Residual(nn.Module):
    """``branch`` and ``back`` lose inputs and outputs at once; one is padded, one has no bias yet."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.back = nn.Conv2d(4, 4, 1, bias=False)
        self.inner = nn.Conv2d(4, 6, 3, padding=2, stride=2)
        self.last = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.branch(x.sigmoid())
        x = x + self.back(x.sigmoid())
        return self.last(self.inner(torch.nn.functional.silu(x)).sigmoid())


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Residual().double()


CHOICES = {"stream": [0, 2], "inner": [4, 9], "both": [1, 3, 5, 6, 8]}


@pytest.mark.parametrize("choice", CHOICES)
def test_without_silent_channels_the_network_computes_what_it_did_with_them(choice, net):
    channels = find_channels(net, SHAPE)
    assert [family.groups for family in channels.families()] == [(0, 1, 2, 3), (4, 5, 6, 7, 8, 9)]
    groups = CHOICES[choice]
    silent = masked(net, channel_masks(net, channels, groups))
    smaller = remove_silent(net, channels, groups, SHAPE)
    for size in ((7, 6), (11, 4)):  # what is absorbed does not depend on the size of the picture
        x = torch.randn(3, 2, *size, dtype=torch.float64)
        torch.testing.assert_close(smaller(x), silent(x), rtol=0, atol=SLACK)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in net.parameters())


def test_masks_are_false_in_the_rows_that_make_a_channel_and_nowhere_else(net):
    masks = channel_masks(net, find_channels(net, SHAPE), [1, 5])
    assert {name: (~mask).flatten(1).all(1).nonzero().flatten().tolist() for name, mask in masks.items()} == {
        "stem.weight": [1], "branch.weight": [1], "back.weight": [1], "inner.weight": [1]
    }  # fmt: skip
    assert all(mask.flatten(1).all(1).sum() == len(mask) - 1 for mask in masks.values())


def test_no_group_is_no_mask_and_a_copy(net):
    channels = find_channels(net, SHAPE)
    assert channel_masks(net, channels, []) == {}
    same = remove_silent(net, channels, [], SHAPE)
    assert same is not net
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), net.parameters(), strict=True))


def test_the_mean_of_a_constant_is_the_constant(net):
    channels = find_channels(net, SHAPE)
    silent = masked(net, channel_masks(net, channels, [0, 7]))
    x = torch.randn(5, *SHAPE, dtype=torch.float64)
    smaller = remove_with_means(silent, channels, [0, 7], [x])
    torch.testing.assert_close(smaller(x), silent(x), rtol=0, atol=SLACK)


def test_the_model_stays_as_it_was(net):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    remove_silent(net, find_channels(net, SHAPE), [0, 5], SHAPE)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_cannot_go_is_refused(net):
    channels = find_channels(net, SHAPE)
    with pytest.raises(ValueError, match="cannot be removed: output"):
        remove_silent(net, channels, [10], SHAPE)
    with pytest.raises(ValueError, match="there is no group 99"):
        remove_silent(net, channels, [99], SHAPE)
    with pytest.raises(ValueError, match="would lose all of its 4 channels"):
        remove_silent(net, channels, [0, 1, 2, 3], SHAPE)


def test_a_second_surgery_silences_what_the_first_one_absorbed():
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.Sigmoid(), nn.Conv2d(6, 5, 3, padding=1), nn.Sigmoid(),
        nn.Conv2d(5, 2, 3, padding=1),
    ).double()  # fmt: skip
    channels = find_channels(net, SHAPE)
    silent = masked(net, channel_masks(net, channels, [0, 3, 7, 8]))
    first = remove_silent(net, channels, [0, 7], SHAPE)
    then = remove_silent(first, find_channels(first, SHAPE), [2, 6], SHAPE)  # what were 3 and 8
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(then(x), silent(x), rtol=0, atol=SLACK)
