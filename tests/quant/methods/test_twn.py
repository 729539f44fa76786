"""Ternary weights: the scale is the best one, the threshold nearly."""

import math

import pytest
import torch

from frugal.quant.affine import dequantize, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.methods.twn import TernaryWeight, best_threshold, ternarize, ternarize_above


def normal(count=100_000, seed=0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def error(w, made):
    return (w - made.values).square().mean().item()


def test_no_other_scale_is_nearer():
    w = normal(1000)
    made = ternarize(w)
    best = error(w, made)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert (w - factor * made.values).square().mean() > best
    assert made.scale.item() == pytest.approx(((w * made.codes).sum() / made.codes.square().sum()).item())


def test_the_threshold_is_0_7_of_the_mean_magnitude():
    w = normal(1000)
    limit = 0.7 * w.abs().mean()
    assert torch.equal(ternarize(w).codes.to(w.dtype), torch.sign(w) * (w.abs() > limit))


def test_on_normal_weights_the_rule_of_thumb_costs_under_one_per_cent():
    w = normal()
    exact = best_threshold(w)
    best = error(w, ternarize_above(w, exact))
    assert 0.60 < exact < 0.625  # the optimum is 0.612 standard deviations
    assert best < error(w, ternarize(w)) < 1.01 * best
    assert best == pytest.approx(0.190, abs=0.003)


def test_on_uniform_weights_the_best_threshold_is_a_third():
    w = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    assert best_threshold(w).item() == pytest.approx(1 / 3, abs=1e-3)


def test_the_best_threshold_equals_trying_all_subsets():
    for seed in range(5):
        w = normal(9, seed)
        tried = [error(w, ternarize_above(w, limit)) for limit in torch.cat([torch.zeros(1), w.abs() + 1e-9])]
        assert error(w, ternarize_above(w, best_threshold(w))) <= min(tried) + 1e-12


def test_ternary_loses_more_than_four_levels_and_less_than_two():
    w = normal()
    binary = (w - w.abs().mean() * torch.sign(w)).square().mean().item()
    assert binary == pytest.approx(1 - 2 / math.pi, abs=0.005)
    assert 0.149 < error(w, ternarize(w)) < binary


def test_channels_have_their_own_threshold_and_scale():
    w = torch.stack([normal(100), 50 * normal(100, 1)])
    made = ternarize(w, granularity=PerChannel(0))
    for row, alone in enumerate(w):
        assert torch.equal(made.values[row], ternarize(alone).values)
    assert made.sparsity < ternarize(w).sparsity  # one threshold for both would empty the first


def test_the_quantizer_passes_the_gradient_and_its_codes_are_its_values():
    w = normal(60).float().reshape(6, 10).requires_grad_()
    quantizer = TernaryWeight(granularity=PerChannel(0))
    y = quantizer(w)
    y.backward(torch.arange(60.0).reshape(6, 10))
    assert torch.equal(w.grad, torch.arange(60.0).reshape(6, 10))
    qparams = quantizer.qparams()
    assert torch.equal(dequantize(quantize(y.detach(), qparams), qparams), y.detach())


def test_zeros_and_equal_weights():
    assert ternarize(torch.zeros(4)).values.tolist() == [0.0] * 4
    assert ternarize(torch.full((4,), -2.0)).values.tolist() == [-2.0] * 4
    assert TernaryWeight()(torch.zeros(3)).tolist() == [0.0] * 3
    assert best_threshold(torch.zeros(3)).item() == 0.0


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="from 0 to below 1, got 1"):
        ternarize(torch.ones(3), factor=1.0)
    with pytest.raises(ValueError, match="finite"):
        ternarize(torch.tensor([1.0, float("inf")]))
    with pytest.raises(ValueError, match="at least one value"):
        best_threshold(torch.tensor([]))
