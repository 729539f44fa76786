"""OCS: splitting changes nothing, halves the outlier, and costs no rounding error."""

import pytest
import torch
from torch import nn

from frugal.graph.fold import fold_batchnorm
from frugal.nets import pretrained
from frugal.quant.layers import quantizable_layers
from frugal.quant.methods import ocs
from frugal.quant.rounding import half_even, half_up


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def outlier_weight():
    weight = chance(6, 10, 3, 3)
    weight[2, 4, 1, 1] = 50.0
    return weight


@pytest.mark.parametrize("scale", [None, 0.25])
@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.3, 1.0])
def test_the_copies_add_up_to_the_weight(ratio, scale):
    weight = outlier_weight()
    split = ocs.split_weight(weight, ratio, scale)
    assert len(split.index) == weight.shape[1] + torch.tensor(ratio * weight.shape[1]).ceil().int()
    assert torch.allclose(split.merged(), weight, atol=1e-12)


def test_one_outlier_halves_with_each_split():
    ranges = [ocs.split_weight(outlier_weight(), splits / 10).weight.abs().max().item() for splits in (0, 1, 2, 3)]
    assert ranges == [50.0, 25.0, 25.0, 12.5]  # the second split takes the other half


def test_the_range_never_grows():
    ranges = [ocs.split_weight(outlier_weight(), splits / 10).weight.abs().max().item() for splits in range(11)]
    assert ranges == sorted(ranges, reverse=True)


def test_a_split_of_a_split_reads_the_original_channel():
    weight = torch.tensor([[8.0, 1.0]])
    assert ocs.split_weight(weight, 1.0).index.tolist() == [0, 1, 0, 0]


def test_halves_rounded_up_add_up_to_the_whole_rounded_up():
    w = torch.cat([torch.linspace(-9, 9, 3601, dtype=torch.float64), torch.arange(-20, 20) / 2])
    assert torch.equal(half_up((w - 0.5) / 2) + half_up((w + 0.5) / 2), half_up(w))


def test_with_halves_to_even_the_identity_fails_at_ties():
    w = torch.tensor([1.5, 2.5])
    error = half_even((w - 0.5) / 2) + half_even((w + 0.5) / 2) - half_even(w)
    assert error.tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5])
def test_a_split_quantized_weight_is_the_quantized_weight(ratio):
    weight = outlier_weight()
    split, qparams = ocs.quantize_weight(weight, 4, ratio)
    codes = split.weight / qparams.scale
    assert torch.allclose(codes, codes.round(), atol=1e-9)
    assert codes.abs().max() <= 7
    merged_codes = split.merged() / qparams.scale
    assert torch.allclose(merged_codes, half_up(weight / qparams.scale), atol=1e-9)


def test_equal_halves_err_twice_as_much():
    w = 4 * chance(100_000)
    naive = (2 * half_up(w / 2) - w).abs().mean()
    aware = (half_up((w - 0.5) / 2) + half_up((w + 0.5) / 2) - w).abs().mean()
    assert naive.item() == pytest.approx(0.5, abs=0.01)
    assert aware.item() == pytest.approx(0.25, abs=0.005)


@pytest.mark.parametrize("name", ["resnet8_drawn", "mobilenet_drawn"])
def test_a_split_network_computes_the_same(name):
    model = fold_batchnorm(pretrained.load(name)).double()
    split = ocs.split_channels(model, ratio=0.1)
    x = chance(2, 3, 32, 32).abs()
    assert (split(x) - model(x)).abs().max() < 1e-12 * model(x).abs().max()
    grown = [m for m in split.modules() if isinstance(m, ocs.SplitLayer)]
    assert grown
    assert not isinstance(split.get_submodule(next(iter(quantizable_layers(model)))), ocs.SplitLayer)  # 3 channels
    assert all(getattr(layer.layer, "groups", 1) == 1 for layer in grown)


def test_linear_layers_are_split_on_their_last_axis():
    layer = nn.Linear(10, 3).double()
    split = ocs.SplitLayer(layer, ocs.split_weight(layer.weight, 0.2))
    x = chance(2, 5, 10)
    assert torch.allclose(split(x), layer(x), atol=1e-14)


def test_an_outlier_costs_less_after_a_split():
    weight = outlier_weight()
    errors = [(ocs.quantize_weight(weight, 4, ratio)[0].merged() - weight).pow(2).sum().item() for ratio in (0, 0.4)]
    assert errors[1] < errors[0] / 2


def test_bad_input():
    with pytest.raises(ValueError, match="ratio"):
        ocs.split_weight(chance(3, 4), 1.5)
    with pytest.raises(ValueError, match=r"\[out, in"):
        ocs.split_weight(chance(3))
    with pytest.raises(ValueError, match="scale"):
        ocs.split_weight(chance(3, 4), scale=0.0)
    zero, qparams = ocs.quantize_weight(torch.zeros(2, 3), 4)
    assert torch.equal(zero.merged(), torch.zeros(2, 3))
    assert qparams.scale == 1
