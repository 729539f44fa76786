"""Arithmetic by shifts: powers of two within a factor of sqrt(2), and training that works with them."""

import math

import pytest
import torch
from torch import nn

from frugal.quant.shift import ShiftAdaMax, ShiftBatchNorm, ap2


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_ap2_is_a_signed_power_of_two_within_a_factor_of_root_2():
    x = draw(10_000)
    power = ap2(x)
    mantissa, _ = torch.frexp(power)
    assert (mantissa.abs() == 0.5).all()
    ratio = power / x
    assert (ratio >= 1 / math.sqrt(2) - 1e-12).all()
    assert (ratio <= math.sqrt(2) + 1e-12).all()


def test_ap2_keeps_powers_of_two_and_zero():
    x = torch.tensor([0.0, -0.0, 0.125, -4.0, 2.0**-20])
    assert torch.equal(ap2(x), x)
    with pytest.raises(ValueError, match="finite"):
        ap2(torch.tensor([float("inf")]))


def test_shift_batch_norm_is_batch_norm_up_to_two_factors_of_root_2():
    x = 3 * draw(500, 4) + 1
    y = ShiftBatchNorm(4).double()(x)
    assert y.mean(0).abs().max() < 1e-12
    assert ((y.std(0) > 0.5) & (y.std(0) < 2)).all()


def test_every_factor_is_a_power_of_two():
    norm, x = ShiftBatchNorm(3).double(), draw(100, 3) * 5
    norm.weight.data = torch.tensor([0.7, -1.3, 3.1], dtype=torch.float64)
    norm(x)
    factor, _ = norm.affine()
    assert (torch.frexp(factor).mantissa.abs() == 0.5).all()


def test_in_eval_mode_it_is_the_affine_map_it_says():
    norm, x = ShiftBatchNorm(3).double(), draw(2, 3, 4, 4)
    norm(x)
    norm.eval()
    factor, shift = norm.affine()
    assert torch.allclose(norm(x), x * factor[:, None, None] + shift[:, None, None])


def test_running_statistics_follow_by_an_eighth():
    norm, x = ShiftBatchNorm(2).double(), draw(50, 2) + 4
    norm(x)
    assert torch.allclose(norm.running_mean, x.mean(0) / 8)


def test_the_gradient_reaches_input_and_both_parameters():
    norm, x = ShiftBatchNorm(3).double(), draw(20, 3).requires_grad_()
    (norm(x) * draw(20, 3, seed=1)).sum().backward()
    for each in (x, norm.weight, norm.bias):
        assert each.grad.isfinite().all()
        assert each.grad.abs().sum() > 0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\[n, 3\]"):
        ShiftBatchNorm(3)(torch.zeros(2, 4))


def test_an_update_is_the_momentum_shifted():
    w = draw(50).requires_grad_()
    before, optimizer = w.detach().clone(), ShiftAdaMax([w])
    (w * draw(50, seed=1)).sum().backward()
    optimizer.step()
    ratio = (before - w.detach()) / optimizer.state[w]["momentum"]
    nearest = torch.exp2(torch.round(torch.log2(ratio)))
    rounding = torch.finfo(torch.float64).eps * before.abs() / optimizer.state[w]["momentum"].abs()
    assert ((ratio - nearest).abs() <= 4 * rounding).all()


def test_the_first_update_follows_the_formula():
    w = torch.tensor([1.0], requires_grad=True)
    optimizer = ShiftAdaMax([w], lr=2**-4, betas=(0.75, 0.999))
    (3 * w).sum().backward()
    optimizer.step()
    # momentum 0.25 * 3; AP2(2^-4 / 0.25) = 1/4; AP2(1/3) = 1/4, for log2(1/3) = -1.58 rounds to -2
    assert w.item() == pytest.approx(1 - 0.25 * 0.75 * 0.25)


def test_it_minimises_and_refuses_bad_rates():
    w = torch.tensor([5.0, -3.0], requires_grad=True)
    optimizer = ShiftAdaMax([w], lr=2**-5)
    for _ in range(400):
        optimizer.zero_grad()
        w.square().sum().backward()
        optimizer.step()
    assert w.abs().max() < 0.2
    unused = nn.Parameter(torch.ones(1))
    ShiftAdaMax([unused]).step()
    assert unused.item() == 1
    with pytest.raises(ValueError, match="lr and eps must be above 0"):
        ShiftAdaMax([w], lr=0)
