"""SPIQ: folding input scales changes nothing, one integer product suffices, and no data is needed."""

import pytest
import torch
from torch import nn

from frugal.data import drawn
from frugal.measure.accuracy import accuracy
from frugal.nets import pretrained
from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.methods import spiq
from frugal.quant.statistics import normal
from frugal.quant.transforms import unequalise


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LAYERS = [nn.Linear(6, 4), nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 4, 3, groups=2)]


def input_of(layer):
    return chance(5, 6) if isinstance(layer, nn.Linear) else chance(2, 6, 7, 7)


@pytest.mark.parametrize("layer", LAYERS)
def test_folding_scales_into_the_weight_changes_nothing(layer):
    layer = layer.double()
    x, scale = input_of(layer), chance(6, seed=1).exp()
    divided = x / scale.view(1, -1, *[1] * (x.ndim - 2))
    assert (spiq.fold_input_scales(layer, scale)(divided) - layer(x)).abs().max() < 1e-13


@pytest.mark.parametrize("layer", LAYERS)
def test_the_integer_product_is_the_product_of_what_the_codes_stand_for(layer):
    layer = layer.double()
    x = input_of(layer)
    inputs = choose_qparams(x, 8, symmetric=True, granularity=PerChannel(1))
    mine = spiq.SpiqLayer(layer, inputs)
    codes = mine.input_codes(x)
    assert torch.equal(mine.sums(codes), mine.sums(codes).round())
    x_hat = dequantize(codes, inputs)
    reference = torch.func.functional_call(layer, {"weight": mine.dequantized_weight()}, (x_hat,))
    assert torch.allclose(mine(x), reference, rtol=1e-9, atol=1e-9)


def test_it_is_smoothquant_with_all_of_the_spread_in_the_weight():
    """s_j = max|X_j|^α / max|W_j|^(1-α) at α = 1, then per-channel weights and per-tensor inputs: the same integers."""
    layer = nn.Linear(6, 4, bias=False).double()
    x = input_of(layer) * torch.logspace(-2, 2, 6).double()
    largest = x.abs().amax(0)
    inputs = choose_qparams(x, 8, symmetric=True, granularity=PerChannel(1))
    smooth = x / largest
    step = choose_qparams(smooth, 8, symmetric=True)
    weight = layer.weight.detach() * largest
    per_channel = choose_qparams(weight, 8, symmetric=True, granularity=PerChannel(0))
    expected = dequantize(quantize(smooth, step), step) @ dequantize(quantize(weight, per_channel), per_channel).T
    assert torch.allclose(spiq.SpiqLayer(layer, inputs)(x), expected, rtol=1e-9, atol=1e-12)


def test_channels_of_very_different_size_err_less_than_with_one_scale():
    layer = nn.Linear(32, 16, bias=False).double()
    x = (
        chance(500, 32)
        * torch.logspace(0, 3, 32).double()[torch.randperm(32, generator=torch.Generator().manual_seed(0))]
    )
    with torch.no_grad():
        layer.weight.div_(x.std(0))  # small channels matter as much as large ones
    y = layer(x)
    whole = choose_qparams(x, 8, symmetric=True)
    static = layer(dequantize(quantize(x, whole), whole))
    mine = spiq.SpiqLayer(layer, choose_qparams(x, 8, symmetric=True, granularity=PerChannel(1)))(x)
    assert (mine - y).norm() < 0.2 * (static - y).norm()


@pytest.mark.parametrize("reach", [3.0, 6.0])
def test_practically_every_value_has_a_code(reach):
    beta, gamma = chance(8), chance(8, seed=1)
    qparams = spiq.input_qparams(normal(beta, gamma), 8, reach)
    x = beta + gamma * chance(20_000, 8, seed=2)
    limit = qparams.scale.double() * qparams.quant_max
    share = (x.abs() <= limit * (1 + 1e-6)).double().mean(0)
    two_sided_tail = torch.special.erfc(torch.tensor(reach / 2**0.5)).item()
    assert (share >= 1 - two_sided_tail - 5 * (two_sided_tail / 20_000) ** 0.5).all()


def test_after_relu_codes_are_unsigned():
    moments = normal(torch.tensor([1.0, -9.0]), torch.tensor([1.0, 1.0]))
    cut = type(moments)(moments.mean, moments.var, moments.low.clamp(min=0), moments.high.clamp(min=0))
    qparams = spiq.input_qparams(cut, 8)
    assert (qparams.quant_min, qparams.quant_max) == (0, 255)
    assert qparams.scale.tolist() == pytest.approx([7 / 255, 1.0])  # the second channel never wakes: any step will do


@pytest.mark.parametrize("spoil", [False, True])
def test_eight_bits_without_data_keep_the_accuracy_even_of_the_twin(spoil):
    model = pretrained.load("resnet8_drawn")
    images, labels = drawn.draw(400, split="test")
    full = accuracy(model, images, labels)
    pixels = normal(torch.full((3,), 0.45), torch.full((3,), 0.25))
    quantized = spiq.quantize_network(unequalise(model) if spoil else model, (3, 32, 32), pixels=pixels)
    assert accuracy(quantized, images, labels) > full - 2  # 8 of 400 pictures


def test_bad_input():
    with pytest.raises(ValueError, match="reach"):
        spiq.input_qparams(normal(torch.zeros(2), 1.0), 8, reach=0)
    with pytest.raises(ValueError, match="num_bits"):
        spiq.input_qparams(normal(torch.zeros(2), 1.0), 1)
    with pytest.raises(ValueError, match="6 numbers"):
        spiq.fold_input_scales(nn.Linear(6, 2), torch.ones(5))
