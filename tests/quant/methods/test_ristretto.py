"""Ristretto: steps that are powers of two, small floats, and products that are shifts."""

import math

import pytest
import torch

from frugal.quant.affine import dequantize, quantize
from frugal.quant.methods import ristretto


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 77.0])
@pytest.mark.parametrize("num_bits", [4, 8, 16])
def test_parameters_never_saturate_and_err_by_half_a_step(factor, num_bits):
    x = factor * chance(1000)
    grid = ristretto.choose_grid(x, num_bits)
    assert math.log2(grid.scale).is_integer()
    error = (grid.quantize(x) - x).abs()
    assert error.max() <= grid.scale / 2
    assert grid.scale * 2 ** (num_bits - 1) >= x.abs().max()
    assert grid.scale * 2 ** (num_bits - 1) <= 4 * x.abs().max()  # at most one bit more than needed, and the sign's


def test_activations_have_one_bit_less_before_the_point_and_may_saturate():
    x = torch.tensor([0.9, 3.0])
    assert ristretto.integer_length(x) == ristretto.integer_length(x, "activations") + 1
    assert ristretto.choose_grid(x, 8, "activations").quantize(x)[1] < 3.0


def test_one_bit_less_doubles_the_largest_error():
    x = chance(100_000)
    errors = [(ristretto.choose_grid(x, bits).quantize(x) - x).abs().max().item() for bits in (9, 8, 7)]
    assert errors[1] / errors[0] == pytest.approx(2, rel=0.01)
    assert errors[2] / errors[1] == pytest.approx(2, rel=0.01)


def test_it_is_the_symmetric_quantizer_with_a_power_of_two_as_scale():
    x = chance(1000) + 0.003  # no ties, where the rules differ
    grid = ristretto.choose_grid(x, 8)
    qparams = ristretto.choose_qparams(x, 8)
    assert qparams.zero_point == 0
    assert torch.equal(grid.codes(x), quantize(x, qparams).int())
    assert torch.equal(grid.quantize(x), dequantize(quantize(x, qparams), qparams).double())


def test_halves_go_away_from_zero_and_chance_is_unbiased():
    grid = ristretto.DynamicFixedPoint(8, 1)
    assert grid.quantize(torch.tensor([0.25, -0.25, 0.75])).tolist() == [0.5, -0.5, 1.0]
    torch.manual_seed(0)
    drawn = ristretto.DynamicFixedPoint(8, 1, "stochastic").quantize(torch.full((100_000,), 0.3))
    assert drawn.mean().item() == pytest.approx(0.3, abs=5 * 0.5 * 0.5 / 100_000**0.5)


def test_a_float_of_16_bits_is_torchs_half_on_normals():
    x = chance(50_000).float()
    x = x[x.abs() >= 2**-14]
    mine, theirs = ristretto.minifloat(16, 5).quantize(x), x.half().float()
    assert torch.equal((mine - x).abs(), (theirs - x).abs())  # where they differ, it is a tie
    assert (mine != theirs).double().mean() < 1e-3


@pytest.mark.parametrize("num_bits, exponent", [(8, 4), (6, 4), (8, 5), (12, 5)])
def test_minifloats_saturate_and_err_relative_to_the_value(num_bits, exponent):
    grid = ristretto.minifloat(num_bits, exponent)
    assert grid.quantize(torch.tensor([1e30, -1e30])).tolist() == [grid.max_value, -grid.max_value]
    x = chance(10_000)
    x = x[x.abs() > 2.0**grid.lowest_exponent]
    mantissa = num_bits - 1 - exponent
    assert ((grid.quantize(x) - x).abs() <= x.abs() * 2.0 ** -(mantissa + 1)).all()


def test_zeros_in_front_leave_the_rest_quantized():
    """The authors' loop returns at the first zero; what came after it stayed as it was."""
    x = torch.tensor([0.0, 0.3, 5.3])
    assert ristretto.minifloat(6).quantize(x).tolist() != x.tolist()
    assert ristretto.minifloat(6).quantize(x)[0] == 0


def test_exponent_bits_grow_with_the_range():
    assert [ristretto.exponent_bits(v) for v in (0.1, 1.0, 100.0, 2.0**9, 2.0**16, 2.0**18)] == [4, 4, 4, 4, 5, 6]


def test_powers_of_two_decide_at_the_geometric_middle():
    grid = ristretto.PowerOfTwoGrid()
    assert grid.num_bits == 4
    assert len(grid.values()) == 16
    assert not (grid.values() == 0).any()
    middle = 0.25 * math.sqrt(2)
    below, above = grid.quantize(torch.tensor([middle * 0.999, middle * 1.001])).tolist()
    assert (below, above) == (0.25, 0.5)
    assert grid.quantize(torch.tensor([0.0, -3.0])).tolist() == [2**-8, -0.5]
    assert torch.equal(grid.quantize(grid.values()), grid.values())


def test_shifts_are_the_products():
    grid = ristretto.PowerOfTwoGrid()
    weight, x = chance(5, 30) / 4, torch.randint(-128, 128, (7, 30), generator=torch.Generator().manual_seed(0))
    exact = x.double() @ grid.quantize(weight).T
    assert torch.equal(grid.dot(x.to(torch.int8), weight).double() * 2.0**grid.lowest, exact)


def test_the_search_stops_at_the_first_width_that_loses_too_much():
    scores = {16: 90.0, 8: 89.5, 4: 70.0, 2: 90.0}
    assert ristretto.search_bits(scores.__getitem__, 90.0, 1.0) == 8
    assert ristretto.search_bits(scores.__getitem__, 99.0, 1.0) == 32
    assert ristretto.search_bits(scores.__getitem__, 70.0, 1.0) == 2


def test_edges_and_bad_input():
    assert torch.equal(ristretto.choose_grid(torch.zeros(4), 8).quantize(torch.zeros(4)), torch.zeros(4))
    assert ristretto.choose_grid(torch.tensor([1.0]), 8).quantize(torch.tensor([1.0])).item() == 127 / 128
    for call, words in [
        (lambda: ristretto.DynamicFixedPoint(1, 0), "num_bits"),
        (lambda: ristretto.DynamicFixedPoint(8, 0, "floor"), "rounding"),
        (lambda: ristretto.DynamicFixedPoint(16, 0).qparams(), "int8"),
        (lambda: ristretto.integer_length(torch.ones(1), "biases"), "kind"),
        (lambda: ristretto.minifloat(4, 4), "no mantissa"),
        (lambda: ristretto.exponent_bits(0.0), "largest"),
        (lambda: ristretto.PowerOfTwoGrid(0, -3), "lowest"),
        (lambda: ristretto.search_bits(float, 1.0, 1.0, (2, 4)), "descend"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(TypeError, match="integer codes"):
        ristretto.PowerOfTwoGrid().dot(torch.ones(3), torch.ones(2, 3))
