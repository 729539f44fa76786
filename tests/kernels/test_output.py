"""What becomes of a sum: fixed point exact against Python's integers, scales and clamps checked."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frugal.kernels import output as out
from frugal.kernels import reference

ACC = st.integers(-(2**31) + 1, 2**31 - 1)


@given(acc=ACC, multiplier=st.integers(0, 2**31 - 1), shift=st.integers(out.LOWEST_SHIFT, out.HIGHEST_SHIFT))
def test_rescaling_is_exact_with_halves_up(acc, multiplier, shift):
    got = reference.rescale(torch.tensor([acc]), torch.tensor([multiplier]), torch.tensor([shift]))
    exact = Fraction(acc * multiplier, 2 ** (31 + shift))
    assert got.item() == math.floor(exact + Fraction(1, 2))


@given(scale=st.floats(2.0**-31, 2.0**29, allow_subnormal=False))
def test_a_fixed_point_scale_has_31_bits(scale):
    multiplier, shift = out.to_fixed_point(scale)
    got = Fraction(multiplier.item(), 2 ** (31 + shift.item()))
    half_a_step = Fraction(scale) / 2**30  # and one step where rounding would need a 32nd bit
    assert abs(got - Fraction(scale)) <= half_a_step


def test_scales_without_31_bits_round_to_the_nearest_step():
    multiplier, shift = out.to_fixed_point(torch.tensor([0.0, 2.0**-62, 0.75 * 2.0**-60]))
    assert shift.tolist()[1:] == [31, 31]
    assert multiplier.tolist() == [0, 1, 3]


@pytest.mark.parametrize("scale", [-1.0, 2.0**30, math.inf, math.nan])
def test_a_scale_that_no_multiplier_reaches_is_refused(scale):
    with pytest.raises(ValueError, match=r"from 0 to 2\^30"):
        out.to_fixed_point(scale)


@given(real=st.floats(width=32), zero_point=st.integers(0, 255))
def test_every_float_has_a_code(real, zero_point):
    code = reference.to_codes(torch.tensor([real]), torch.uint8, zero_point, 0, 255).item()
    if math.isnan(real):
        assert code == 0
    else:
        nearest = round(min(max(real, -300.0), 300.0)) + zero_point  # Python's round takes halves to even, too
        assert code == min(max(nearest, 0), 255)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: out.codes(math.nan), "finite"),
        (lambda: out.codes(math.inf), "finite"),
        (lambda: out.codes(-1.0), "not negative"),
        (lambda: out.reals(torch.tensor([1.0, math.nan])), "finite"),
        (lambda: out.reals(torch.ones(2, 2)), r"one number or \[out\]"),
        (lambda: out.reals(torch.ones(0)), r"one number or \[out\]"),
        (lambda: out.codes(1.0, dtype=torch.int16), "uint8 or torch.int8"),
        (lambda: out.codes(1.0, zero_point=256), "0 to 255, got 256"),
        (lambda: out.codes(1.0, zero_point=-1), "0 to 255, got -1"),
        (lambda: out.codes(1.0, dtype=torch.int8, zero_point=128), "-128 to 127, got 128"),
        (lambda: out.codes(1.0, low=7, high=6), "low <= high"),
        (lambda: out.codes(1.0, high=300), "low <= high"),
        (lambda: out.codes(1.0, residual=out.Residual(1.0, -1)), "residual's zero_point"),
        (lambda: out.Residual(math.nan), "finite"),
        (lambda: out.Residual(-0.5), "not negative"),
    ],
)
def test_a_bad_output_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_bad_multiplier_is_refused():
    one, shift = torch.tensor([2**30], dtype=torch.int32), torch.tensor([3], dtype=torch.int32)
    with pytest.raises(TypeError, match="must be int32"):
        out.fixed_point(one.float(), shift)
    with pytest.raises(ValueError, match="shift must be from -30 to 31, got 32"):
        out.fixed_point(one, shift + 29)
    with pytest.raises(ValueError, match="multiplier must be from 0"):
        out.fixed_point(-one, shift)


def test_one_scale_serves_every_output_and_another_count_is_refused():
    assert out.codes(0.5).expanded(3).scale.tolist() == [0.5, 0.5, 0.5]
    with pytest.raises(ValueError, match="scale has 2 values but there are 3 outputs"):
        out.codes(torch.ones(2)).expanded(3)
