"""PWLQ: the grid, the breakpoint, the bound of lemma 2, and three accumulators that equal one float product."""

import pytest
import torch

from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel, PerTensor
from frugal.quant.methods import pwlq


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def grid_of(p, m, num_bits=4):
    return pwlq.PiecewiseGrid(num_bits, torch.tensor(p).double(), torch.tensor(m).double(), PerTensor())


def test_a_breakpoint_in_the_middle_is_the_uniform_grid():
    x = torch.linspace(-2.2, 2.2, 10_001, dtype=torch.float64)
    step = 1 / 7
    uniform = torch.round(x / step).clamp(-14, 14) * step
    assert (grid_of(1.0, 2.0).quantize(x) - uniform).abs().max() < 1e-12


@pytest.mark.parametrize("num_bits, count", [(2, 5), (3, 13), (4, 29)])
def test_there_are_four_pieces_less_what_they_share(num_bits, count):
    x = torch.linspace(-5, 5, 200_001, dtype=torch.float64)
    values = grid_of(1.0, 4.0, num_bits).quantize(x).unique()
    assert len(values) == count <= 4 * 2 ** (num_bits - 1)
    assert values.abs().max() == 4


def test_every_value_errs_by_at_most_half_a_step_of_its_piece():
    x = torch.linspace(-4, 4, 10_001, dtype=torch.float64)
    grid = grid_of(1.0, 4.0)
    half = torch.where(x.abs() <= 1, 1 / 14, 3 / 14)
    assert ((grid.quantize(x) - x).abs() <= half + 1e-12).all()
    assert torch.equal(grid.quantize(grid.quantize(x)), grid.quantize(x))
    assert torch.equal(grid.quantize(-x), -grid.quantize(x))


@pytest.mark.parametrize("reach", [3.0, 4.0, 6.0, 10.0])
def test_the_one_shot_rule_is_near_the_optimum(reach):
    best = pwlq.best_normal_breakpoint(reach)
    m = torch.tensor(reach, dtype=torch.float64)
    assert abs(pwlq.normal_error_slope(best, m)) < 1e-9
    assert pwlq.normal_error_slope(best * 1.01, m) > 0 > pwlq.normal_error_slope(best * 0.99, m)  # a minimum
    assert pwlq.normal_breakpoint(reach).item() == pytest.approx(best.item(), rel=0.02)


def test_at_four_sigma_the_breakpoint_is_in_sigmas_not_in_limits():
    assert pwlq.best_normal_breakpoint(4.0).item() == pytest.approx(1.392, abs=5e-4)
    assert pwlq.normal_breakpoint(4.0).item() == pytest.approx(1.400, abs=5e-3)


@pytest.mark.parametrize("num_bits", [3, 4, 6])
@pytest.mark.parametrize("rule", ["normal", "search"])
def test_gaussian_weights_err_less_than_lemma_2_allows(num_bits, rule):
    x = chance(200_000)
    m = x.abs().max()
    uniform = torch.round((x + m) / (2 * m) * (2**num_bits - 1)) / (2**num_bits - 1) * 2 * m - m
    piecewise = pwlq.choose_grid(x, num_bits, rule=rule).quantize(x)
    ratio = ((piecewise - x).pow(2).mean() / (uniform - x).pow(2).mean()).item()
    assert ratio < pwlq.uniform_error_bound(num_bits) <= 9 / 16


@pytest.mark.parametrize("granularity", [PerChannel(0), PerTensor()])
def test_three_integer_sums_are_the_float_product(granularity):
    weight = chance(5, 40) * torch.exp2(chance(5, 1, seed=1))
    grid = pwlq.choose_grid(weight, 4, granularity=granularity)
    x = chance(7, 40, seed=2)
    qparams = choose_qparams(x, 8, symmetric=True)
    codes = quantize(x, qparams)
    expected = dequantize(codes, qparams) @ grid.quantize(weight).T
    assert torch.allclose(grid.dot(codes, qparams.scale.item(), weight), expected, rtol=1e-12, atol=1e-12)


def test_codes_fit_their_bits_and_stand_for_the_values():
    weight = chance(6, 50)
    grid = pwlq.choose_grid(weight, 4)
    region, code = grid.codes(weight)
    assert region.unique().tolist() == [0, 1]
    assert code.abs().max() == 7
    assert torch.equal(grid.dequantize(region, code), grid.quantize(weight))


def test_the_search_errs_no_more_than_the_rules():
    weight = chance(8, 200) ** 3
    found = {
        rule: (pwlq.quantize_weight(weight, 4, rule=rule) - weight).pow(2).sum()
        for rule in ("normal", "laplace", "search")
    }
    assert found["search"] <= 1.02 * min(found.values())


def test_the_median_of_the_largest_ten_ignores_one_outlier():
    x = torch.cat([torch.arange(100.0), torch.tensor([1e6])])
    low, high = pwlq.top_median(x)
    assert (low.item(), high.item()) == (4.0, 95.0)


def test_edges_and_bad_input():
    assert torch.equal(pwlq.quantize_weight(torch.zeros(3, 4)), torch.zeros(3, 4))
    constant = torch.full((2, 3), 5.0)
    assert torch.allclose(pwlq.quantize_weight(constant), constant)
    with pytest.raises(ValueError, match="between 0 and limit"):
        grid_of(2.0, 1.0)
    with pytest.raises(ValueError, match="rule"):
        pwlq.choose_grid(chance(3, 4), 4, rule="guess")
    with pytest.raises(ValueError, match="num_bits"):
        pwlq.choose_grid(chance(3, 4), 9)
    with pytest.raises(ValueError, match=r"\[out, in\]"):
        grid_of(1.0, 2.0).dot(torch.ones(3, dtype=torch.int8), 1.0, torch.ones(3))
