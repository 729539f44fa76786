"""BinaryConnect [11]: unbiased when drawn, never 0, and the real weight stays within reach."""

import math

import pytest
import torch
from torch import nn

from frugal.quant.methods.binary_connect import (
    BinaryConnect,
    binarize,
    binarize_stochastic,
    flips,
    learning_rate_scale,
    probability_of_plus,
    squared_hinge,
)


def rng():
    return torch.Generator().manual_seed(0)


def test_every_weight_becomes_minus_1_or_plus_1_and_0_becomes_plus_1():
    assert binarize(torch.tensor([-2.0, -1e-30, -0.0, 0.0, 1e-30])).tolist() == [-1, -1, 1, 1, 1]
    drawn = binarize_stochastic(torch.linspace(-2, 2, 999), rng())
    assert set(drawn.tolist()) == {-1.0, 1.0}


def test_the_mean_of_many_draws_is_the_clipped_weight():
    w = torch.linspace(-1.5, 1.5, 13, dtype=torch.float64)
    draws = 20_000
    mean = binarize_stochastic(w.expand(draws, 13), rng()).mean(0)
    four_errors = 4 * (1 - w.clamp(-1, 1) ** 2).sqrt() / math.sqrt(draws)
    assert ((mean - w.clamp(-1, 1)).abs() <= four_errors + 1e-12).all()


def test_the_hard_sigmoid_is_a_ramp_from_minus_1_to_1():
    assert probability_of_plus(torch.tensor([-3.0, -1.0, 0.0, 0.5, 1.0, 3.0])).tolist() == [0, 0, 0.5, 0.75, 1, 1]


@pytest.mark.parametrize("function", [binarize, lambda w: binarize_stochastic(w, rng())])
def test_the_gradient_goes_to_the_real_weight_as_it_is(function):
    w, g = torch.linspace(-2, 2, 9).requires_grad_(), torch.arange(9.0)
    (function(w) * g).sum().backward()
    assert torch.equal(w.grad, g)


def test_settling_brings_weights_back_and_lets_them_flip_again():
    """Pushed up for 50 steps, then down: the clipped weight turns after a few, the other keeps its sign."""
    clipped, free = torch.zeros(1), torch.zeros(1)
    quantizer = BinaryConnect()
    for step in range(70):
        move = 0.1 if step < 50 else -0.1
        clipped += move
        free += move
        quantizer.settle_(clipped)
        assert clipped.abs() <= 1
    assert binarize(clipped).item() == -1
    assert binarize(free).item() == 1


def test_trained_with_chance_it_tests_with_real_weights_and_without_with_signs():
    w = torch.tensor([0.3, -0.4])
    assert torch.equal(BinaryConnect(stochastic=True).eval()(w), w)
    assert BinaryConnect().eval()(w).tolist() == [1.0, -1.0]
    assert BinaryConnect(stochastic=True).qparams() is None
    assert BinaryConnect().qparams().scale.item() == 1.0


def test_a_layer_learns_signs_that_solve_its_task():
    generator = rng()
    wanted = torch.where(torch.rand(8, generator=generator) < 0.5, -1.0, 1.0)
    x = torch.randn(256, 8, generator=generator)
    w = (0.1 * torch.randn(8, generator=generator)).requires_grad_()
    quantizer, optimizer = BinaryConnect(), torch.optim.SGD([w], lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        (x @ quantizer(w) - x @ wanted).square().mean().backward()
        optimizer.step()
        quantizer.settle_(w)
    assert torch.equal(binarize(w), wanted)


def test_the_learning_rate_scale_is_the_authors():
    assert learning_rate_scale(nn.Conv2d(3, 5, 3)) == pytest.approx(1 / math.sqrt(1.5 / (3 * 9 + 5 * 9)))


def test_the_squared_hinge_counts_margins_below_1_on_both_sides():
    logits = torch.tensor([[0.5, -1.0, 2.0]])
    assert squared_hinge(logits, torch.tensor([0])).item() == pytest.approx((0.25 + 0 + 9) / 3)
    with pytest.raises(ValueError, match="n labels"):
        squared_hinge(logits, torch.tensor([0, 1]))


def test_flips_count_changed_signs():
    assert flips(torch.tensor([1.0, -1.0, 0.0, 2.0]), torch.tensor([1.0, 1.0, -1.0, 1.0])) == 0.5


def test_bad_input_is_refused():
    for wrong in (torch.tensor([float("nan")]), torch.tensor([])):
        with pytest.raises(ValueError, match=r"[wx] must"):
            binarize_stochastic(wrong)
        with pytest.raises(ValueError, match=r"[wx] must"):
            binarize(wrong)
