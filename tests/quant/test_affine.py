"""The affine quantizer: exact zero, half a step, saturation, and equality with exact arithmetic."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frugal.quant.affine import QParams, choose_qparams, dequantize, qparams_from_range, quantize
from frugal.quant.granularity import PerChannel, PerGroup, PerTensor, PerToken

RANGES = [(-1, 2), (1, 6), (-6, -1), (0, 0), (0, 3), (-1e-30, 1e-30), (-1e30, 1e30), (5, 5)]


def float_slack(x):
    return 2 * torch.finfo(x.dtype).eps * x.abs().max()


def exact_code(x: float, scale: float, zero_point: int, low: int, high: int) -> int:
    """The definition in rational arithmetic; Python's round takes halves to even."""
    return max(low, min(high, round(Fraction(x) / Fraction(scale)) + zero_point))


@pytest.mark.parametrize("low, high", RANGES)
@pytest.mark.parametrize("num_bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [False, True])
def test_round_trip_errs_by_at_most_half_a_step(low, high, num_bits, symmetric):
    x = torch.linspace(low, high, 1001)
    qparams = choose_qparams(x, num_bits, symmetric=symmetric)
    error = (dequantize(quantize(x, qparams), qparams) - x).abs().max()
    nudge = 0 if symmetric else qparams.scale / 2  # an affine range moves by up to half a step to make 0 exact
    assert error <= qparams.scale / 2 + nudge + float_slack(x)
    inside = (x >= qparams.low) & (x <= qparams.high)
    error = (dequantize(quantize(x, qparams), qparams) - x)[inside].abs().max()
    assert error <= qparams.scale / 2 + float_slack(x)


@pytest.mark.parametrize("low, high", RANGES)
@pytest.mark.parametrize("symmetric", [False, True])
def test_real_zero_is_exact(low, high, symmetric):
    qparams = choose_qparams(torch.tensor([low, high], dtype=torch.float32), 4, symmetric=symmetric)
    zero = torch.zeros(1)
    assert dequantize(quantize(zero, qparams), qparams).item() == 0.0
    assert quantize(zero, qparams).item() == qparams.zero_point.item()


@given(
    x=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20),
    # a power of two, so that x / scale is exact in float32 and ties are real ties
    exponent=st.integers(-10, 10),
    zero_point=st.integers(-8, 7),
)
@settings(max_examples=200, deadline=None)
def test_codes_equal_rational_arithmetic(x, exponent, zero_point):
    scale = 2.0**exponent
    qparams = QParams(torch.tensor(scale), torch.tensor(zero_point, dtype=torch.int32), -8, 7)
    codes = quantize(torch.tensor(x), qparams)
    assert codes.tolist() == [exact_code(torch.tensor(v).item(), scale, zero_point, -8, 7) for v in x]


def test_halves_go_to_the_even_code_neighbour_of_the_quotient():
    qparams = QParams(torch.tensor(1.0), torch.tensor(1, dtype=torch.int32), -8, 7)
    assert quantize(torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5]), qparams).tolist() == [1, 3, 3, 1, -1]


@pytest.mark.parametrize("num_bits", range(2, 9))
def test_symmetric_codes_are_those_of_equation_1_with_the_range_erratum(num_bits):
    largest = 2 ** (num_bits - 1) - 1
    qparams = choose_qparams(torch.tensor([-3.0, 2.0]), num_bits, symmetric=True)
    assert (qparams.quant_min, qparams.quant_max) == (-largest, largest)  # not -2^(b-1) - 1, as slide 20 prints
    assert quantize(torch.tensor([-3.0, 3.0, -9.0, 9.0]), qparams).tolist() == [-largest, largest, -largest, largest]
    assert quantize(torch.tensor([-3.0]), qparams).dtype == torch.int8


def test_symmetric_quantization_is_odd_and_homogeneous():
    x = torch.randn(1000)
    qparams = choose_qparams(x, 4, symmetric=True)
    assert torch.equal(quantize(-x, qparams), -quantize(x, qparams))
    assert torch.equal(quantize(8 * x, choose_qparams(8 * x, 4, symmetric=True)), quantize(x, qparams))


def test_quantizing_twice_changes_nothing():
    x = torch.randn(1000)
    for symmetric in (False, True):
        qparams = choose_qparams(x, 5, symmetric=symmetric)
        q = quantize(x, qparams)
        assert torch.equal(quantize(dequantize(q, qparams), qparams), q)


@pytest.mark.parametrize("low, high", [(0.5, 6.0), (0.0, 3.0), (-6.0, -1.0)])
def test_one_sided_data_uses_every_affine_code_but_half_of_the_symmetric_ones(low, high):
    x = torch.linspace(low, high, 10_001) - (low if low > 0 else 0)
    affine = quantize(x, choose_qparams(x, 4)).unique().numel()
    symmetric = quantize(x, choose_qparams(x, 4, symmetric=True)).unique().numel()
    assert symmetric <= 8 < affine <= 16


def test_on_data_from_relu_a_zero_point_quarters_the_squared_error():
    x = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    error = {}
    for symmetric in (False, True):
        qparams = choose_qparams(x, 8, symmetric=symmetric)
        error[symmetric] = (dequantize(quantize(x, qparams), qparams) - x).pow(2).mean().item()
    # steps of 1/127 against 1/255: uniform data errs by step^2 / 12
    assert error[True] / error[False] == pytest.approx((255 / 127) ** 2, rel=0.05)


