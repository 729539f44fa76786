"""Integer-only inference: exact against Python's own integers, and against the kernels of this project."""

import random
from fractions import Fraction

import pytest
import torch

from frugal.kernels import output, reference
from frugal.quant.affine import QParams, choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.methods import integer_only as io


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def codes(*shape, seed=0, low=-128, high=128):
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


INT8 = QParams(torch.tensor(1.0), torch.tensor(5, dtype=torch.int32), -128, 127)
SCALES = [0.375, 0.5, 1.0, 1e-6, 0.9999999999, 3.7, 2.0**-31, 1 - 2.0**-40, 0.0123]


@pytest.mark.parametrize("scale", SCALES)
def test_a_multiplier_has_31_bits_and_is_the_nearest(scale):
    multiplier, shift = io.quantize_multiplier(scale)
    assert 2**30 <= multiplier < 2**31
    error = abs(Fraction(multiplier) / Fraction(2) ** (31 + shift) - Fraction(scale))
    assert error <= Fraction(scale) / 2**31


@pytest.mark.parametrize("scale", SCALES)
def test_the_kernels_use_the_same_multiplier(scale):
    multiplier, shift = output.to_fixed_point(scale)
    mine = io.quantize_multiplier(scale)
    assert Fraction(multiplier.item()) / Fraction(2) ** (31 + shift.item()) == pytest.approx(
        float(Fraction(mine[0]) / Fraction(2) ** (31 + mine[1])), rel=2**-30
    )


@pytest.mark.parametrize("scale", [0.375, 0.5, 1.0, 3.7, 0.0123, 2.0**-31])
def test_requantizing_is_exact_rounding(scale):
    """Against fractions: floor(acc · multiplier / 2^right + 1/2), to the last bit, at the ends of int32 too."""
    draw = random.Random(0)
    values = [draw.randrange(-(2**31), 2**31) for _ in range(500)] + [0, 1, -1, 3, -3, 2**31 - 1, -(2**31)]
    multiplier, shift = io.quantize_multiplier(scale)
    acc = torch.tensor(values)
    got = io.requantize(acc, torch.tensor(multiplier), torch.tensor(shift), INT8)
    for value, code in zip(values, got.tolist(), strict=True):
        exact = Fraction(value * multiplier) / Fraction(2) ** (31 + shift) + Fraction(1, 2)
        rounded = exact.numerator // exact.denominator
        assert io.requantize_exactly(value, multiplier, shift) == rounded
        assert code == min(max(rounded + 5, -128), 127)


def test_requantizing_is_what_the_kernels_define():
    acc = codes(2000, low=-(2**31), high=2**31)
    multiplier, shift = output.to_fixed_point(3e-8)
    kernel = reference.finish(acc, output.fixed_point(multiplier, shift, dtype=torch.int8, zero_point=5))
    assert torch.equal(io.requantize(acc, multiplier, shift, INT8), kernel)


def test_gemmlowp_rounds_twice_and_differs_by_one_code_now_and_then():
    wide = QParams(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32), -128, 127)
    acc = codes(200_000, low=-100_000, high=100_000)
    multiplier, shift = (torch.tensor(v) for v in io.quantize_multiplier(0.00123))
    once, twice = io.requantize(acc, multiplier, shift, wide), io.requantize_gemmlowp(acc, multiplier, shift, wide)
    difference = (once.long() - twice.long()).abs()
    assert difference.max() == 1
    assert 0 < difference.double().mean() < 0.05


@pytest.mark.parametrize("z2", [0, -7, torch.tensor([3, 0, -5, 9])])
@pytest.mark.parametrize("z1", [0, 11, -128])
def test_the_factorised_sums_are_the_sums(z1, z2):
    x, weight = codes(5, 3, 20), codes(4, 20, seed=1)
    assert torch.equal(io.factorised_sums(x, weight, z1, z2), io.sums(x, weight, z1, z2))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_a_layer_of_integers_is_the_float_layer_of_its_codes_rounded(per_channel, symmetric, relu):
    """The integers compute S1 S2 Σ (q1 - Z1)(q2 - Z2) + bias exactly; one rounding to the output's codes remains."""
    weight, bias, x = chance(6, 30), chance(6, seed=1), chance(200, 30, seed=2)
    y = x @ weight.T + bias
    y = y.relu() if relu else y
    granularity = PerChannel(0) if per_channel else None
    qx = choose_qparams(x, 8)
    qw = choose_qparams(weight, 8, symmetric=symmetric, granularity=granularity)
    qy = choose_qparams(y, 8)
    layer = io.IntegerLinear.from_float(weight, bias, qx, qw, qy, relu=relu)
    got = layer(quantize(x, qx))
    assert got.dtype == torch.int8
    bias_hat = io.quantize_bias(bias, qx.scale, qw.scale).double() * qx.scale * qw.scale
    exact = dequantize(quantize(x, qx), qx) @ dequantize(quantize(weight, qw), qw).T + bias_hat
    exact = exact.relu() if relu else exact
    steps = exact / qy.scale + qy.zero_point
    assert ((got - steps.clamp(qy.quant_min, qy.quant_max)).abs() <= 0.5 + 1e-4).all()  # multiplier: 2^-31 of 2^8 steps
    if relu:
        assert (got >= qy.zero_point).all()


def test_a_bias_has_the_scale_of_the_sums_and_costs_half_a_step_of_them():
    bias = chance(50)
    x_scale, w_scale = torch.tensor(0.02), torch.full((50,), 0.003)
    q = io.quantize_bias(bias, x_scale, w_scale)
    assert q.dtype == torch.int32
    assert ((q * 6e-5 - bias).abs() <= 3e-5 * (1 + 1e-3)).all()


def test_bad_input():
    with pytest.raises(ValueError, match="scale must be above 0"):
        io.quantize_multiplier(0.0)
    with pytest.raises(ValueError, match="int32"):
        io.requantize(torch.tensor([2**31]), torch.tensor(2**30), torch.tensor(0), INT8)
    with pytest.raises(ValueError, match="int32"):
        io.requantize(torch.tensor([0.5]), torch.tensor(2**30), torch.tensor(0), INT8)
    with pytest.raises(ValueError, match="shift"):
        io.requantize(torch.tensor([1]), torch.tensor(2**30), torch.tensor(40), INT8)
    with pytest.raises(ValueError, match="gemmlowp"):
        io.requantize_gemmlowp(torch.tensor([1]), torch.tensor(2**30), torch.tensor(-1), INT8)
    with pytest.raises(ValueError, match="widen the range"):
        io.quantize_bias(torch.tensor([1e9]), torch.tensor(1e-3), torch.tensor(1e-3))
    layer = io.IntegerLinear.from_float(chance(2, 3), None, INT8, INT8, INT8)
    with pytest.raises(TypeError, match="int8"):
        layer(torch.zeros(1, 3))
