"""Lab 4.2: its own functions are the library's, and its network is exact in integers.

Fairness of the marking (wrong answers lose, right ones keep their points) is what ``frugal labs verify`` holds.
"""

import doctest
import re

import pytest
import torch
from torch import nn

from frugal.graph.fold import fold_batchnorm
from frugal.kernels import reference
from frugal.quant.affine import QParams, choose_qparams, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.methods.integer_only import (
    IntegerLinear,
    factorised_sums,
    quantize_bias,
    quantize_multiplier,
    requantize,
    requantize_exactly,
    requantize_gemmlowp,
)

LAB = "lab_4_2_integer_only"


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(42)


def parameters(scale: float, zero_point: int) -> QParams:
    return QParams(torch.tensor(scale), torch.tensor(zero_point, dtype=torch.int32), -128, 127)


def test_fold_norm_is_the_librarys(lab, rng):
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)).eval()
    conv, norm = net
    for each in (norm.weight, norm.bias, norm.running_mean):
        each.data = torch.randn(5, generator=rng)
    norm.running_var.data = torch.rand(5, generator=rng)
    vectors = (norm.weight.detach(), norm.bias.detach(), norm.running_mean, norm.running_var)
    weight, bias = lab["fold_norm"](conv.weight.detach(), conv.bias.detach(), *vectors, norm.eps)
    folded = fold_batchnorm(net)[0]
    torch.testing.assert_close(weight, folded.weight.detach())
    torch.testing.assert_close(bias, folded.bias.detach())


@pytest.mark.parametrize("x_zero_point", [-128, 0, 77])
def test_fold_bias_is_what_the_librarys_sums_give_beside_the_bare_products(lab, rng, x_zero_point):
    q_x = torch.randint(-128, 128, (6, 20), generator=rng)
    q_w = torch.randint(-128, 128, (4, 20), generator=rng).to(torch.int8)
    zeros = torch.randint(-9, 9, (4,), generator=rng, dtype=torch.int32)
    bias, step = torch.randn(4, generator=rng), torch.rand(4, generator=rng).double() * 1e-3
    folded = lab["fold_bias"](bias, q_w, step, x_zero_point, zeros)
    bare = q_x @ q_w.long().T - q_x.sum(1, keepdim=True) * zeros
    whole = quantize_bias(bias, step, torch.ones(1)).long()
    assert torch.equal(bare + folded, factorised_sums(q_x, q_w, x_zero_point, zeros) + whole)


@pytest.mark.parametrize("relu", [False, True])
def test_a_layer_of_the_labs_functions_gives_the_librarys_codes(lab, rng, relu):
    x, weight, bias = (torch.randn(*shape, generator=rng) for shape in ((40, 30), (7, 30), (7,)))
    on_x, on_w = choose_qparams(x), choose_qparams(weight, symmetric=True, granularity=PerChannel(0))
    on_y = choose_qparams(x @ weight.T + bias)
    q_x, q_w, step = quantize(x, on_x), quantize(weight, on_w), on_x.scale.double() * on_w.scale.double()
    zero = int(on_x.zero_point)
    folded = lab["fold_bias"](bias, q_w, step, zero, on_w.zero_point)
    acc = lab["integer_conv"](q_x[:, :, None, None], q_w[:, :, None, None], folded, zero).flatten(1)
    multiplier, shift = torch.tensor([lab["fixed_point"](each) for each in (step / on_y.scale).tolist()]).T
    codes = lab["to_codes"](lab["round_once"](acc, multiplier, shift), on_y, "relu" if relu else "none")
    assert torch.equal(codes, IntegerLinear.from_float(weight, bias, on_x, on_w, on_y, relu)(q_x))


def test_fixed_point_at_31_bits_is_the_librarys(lab, rng):
    for scale in [1.0, 0.5, 1 - 2.0**-40, *torch.rand(200, generator=rng).double().tolist()]:
        multiplier, shift = quantize_multiplier(scale)
        assert lab["fixed_point"](scale) == (multiplier, 31 + shift)


@pytest.mark.parametrize("shift", [31, 32, 37, 45])
def test_both_roundings_are_the_librarys(lab, rng, shift):
    acc = torch.randint(-(2**20), 2**20, (500, 3), generator=rng).int()
    multiplier = torch.randint(2**30, 2**31, (3,), generator=rng)
    y, library = parameters(1.0, 5), (acc, multiplier, torch.full((3,), shift - 31))
    for name, theirs in (("round_once", requantize), ("round_twice", requantize_gemmlowp)):
        mine = lab["to_codes"](lab[name](acc, multiplier, torch.full((3,), shift)), y)
        assert torch.equal(mine, theirs(*library, y)), name
    exact = [requantize_exactly(a, int(multiplier[0]), shift - 31) for a in acc[:, 0].tolist()]
    assert lab["round_once"](acc[:, 0], multiplier[0], torch.tensor(shift)).tolist() == exact


def test_add_steps_and_mean_codes_lie_within_one_code_of_the_kernels(lab, rng):
    a, b, y = parameters(0.031, -4), parameters(0.0077, 90), parameters(0.029, 0)
    q_a, q_b = (torch.randint(-128, 128, (2, 5, 4, 4), generator=rng).to(torch.int8) for _ in range(2))
    ends = {"zero_point": 0, "low": -128, "high": 127}
    scales = {"scale_a": (a.scale / y.scale).item(), "scale_b": (b.scale / y.scale).item()}
    theirs = reference.add(q_a, q_b, **scales, zero_point_a=-4, zero_point_b=90, **ends)
    mine = lab["to_codes"](lab["add_steps"](q_a, q_b, a, b, y), y)
    assert (mine.int() - theirs.int()).abs().max() <= 1  # the kernels send halves to even, the lab sends them up
    nhwc = q_a.permute(0, 2, 3, 1).contiguous()
    means = reference.average_pool(nhwc, (4, 4), (1, 1), (0, 0), True, x_zero_point=0, scale=1.0, **ends)
    assert (lab["mean_codes"](q_a).int() - means.flatten(1).int()).abs().max() <= 1


def test_every_example_in_the_stubs_runs(lab, cells):
    runner = doctest.DocTestRunner()
    for exercise in [cell.exercise for cell in cells if cell.role == "solution"]:
        example = doctest.DocTestParser().get_doctest(lab[exercise].__doc__, dict(lab), exercise, None, 0)
        assert example.examples, f"{exercise} has no example"
        runner.run(example)
    assert runner.failures == 0


def test_the_points_on_the_cards_are_those_of_the_cells(cells):
    for cell in cells:
        if cell.role == "solution":
            card = next(each.source for each in cells if each.id == f"card-{cell.exercise.replace('_', '-')}")
            told = float(re.search(r"([\d.]+) pts", card)[1])
            assert told == sum(each.points for each in cells if each.exercise == cell.exercise)
    assert float(re.search(r"(\d+) points", cells[0].source)[1]) == sum(cell.points for cell in cells)