def test_signed_and_unsigned_codes_stand_for_the_same_reals():
    x = torch.randn(1000)
    signed, unsigned = choose_qparams(x, 6), choose_qparams(x, 6, signed=False)
    assert quantize(x, unsigned).dtype == torch.uint8
    assert torch.equal(dequantize(quantize(x, signed), signed), dequantize(quantize(x, unsigned), unsigned))


def test_dequantize_does_not_wrap_when_code_and_zero_point_are_far_apart():
    qparams = QParams(torch.tensor(0.5), torch.tensor(-128, dtype=torch.int32), -128, 127)
    assert dequantize(torch.tensor([127], dtype=torch.int8), qparams).item() == 127.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_dtype_is_quantized_with_a_scale_of_at_least_single_precision(dtype):
    x = torch.linspace(-2, 3, 101, dtype=dtype)
    qparams = choose_qparams(x)
    assert qparams.scale.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (dequantize(quantize(x, qparams), qparams) - x).abs().max() <= qparams.scale * (0.5 + 2**-7)


def test_views_and_strides_do_not_matter():
    x = torch.randn(8, 6)
    for view in (x.T, x[::2], x[:, 1:4]):
        qparams = choose_qparams(view, granularity=PerChannel(0))
        assert torch.equal(quantize(view, qparams), quantize(view.contiguous(), qparams))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    "granularity, shape",
    [
        (PerTensor(), (3, 4)),
        (PerTensor(), ()),
        (PerChannel(0), (3, 4, 2, 2)),
        (PerChannel(1), (3, 4, 2, 2)),
        (PerChannel(-1), (3, 4)),
        (PerGroup(2), (3, 4)),
        (PerGroup(2, axis=1), (3, 4, 2, 2)),
        (PerToken(), (2, 3, 4)),
    ],
    ids=str,
)
def test_each_block_is_quantized_as_if_it_were_alone(granularity, shape, symmetric):
    x = torch.randn(shape)
    qparams = choose_qparams(x, 4, symmetric=symmetric, granularity=granularity)
    blocks = granularity.blocks(x).reshape(qparams.scale.numel(), -1)
    whole = granularity.blocks(dequantize(quantize(x, qparams), qparams)).reshape(blocks.shape)
    for block, got in zip(blocks, whole, strict=True):
        alone = choose_qparams(block, 4, symmetric=symmetric)
        assert torch.equal(got, dequantize(quantize(block, alone), alone))


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_that_is_not_above_zero_is_refused(scale):
    with pytest.raises(ValueError, match="scale must be"):
        QParams(torch.tensor(scale), torch.tensor(0, dtype=torch.int32), -8, 7)


@pytest.mark.parametrize(
    "zero_point, quant_min, quant_max, words",
    [
        (9, -8, 7, "zero_point must be a code from -8 to 7"),
        (0, -129, 127, "must fit int8"),
        (0, 0, 256, "uint8"),
        (3, 3, 3, "codes from quant_min to quant_max"),
    ],
)
def test_codes_that_fit_no_eight_bit_type_are_refused(zero_point, quant_min, quant_max, words):
    with pytest.raises(ValueError, match=words):
        QParams(torch.tensor(1.0), torch.tensor(zero_point, dtype=torch.int32), quant_min, quant_max)


def test_a_zero_point_of_another_type_or_shape_is_refused():
    for zero_point in (torch.tensor(0.0), torch.zeros(2, dtype=torch.int32)):
        with pytest.raises(ValueError, match="zero_point must be int32 with the shape of scale"):
            QParams(torch.tensor(1.0), zero_point, -8, 7)


@pytest.mark.parametrize("bad", [torch.tensor([math.nan]), torch.tensor([math.inf, 0.0]), torch.empty(0)])
def test_what_is_not_finite_or_empty_is_refused(bad):
    qparams = choose_qparams(torch.ones(1))
    for call in (lambda: choose_qparams(bad), lambda: quantize(bad, qparams)):
        with pytest.raises(ValueError, match="x must"):
            call()


def test_integers_are_not_quantized_again_by_mistake():
    qparams = choose_qparams(torch.ones(1))
    with pytest.raises(TypeError, match="real numbers"):
        quantize(torch.ones(3, dtype=torch.int8), qparams)
    with pytest.raises(TypeError, match=r"torch.int8, got float32 \[3\]"):
        dequantize(torch.ones(3), qparams)


def test_parameters_of_another_shape_are_refused():
    qparams = choose_qparams(torch.randn(3, 4), granularity=PerChannel(0))
    with pytest.raises(ValueError, match=r"parameters of shape \[5\] for a tensor \[5, 4\], got \[3\]"):
        quantize(torch.randn(5, 4), qparams)


def test_a_range_upside_down_is_refused():
    with pytest.raises(ValueError, match="low must not exceed high"):
        qparams_from_range(torch.tensor(2.0), torch.tensor(1.0))


def test_unsigned_symmetric_codes_are_for_values_above_zero():
    assert choose_qparams(torch.tensor([0.0, 2.0]), symmetric=True, signed=False).quant_max == 255
    with pytest.raises(ValueError, match="signed=True"):
        choose_qparams(torch.tensor([-1.0, 2.0]), symmetric=True, signed=False)


def test_the_smallest_floats_get_a_step_above_zero():
    x = torch.tensor([1e-45, -1e-45])
    qparams = choose_qparams(x)
    assert qparams.scale.item() > 0
    assert torch.isfinite(dequantize(quantize(x, qparams), qparams)).all()
