"""Microscaling: values of the elements, powers of two as scales, and what saturates."""

import math

import pytest
import torch

from frugal.quant.methods.microscaling import (
    E2M1,
    E4M3,
    MXFP4,
    MXFP6_E2M3,
    MXFP6_E3M2,
    MXFP8_E4M3,
    MXFP8_E5M2,
    quantize_mx,
    quantize_nvfp4,
)

FORMATS = [MXFP4, MXFP6_E2M3, MXFP6_E3M2, MXFP8_E4M3, MXFP8_E5M2]


def bell(rows=64, columns=512):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def sqnr_db(x, back):
    return 10 * math.log10((x.square().mean() / (x - back).square().mean()).item())


def test_four_bits_say_sixteen_values():
    assert E2M1.values().tolist() == [-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]  # 0 has two codes


@pytest.mark.parametrize("form, e_max", list(zip(FORMATS, [2, 2, 4, 8, 15], strict=True)))
def test_the_largest_exponents_are_those_of_the_specification(form, e_max):
    assert form.e_max == e_max


def test_bits_per_value_count_the_shared_scale():
    assert [form.bits_per_value for form in FORMATS] == [4.25, 6.25, 6.25, 8.25, 8.25]


@pytest.mark.parametrize("form", FORMATS)
def test_a_second_pass_changes_nothing(form):
    once = quantize_mx(bell(), form).dequantize()
    assert torch.equal(quantize_mx(once, form).dequantize(), once)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("power", [-20, 3])
def test_powers_of_two_pass_through(form, power):
    x = bell()
    assert torch.equal(quantize_mx(x * 2.0**power, form).dequantize(), quantize_mx(x, form).dequantize() * 2.0**power)


def test_scales_are_powers_of_two():
    scale = quantize_mx(bell()).scale
    assert scale.shape == (64, 16)
    assert torch.equal(scale, torch.exp2(torch.log2(scale).round()))


def test_the_floor_lets_the_largest_values_saturate():
    x = bell()
    blocks = quantize_mx(x)
    share = (x.abs() / blocks.scale.repeat_interleave(32, dim=1) > E2M1.max_value).double().mean().item()
    standard_error = math.sqrt(0.026 * 0.974 / x.numel())
    assert abs(share - 0.026) < 0.0005 + 4 * standard_error  # 2.6 % of a bell


def test_the_largest_block_of_nvfp4_has_the_largest_scale_there_is():
    x = bell()
    blocks = quantize_nvfp4(x)
    whole = x.abs().max() / (448 * 6)
    stored = blocks.scale / whole
    torch.testing.assert_close(stored.max(), torch.tensor(448.0, dtype=torch.float64), rtol=1e-12, atol=0)
    torch.testing.assert_close(E4M3.quantize(stored), stored, rtol=1e-12, atol=0)
    assert set(blocks.values.unique().tolist()) <= set(E2M1.values().tolist())


def test_signal_to_noise_on_a_bell_is_as_measured_before():
    x = bell(256)
    found = [sqnr_db(x, quantize_mx(x).dequantize()), sqnr_db(x, quantize_nvfp4(x).dequantize())]
    for decibels, expected in zip(found, (18.8, 20.4), strict=True):
        assert abs(decibels - expected) < 0.3


@pytest.mark.parametrize("make", [quantize_mx, quantize_nvfp4])
def test_zeros_denormals_and_single_values_survive(make):
    x = torch.zeros(2, 32)
    assert torch.equal(make(x).dequantize(), x)
    x[0, 3] = 6e-39
    assert make(x).dequantize().isfinite().all()
    x[1, 5] = -3.0
    assert make(x).dequantize()[1, 5].item() == pytest.approx(-3.0, rel=0.07)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="does not divide"):
        quantize_mx(torch.ones(3, 33))
    with pytest.raises(ValueError, match="finite"):
        quantize_nvfp4(torch.full((1, 16), torch.nan))
