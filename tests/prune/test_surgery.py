"""Surgery: fewer parameters, the same function where removed channels were constant, and refusals that say why."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from frugal.graph.channels import find_channels
from frugal.nets.pretrained import load
from frugal.prune.surgery import ConvWithConstants, remove_channels


def dead(layer, rows):
    """Zero the weights of some outputs: these emit a constant from now on."""
    with torch.no_grad():
        layer.weight[rows] = 0
    return layer


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid, nn.SiLU, nn.GELU, nn.Hardswish])
def test_neurons_without_weights_leave_without_a_trace(activation):
    net = nn.Sequential(nn.Linear(5, 6), activation(), nn.Linear(6, 3)).double()
    dead(net[0], [1, 4])
    x = torch.randn(7, 5, dtype=torch.float64)
    smaller = remove_channels(net, find_channels(net, (5,)), [1, 4], batches=[x])
    assert smaller[0].weight.shape == (4, 5)
    torch.testing.assert_close(smaller(x), net(x), rtol=0, atol=1e-12)


def test_without_absorption_the_error_is_what_the_equation_says():
    net = nn.Sequential(nn.Linear(5, 6), nn.Sigmoid(), nn.Linear(6, 3)).double()
    dead(net[0], [2])
    x = torch.randn(7, 5, dtype=torch.float64)
    smaller = remove_channels(net, find_channels(net, (5,)), [2])
    expected = net[2].weight[:, 2] * net[0].bias[2].sigmoid()
    torch.testing.assert_close(net(x) - smaller(x), expected.expand(7, 3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding, stride", [(0, 1), (1, 1), (2, 2)])
def test_constants_are_exact_at_padded_borders_too(padding, stride):
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.SiLU(), nn.Conv2d(6, 4, 3, stride, padding)).double()
    dead(net[0], [0, 5])
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    smaller = remove_channels(net, find_channels(net, (3, 9, 9)), [0, 5], batches=[x])
    torch.testing.assert_close(smaller(x), net(x), rtol=0, atol=1e-12)
    assert isinstance(smaller[2], ConvWithConstants) == bool(padding)
    other = torch.randn(1, 3, 13, 11, dtype=torch.float64)
    torch.testing.assert_close(smaller(other), net(other), rtol=0, atol=1e-12)


def test_a_constant_in_the_bias_would_be_wrong_at_the_border():
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False).double()
    exact = conv(torch.ones(1, 1, 6, 6, dtype=torch.float64))
    in_bias = conv.weight.sum()
    assert torch.allclose(exact[..., 1:-1, 1:-1], in_bias)
    assert not torch.allclose(exact[..., 0, :], in_bias)


def test_the_order_of_removal_does_not_matter():
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)).double()
    at_once = remove_channels(net, find_channels(net, (3, 9, 9)), [1, 3])
    first = remove_channels(net, find_channels(net, (3, 9, 9)), [3])
    then = remove_channels(first, find_channels(first, (3, 9, 9)), [1])
    for a, b in zip(at_once.state_dict().values(), then.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_parameters_fall_by_what_the_shapes_say():
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 5))
    before = sum(p.numel() for p in net.parameters())
    smaller = remove_channels(net, find_channels(net, (3, 9, 9)), [0])
    lost = before - sum(p.numel() for p in smaller.parameters())
    assert lost == (3 * 9 + 1) + 2 + 4 * 25
    assert smaller[1].num_features == 5
    assert len(smaller[1].running_var) == 5
    assert sum(p.numel() for p in net.parameters()) == before


@pytest.mark.parametrize("name, share", [("resnet8_drawn", 0.7), ("mobilenet_drawn", 0.6)])
def test_a_trained_network_gets_smaller_runs_and_can_be_trained(name, share):
    model = load(name)
    channels = find_channels(model, (3, 32, 32))
    groups = [group for family in channels.families() for group in family.groups[: len(family.groups) // 3]]
    smaller = remove_channels(model, channels, groups)
    y = smaller.train()(torch.randn(4, 3, 32, 32))
    F.cross_entropy(y, torch.zeros(4, dtype=torch.int64)).backward()
    assert all(p.grad is not None for p in smaller.parameters())
    assert sum(p.numel() for p in smaller.parameters()) < share * sum(p.numel() for p in model.parameters())


def test_bad_choices_are_refused():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    channels = find_channels(net, (3, 8, 8))
    with pytest.raises(ValueError, match="there is no group 9"):
        remove_channels(net, channels, [9])
    with pytest.raises(ValueError, match="cannot be removed: output"):
        remove_channels(net, channels, [4])
    with pytest.raises(ValueError, match="0 would lose all of its 4 channels"):
        remove_channels(net, channels, [0, 1, 2, 3])
    with pytest.raises(ValueError, match="no batch reached"):
        remove_channels(net, channels, [0], batches=[])


@pytest.mark.parametrize("kernel, padding, bias", [(3, 1, True), (1, 0, False), (3, 0, False)])
def test_a_layer_may_absorb_inputs_and_lose_outputs_at_once_and_once_more(kernel, padding, bias):
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.Sigmoid(), nn.Conv2d(6, 5, kernel, padding=padding, bias=bias), nn.Sigmoid(),
        nn.Conv2d(5, 2, 3, padding=1),
    ).double()  # fmt: skip
    dead(net[0], [0, 3])
    dead(net[2], [1, 2])
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    at_once = remove_channels(net, find_channels(net, (3, 9, 9)), [0, 3, 7, 8], batches=[x])
    torch.testing.assert_close(at_once(x), net(x), rtol=0, atol=1e-12)
    first = remove_channels(net, find_channels(net, (3, 9, 9)), [0, 7], batches=[x])
    then = remove_channels(first, find_channels(first, (3, 9, 9)), [2, 6], batches=[x])
    torch.testing.assert_close(then(x), net(x), rtol=0, atol=1e-12)
