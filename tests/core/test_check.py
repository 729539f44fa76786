"""Argument checks say what was asked and what came."""

import math

import pytest
import torch

from frugal.core.check import check_axis, check_finite, check_num_bits, describe
from frugal.core.errors import CheckFailed


@pytest.mark.parametrize(
    "x, words",
    [
        (torch.zeros(3, 4), "float32 [3, 4]"),
        (torch.tensor([1.0, math.nan, math.inf]), "float32 [3], 2 of 3 values not finite"),
        (torch.zeros(0, 2, dtype=torch.int8), "int8 [0, 2], empty"),
        ("eight", "str 'eight'"),
    ],
)
def test_describe_names_dtype_shape_and_what_is_odd(x, words):
    assert describe(x) == words


@pytest.mark.parametrize("num_bits", [1, 9, 0, -4])
def test_a_width_out_of_range_is_refused_with_its_value(num_bits):
    with pytest.raises(ValueError, match=f"from 2 to 8, got {num_bits}"):
        check_num_bits(num_bits)


@pytest.mark.parametrize("num_bits", [8.0, True, "8", None])
def test_a_width_that_is_no_int_is_refused(num_bits):
    with pytest.raises(TypeError, match="num_bits must be an int"):
        check_num_bits(num_bits)


@pytest.mark.parametrize(
    "x, error",
    [
        (torch.tensor([1.0, math.nan]), ValueError),
        (torch.tensor([math.inf]), ValueError),
        (torch.empty(0), ValueError),
        (torch.zeros(2, dtype=torch.int32), TypeError),
        ([1.0, 2.0], TypeError),
    ],
)
def test_only_finite_float_tensors_pass(x, error):
    with pytest.raises(error, match="weight must"):
        check_finite(x, "weight")


def test_negative_axes_count_from_the_back():
    assert [check_axis(axis, 3, "x") for axis in (-3, -1, 0, 2)] == [0, 2, 0, 2]


@pytest.mark.parametrize("axis", [3, -4])
def test_an_axis_that_does_not_exist_is_refused_with_the_ones_that_do(axis):
    with pytest.raises(ValueError, match=f"axis {axis} does not exist: x has 3 dimensions, so -3 to 2 do"):
        check_axis(axis, 3, "x")


def test_a_failed_check_shows_its_message_and_no_traceback():
    error = CheckFailed("quantize: wrong value\nlook at the ties", status="wrong value", digest="00ff")
    assert error._render_traceback_() == ["quantize: wrong value", "look at the ties"]
    with pytest.raises(ValueError, match="status must be one of"):
        CheckFailed("x", status="lazy")
