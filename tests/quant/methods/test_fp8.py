"""FP8: the values of the two formats, counted; torch's own cast inside their range; saturation outside."""

import pytest
import torch

from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.methods.fp8 import E4M3, E5M2, STORED, dequantize_fp8, quantize_fp8


@pytest.mark.parametrize(
    "grid, count, largest, smallest_normal, smallest",
    [(E4M3, 127, 448.0, 2.0**-6, 2.0**-9), (E5M2, 124, 57344.0, 2.0**-14, 2.0**-16)],
)
def test_the_formats_have_the_values_that_their_paper_counts(grid, count, largest, smallest_normal, smallest):
    values = grid.values()
    assert (values >= 0).sum() == count
    assert values.max() == largest
    assert values[values > 0].min() == smallest
    assert 2.0**grid.lowest_exponent == smallest_normal


@pytest.mark.parametrize("grid", [E4M3, E5M2])
def test_all_256_codes_of_torch_are_values_of_the_grid(grid):
    every = torch.arange(256, dtype=torch.int16).to(torch.uint8).view(STORED[grid]).double()
    assert torch.equal(every[every.isfinite()].unique(), grid.values())


@pytest.mark.parametrize("grid", [E4M3, E5M2])
def test_rounding_inside_the_range_is_that_of_torch(grid):
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(0)) * 2
    x = torch.cat([x, grid.values().float(), (grid.values()[1:] + grid.values()[:-1]).float() / 2])  # and all ties
    assert torch.equal(grid.quantize(x), x.to(STORED[grid]).float())


@pytest.mark.parametrize("grid, share", [(E4M3, 2.0**-4), (E5M2, 2.0**-3)])
def test_the_error_is_a_share_of_the_value(grid, share):
    x = torch.logspace(-1.5, 2.5, 10_001, dtype=torch.float64)
    assert ((grid.quantize(x) - x).abs() / x).max() <= share


def test_the_largest_value_lands_on_the_largest_code():
    x = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    codes, scale = quantize_fp8(x, granularity=PerChannel(0))
    assert scale.shape == (4,)
    assert (codes.float().abs().amax(1) == 448).all()
    back = dequantize_fp8(codes, scale, PerChannel(0))
    eps = torch.finfo(torch.float32).eps
    assert ((back - x).abs() <= x.abs() * (2.0**-4 + 4 * eps) + scale[:, None] * 2.0**-10).all()


def test_tails_hurt_int8_and_not_fp8():
    rng = torch.Generator().manual_seed(0)
    bell = torch.randn(100_000, generator=rng)
    tailed = bell / torch.randn(3, 100_000, generator=rng).square().mean(0).sqrt()

    def error(x, back):
        return ((back - x).square().mean() / x.square().mean()).item()

    def int8(x):
        qparams = choose_qparams(x, 8, symmetric=True)
        return error(x, dequantize(quantize(x, qparams), qparams))

    def fp8(x):
        return error(x, dequantize_fp8(*quantize_fp8(x)))

    assert int8(bell) < fp8(bell)
    assert int8(tailed) > fp8(tailed)
    assert fp8(tailed) < 1.5 * fp8(bell)


def test_zeros_stay_and_bad_input_is_refused():
    codes, scale = quantize_fp8(torch.zeros(3))
    assert dequantize_fp8(codes, scale).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="finite"):
        quantize_fp8(torch.tensor([torch.inf]))
    with pytest.raises(TypeError, match="float8"):
        dequantize_fp8(torch.zeros(3), torch.tensor(1.0))
