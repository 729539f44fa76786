"""HQQ: never worse than rounding to nearest, real zero-points, and no data."""

import pytest
import torch

from frugal.quant.methods.hqq import P, hqq, shrink


def heavy_tails(rows=32, columns=128):
    rng = torch.Generator().manual_seed(0)
    normal = torch.randn(rows, columns, generator=rng, dtype=torch.float64)
    chi = torch.randn(3, rows, columns, generator=rng, dtype=torch.float64).square().mean(0).sqrt()
    return normal / chi  # Student's t with 3 degrees of freedom


def cost(weight, form):
    return (weight - form.dequantize()).abs().pow(P).sum().item()


@pytest.mark.parametrize("num_bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group_size", [16, 64, 128])
def test_the_cost_is_never_above_that_of_rounding_to_nearest(num_bits, group_size):
    w = heavy_tails()
    assert cost(w, hqq(w, num_bits, group_size=group_size)) <= cost(w, hqq(w, num_bits, group_size=group_size, steps=0))


def test_outliers_make_it_clearly_better_and_absolute_errors_fall_too():
    w = heavy_tails()
    for num_bits in (2, 3, 4):
        plain, better = hqq(w, num_bits, steps=0), hqq(w, num_bits)
        assert cost(w, better) < 0.99 * cost(w, plain)
        assert (w - better.dequantize()).abs().mean() < (w - plain.dequantize()).abs().mean()


def test_zero_points_are_real_numbers_and_codes_are_small_ones():
    form = hqq(heavy_tails(), 3)
    assert form.codes.dtype == torch.uint8
    assert int(form.codes.max()) == 7
    assert not torch.equal(form.zero_point, form.zero_point.round())


def test_without_steps_the_ends_of_a_group_are_exact():
    w = torch.linspace(-1, 2, 16, dtype=torch.float64)[None]
    back = hqq(w, 2, group_size=16, steps=0).dequantize()
    torch.testing.assert_close(back[0, [0, -1]], w[0, [0, -1]])


def test_constant_groups_survive():
    w = torch.full((2, 8), 3.25)
    torch.testing.assert_close(hqq(w, 4, group_size=8).dequantize(), w)


def test_shrinking_goes_towards_zero_and_never_past_it():
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    y = shrink(x, beta=10.0)
    assert (y * x >= 0).all()
    assert (y.abs() <= x.abs()).all()
    torch.testing.assert_close(y[-1], torch.tensor(3 - 3 ** (P - 1) / 10, dtype=torch.float64))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"\[out, in\]"):
        hqq(torch.ones(2, 4, 1))
    with pytest.raises(ValueError, match="does not divide"):
        hqq(torch.ones(2, 10), group_size=4)
    with pytest.raises(ValueError, match="finite"):
        hqq(torch.full((2, 4), torch.inf), group_size=4)
    with pytest.raises(ValueError, match="from 2 to 8"):
        hqq(torch.ones(2, 4), 1, group_size=4)
