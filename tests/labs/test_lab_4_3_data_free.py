"""Lab 4.3: its functions are the library's, in every form that a layer of the two networks has.

Fairness of the marking (wrong answers lose, right ones keep their points) is what ``frugal labs verify`` holds.
"""

import doctest
import math

import pytest
import torch
from torch import nn

from frugal.quant.affine import choose_qparams, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.methods import dfq, spiq
from frugal.quant.statistics import clipped_normal, input_moments
from frugal.quant.transforms import Link, rescale_

LAB = "lab_4_3_data_free"


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer(depthwise: bool, seed: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(6, 6, 3, groups=6 if depthwise else 1)
    conv.weight.data, conv.bias.data = chance(*conv.weight.shape, seed=seed), chance(6, seed=seed + 1)
    return conv


def test_equalising_factors_are_the_librarys(lab):
    first, second = chance(6, 3, 3, 3), chance(6, 5, seed=1)
    first[2] = second[4] = 0
    assert torch.equal(lab["equalising_factors"](first, second), dfq.equalising_factors(first, second))


@pytest.mark.parametrize("depthwise", [False, True])
def test_rescale_is_the_librarys(lab, depthwise):
    pair = nn.ModuleDict({"a": layer(False), "b": layer(depthwise, seed=7)})
    factors = chance(6, seed=3).exp()
    w1, b1, w2 = lab["rescale"](pair["a"].weight, pair["a"].bias, pair["b"].weight, factors, depthwise)
    rescale_(pair, Link("a", None, "b", True), factors)
    assert torch.equal(w1, pair["a"].weight)
    assert torch.equal(b1, pair["a"].bias)
    assert torch.equal(w2, pair["b"].weight)


def test_triple_factors_are_where_pairs_come_to_rest(lab):
    r1, r2, r3 = (chance(9, seed=seed).double().exp() for seed in range(3))
    s12, s23 = lab["triple_factors"](r1, r2, r3)
    for first, second in ((r1 / s12, r2 * s12 / s23), (r2 * s12 / s23, r3 * s23)):
        still = dfq.equalising_factors(first[:, None], second[:, None])
        assert (still - 1).abs().max() <= 16 * torch.finfo(torch.float64).eps


@pytest.mark.parametrize("high", [math.inf, 6.0])
def test_the_mean_behind_a_relu_is_the_librarys(lab, high):
    beta, gamma = 3 * chance(200), 2 * chance(200, seed=1)
    gamma[::7] = 0
    theirs = clipped_normal(beta, gamma, 0.0, high)[0]
    room = 4 * torch.finfo(torch.float32).eps * (beta.abs() + gamma.abs())
    assert ((lab["mean_after_relu"](beta, gamma, high) - theirs).abs() <= room).all()


@pytest.mark.parametrize("depthwise", [False, True])
def test_the_corrected_bias_is_the_librarys(lab, depthwise):
    conv, rounded, mean = layer(depthwise), layer(depthwise, seed=5).weight.detach(), chance(6, seed=9)
    weight, bias = conv.weight.detach(), conv.bias.detach()
    theirs = bias - dfq.through_weight(rounded - weight, mean, conv.groups)
    assert torch.allclose(lab["correct_bias"](bias, weight, rounded, mean, depthwise), theirs, atol=1e-5)


@pytest.mark.parametrize("depthwise", [False, True])
def test_absorbing_is_the_librarys(lab, depthwise):
    norm, second = nn.BatchNorm2d(6), layer(depthwise)
    norm.weight.data, norm.bias.data = chance(6), 4 + chance(6, seed=1)
    moved = dfq.absorb_biases(nn.Sequential(nn.Conv2d(1, 6, 1), norm, nn.ReLU(), second))
    beta, bias = lab["absorb"](
        *(each.detach() for each in (norm.bias, norm.weight, second.weight, second.bias)), depthwise
    )
    assert torch.equal(beta, moved[1].bias)
    assert torch.allclose(bias, moved[3].bias, atol=1e-5)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("num_bits", [3, 8])
def test_input_scales_are_the_librarys(lab, relu, num_bits):
    norm = nn.BatchNorm2d(6)
    norm.weight.data, norm.bias.data = chance(6), chance(6, seed=1)
    net = nn.Sequential(nn.Conv2d(3, 6, 1), norm, nn.ReLU() if relu else nn.Identity(), nn.Conv2d(6, 2, 1))
    theirs = spiq.input_qparams(input_moments(net, (3, 4, 4))["3"], num_bits).scale
    ours = lab["input_scales"](norm.bias.detach(), norm.weight.detach(), num_bits, relu)
    assert torch.allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("num_bits", [3, 8])
def test_fold_inputs_gives_the_librarys_codes(lab, depthwise, num_bits):
    conv, scale = layer(depthwise), chance(6, seed=4).exp()
    folded = spiq.fold_input_scales(conv, scale).weight.detach()
    grid = choose_qparams(folded, num_bits, symmetric=True, granularity=PerChannel(0))
    codes, steps = lab["fold_inputs"](conv.weight.detach(), scale, num_bits, depthwise)
    assert torch.equal(codes, quantize(folded, grid))
    assert torch.equal(steps, grid.scale)


def test_every_example_in_the_stubs_runs(lab, cells):
    runner = doctest.DocTestRunner()
    for cell in cells:
        if cell.role == "solution":
            text = lab[cell.exercise].__doc__
            example = doctest.DocTestParser().get_doctest(text, dict(lab), cell.exercise, None, 0)
            assert example.examples, f"{cell.exercise} has no example"
            runner.run(example)
    assert runner.failures == 0
