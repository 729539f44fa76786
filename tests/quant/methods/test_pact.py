"""PACT: α hears from clipped values only; DoReFa: levels a fixed distance apart."""

import pytest
import torch

from frugal.quant.affine import dequantize, quantize
from frugal.quant.methods.pact import DorefaWeight, Pact, dorefa_weights, pact_quantize


def draw(count, seed=0):
    return 3 * torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("num_bits", [2, 4, 8])
def test_alpha_collects_the_gradient_of_values_at_or_above_it(num_bits):
    x, g = torch.cat([draw(500), torch.tensor([2.0, 0.0])]).requires_grad_(), draw(502, seed=1)
    alpha = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    (pact_quantize(x, alpha, num_bits) * g).sum().backward()
    above = x.detach() >= 2
    assert torch.isclose(alpha.grad, g[above].sum())
    assert torch.equal(x.grad, g * ((x.detach() >= 0) & ~above))


def test_before_rounding_pact_is_the_formula_of_three_magnitudes():
    x, alpha = draw(500), torch.tensor(2.0, dtype=torch.float64)
    formula = (x.abs() - (x - alpha).abs() + alpha) / 2
    assert (pact_quantize(x, alpha, 8) - formula).abs().max() <= alpha / 255 / 2 + 1e-12


def test_its_codes_stand_for_what_training_saw():
    layer, x = Pact(4, alpha=2.5), draw(300).float()
    assert torch.allclose(layer(x), dequantize(quantize(x.clamp(min=0), layer.qparams()), layer.qparams()), atol=1e-6)


def test_the_penalty_pulls_alpha_down_and_settling_keeps_it_above_0():
    layer = Pact(4, alpha=3.0, decay=0.5)
    layer.penalty().backward()
    assert layer.alpha.grad.item() == 3.0  # d(0.5 α²)/dα
    with torch.no_grad():
        layer.alpha.fill_(-1.0)
    layer.settle_(None)
    assert layer.alpha > 0


@pytest.mark.parametrize("num_bits", [2, 3, 4])
def test_dorefa_has_levels_at_equal_distance_from_minus_1_to_1(num_bits):
    w = dorefa_weights(torch.linspace(-2, 2, 2001, dtype=torch.float64), num_bits)
    wanted = torch.linspace(-1, 1, 1 << num_bits, dtype=torch.float64)
    assert torch.allclose(w.unique().sort().values.unique_consecutive(), wanted, atol=1e-12)


def test_dorefas_gradient_is_that_of_the_squashing_alone():
    w = (draw(50) / 3).requires_grad_()
    dorefa_weights(w, 2).sum().backward()
    slope = (1 - torch.tanh(w.detach()).square()) / torch.tanh(w.detach()).abs().max()
    assert torch.allclose(w.grad, slope)
    assert torch.equal(DorefaWeight(2)(torch.zeros(3)).isfinite(), torch.ones(3, dtype=torch.bool))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="alpha must be one value above 0"):
        pact_quantize(torch.ones(2), torch.tensor(0.0), 4)
    with pytest.raises(ValueError, match="alpha must be above 0"):
        Pact(4, alpha=-1)
    with pytest.raises(ValueError, match="num_bits"):
        pact_quantize(torch.ones(2), torch.tensor(1.0), 1)
    with pytest.raises(ValueError, match="finite"):
        dorefa_weights(torch.tensor([float("nan")]), 4)
