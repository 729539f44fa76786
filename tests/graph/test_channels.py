"""Coupled channels: names find what residual sums, concatenations, groups, shuffles and gates tie together."""

import pytest
import torch
from torch import nn

from frugal.core.errors import UnsupportedModel
from frugal.graph.channels import find_channels
from frugal.nets.mobilenet_v2 import mobilenet_v2_small
from frugal.nets.resnet import resnet8_cifar


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.inner = nn.Conv2d(4, 6, 3, padding=1)
        self.back = nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(4 * 5 * 5, 2)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = x + self.back(self.inner(x).relu())
        return self.head(torch.flatten(x, 1))


def families(model, shape):
    return {family.layers: len(family.groups) for family in find_channels(model, shape).families()}


def test_a_sum_ties_the_layers_that_write_to_it():
    assert families(Residual(), (3, 5, 5)) == {("stem", "back"): 4, ("inner",): 6}


def test_a_flattened_map_reads_every_channel_in_many_places():
    channels = find_channels(Residual(), (3, 5, 5))
    (slot,) = (slot for slot in channels.slots if (slot.module, slot.axis) == ("head", 1))
    assert torch.equal(channels.groups_of(slot), torch.arange(4).repeat_interleave(25))


def test_what_the_network_returns_is_frozen_with_the_reason():
    channels = find_channels(Residual(), (3, 5, 5))
    assert set(channels.frozen.values()) == {"output: it is what the network returns"}
    assert len(channels.frozen) == 2


def test_a_concatenation_keeps_channels_apart_and_in_order():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(5, 1, 1)

        def forward(self, x):
            return self.c(torch.cat([self.a(x), self.b(x)], dim=1))

    channels = find_channels(Joined(), (3, 4, 4))
    assert families(Joined(), (3, 4, 4)) == {("a",): 2, ("b",): 3}
    (read,) = (slot for slot in channels.slots if (slot.module, slot.role) == ("c", "in"))
    assert len(channels.groups_of(read).unique()) == 5


def test_a_depthwise_convolution_keeps_the_channels_it_reads():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 2, 1))
    assert families(net, (3, 6, 6)) == {("0", "1"): 4}  # channel i makes channels 2i and 2i + 1


def test_groups_of_a_convolution_lose_the_same_places():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 3, groups=2), nn.Conv2d(4, 2, 1))
    assert families(net, (3, 6, 6)) == {("0",): 4, ("1",): 2}


def test_a_gate_goes_with_the_channels_it_opens():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gate, self.out = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x):
            x = self.conv(x)
            return self.out(x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid())

    assert families(Gated(), (3, 4, 4)) == {("conv", "gate"): 4}


def test_a_shuffle_is_followed_place_by_place():
    class Shuffled(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)

        def forward(self, x):
            x = self.a(x)
            n, c, h, w = x.shape
            return self.b(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))

    channels = find_channels(Shuffled(), (3, 4, 4))
    (read,) = (slot for slot in channels.slots if (slot.module, slot.role) == ("b", "in"))
    assert channels.groups_of(read).tolist() == [0, 0, 1, 1, 2, 2]  # both halves lose the same place


def test_what_is_not_known_freezes_and_says_so():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.b(torch.softmax(self.a(x), dim=-1))

    channels = find_channels(Mixing(), (3,))
    assert channels.families() == []
    assert "softmax mixes its channels" in " ".join(channels.frozen.values())


def test_a_shared_layer_has_one_set_of_channels():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.shared, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(self.shared(self.shared(self.first(x))))

    assert families(Twice(), (3,)) == {("first", "shared"): 4}


def test_real_networks_have_the_families_that_their_blocks_suggest():
    found = families(resnet8_cifar(), (3, 32, 32))
    assert found["layer1.0.conv1",] == 16
    assert all(count > 1 for count in families(mobilenet_v2_small(), (3, 32, 32)).values())


def test_channels_that_are_padded_on_are_frozen_and_padded_pixels_are_not():
    class Padded(nn.Module):
        def __init__(self, pads):
            super().__init__()
            self.a, self.b, self.pads = nn.Conv2d(3, 4, 1), nn.LazyConv2d(2, 1), pads
            self(torch.zeros(1, 3, 4, 4))

        def forward(self, x):
            return self.b(nn.functional.pad(self.a(x), self.pads))

    assert families(Padded((1, 1, 1, 1)), (3, 4, 4)) == {("a",): 4}
    assert families(Padded((0, 0, 0, 0, 1, 1)), (3, 4, 4)) == {}


def test_the_mode_of_the_network_stays_and_bad_shapes_are_named():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    find_channels(net, (3, 8, 8))
    assert net.training
    assert net[1].training
    with pytest.raises(UnsupportedModel, match=r"0 .* cannot be followed"):
        find_channels(net, (5, 8, 8))
