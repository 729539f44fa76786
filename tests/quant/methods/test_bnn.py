"""Binarized networks [18]: counting bits and comparing whole numbers is the trained network, exactly."""

import pytest
import torch
from torch import nn

from frugal.kernels.bits import Linear1, pack, unpack
from frugal.quant.methods.bnn import (
    BinaryLayer,
    PackedLayer,
    Threshold,
    affine_of,
    binary_activation,
    dot_bytes,
    threshold_of,
)
from frugal.quant.shift import ShiftBatchNorm


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def random_norm(channels, seed=0, shift=False):
    """A batch norm in eval mode with factors of both signs and one of 0."""
    norm = (ShiftBatchNorm(channels) if shift else nn.BatchNorm1d(channels)).double().eval()
    norm.weight.data = torch.randn(channels, generator=rng(seed), dtype=torch.float64)
    norm.weight.data[0] = 0
    norm.bias.data = torch.randn(channels, generator=rng(seed + 1), dtype=torch.float64)
    norm.running_mean.copy_(3 * torch.randn(channels, generator=rng(seed + 2)))
    norm.running_var.copy_(torch.rand(channels, generator=rng(seed + 3)) * 20 + 0.1)
    return norm


@pytest.mark.parametrize("shift", [False, True])
def test_the_threshold_is_batch_norm_and_sign_for_every_sum_and_both_signs_of_gamma(shift):
    norm = random_norm(60, shift=shift)
    sums = torch.arange(-80, 81)[:, None].expand(-1, 60)
    wanted = norm(sums.double()) >= 0
    assert torch.equal(threshold_of(norm)(sums), wanted)
    assert 0 < int(threshold_of(norm).turned.sum()) < 60


@pytest.mark.parametrize("bias, always", [(0.5, True), (0.0, True), (-0.5, False)])
def test_a_gamma_of_0_leaves_the_sign_of_the_bias(bias, always):
    norm = nn.BatchNorm1d(1).eval()
    norm.weight.data.zero_()
    norm.bias.data.fill_(bias)
    assert threshold_of(norm)(torch.tensor([[-1000], [0], [1000]])).flatten().tolist() == [always] * 3


def test_a_sum_exactly_on_the_bound_is_positive_for_either_sign():
    norm = nn.BatchNorm1d(2, eps=0.0).double().eval()
    norm.running_mean.copy_(torch.tensor([3.0, 3.0]))
    norm.weight.data = torch.tensor([1.0, -1.0], dtype=torch.float64)
    assert threshold_of(norm)(torch.tensor([[2, 2], [3, 3], [4, 4]])).tolist() == [[0, 1], [1, 1], [1, 0]]


def test_activations_are_signs_with_the_gradient_of_hard_tanh():
    x = torch.tensor([-1.5, -1.0, 0.0, 0.3, 1.5], requires_grad=True)
    y = binary_activation(x)
    y.sum().backward()
    assert y.tolist() == [-1, -1, 1, 1, 1]
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("sizes", [(65, 33, 7), (64, 128, 10), (100, 1, 3)])
def test_a_packed_network_answers_what_the_trained_one_does(sizes, shift):
    torch.manual_seed(0)
    hidden = BinaryLayer(*sizes[:2], shift=shift).double()
    last = BinaryLayer(*sizes[1:], last=True, shift=shift).double()
    network = nn.Sequential(hidden, last)
    x = torch.where(torch.rand(200, sizes[0], generator=rng()) < 0.5, -1.0, 1.0).double()
    network(x)  # gives batch norm its statistics
    network.eval()
    first, second = PackedLayer(hidden), PackedLayer(last)
    between = first(pack(x))
    assert torch.equal(unpack(between).double(), hidden(x))
    logits = second(between)
    assert torch.allclose(logits.double(), network(x), atol=1e-4)  # the packed one ends in float32
    assert torch.equal(logits.argmax(1), network(x).argmax(1))


def test_the_first_layer_takes_bytes_one_bit_at_a_time():
    codes = torch.randint(0, 256, (9, 70), generator=rng(), dtype=torch.uint8)
    w = torch.randn(11, 70, generator=rng(1))
    wanted = codes.long() @ torch.where(w >= 0, 1, -1).T
    assert torch.equal(dot_bytes(codes, Linear1(w)), wanted)
    layer = BinaryLayer(70, 11).eval()
    assert torch.equal(PackedLayer(layer)(codes).words, pack(layer(codes.float())).words)


def test_packed_weights_take_a_32nd():
    assert PackedLayer(BinaryLayer(256, 64)).size_bytes * 32 == 256 * 64 * 4


def test_a_small_binary_network_learns():
    torch.manual_seed(0)
    x = torch.where(torch.rand(512, 20, generator=rng()) < 0.5, -1.0, 1.0)
    y = (x[:, :7].sum(1) > 0).long()
    network = nn.Sequential(BinaryLayer(20, 64), BinaryLayer(64, 2, last=True))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
        for layer in network:
            layer.clip_()
    assert all(layer.weight.abs().max() <= 1 for layer in network)
    assert (network.eval()(x).argmax(1) == y).float().mean() > 0.9


def test_a_norm_without_statistics_and_wrong_codes_are_refused():
    with pytest.raises(TypeError, match="running statistics"):
        affine_of(nn.BatchNorm1d(3, track_running_stats=False))
    with pytest.raises(TypeError, match="got LayerNorm"):
        affine_of(nn.LayerNorm(3))
    with pytest.raises(TypeError, match="uint8"):
        dot_bytes(torch.zeros(2, 3), Linear1(torch.ones(1, 3)))
    assert Threshold(torch.tensor([0]), torch.tensor([False]))(torch.tensor([[0]])).item()
