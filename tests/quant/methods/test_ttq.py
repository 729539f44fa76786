"""Trained ternary quantization: each of the three gradients, sign included."""

import pytest
import torch

from frugal.quant.methods.ttq import TrainedTernary, ttq_quantize


def draw(count=200, seed=0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value(number):
    return torch.tensor(number, dtype=torch.float64, requires_grad=True)


def test_the_gradients_of_both_values_equal_finite_differences():
    """The output is linear in W_p and W_n, so the differences are exact; the minus of W_n shows."""
    w, g = draw(), draw(seed=1)
    up, down = value(1.3), value(0.8)
    (ttq_quantize(w, up, down, 0.2) * g).sum().backward()
    for parameter, others in ((up, lambda v: (v, down)), (down, lambda v: (up, v))):
        high, low = ((ttq_quantize(w, *others(parameter.detach() + h), 0.2) * g).sum().detach() for h in (0.5, -0.5))
        assert torch.isclose(parameter.grad, high - low)
    below = w < -0.2 * w.abs().max()
    assert torch.isclose(down.grad, -g[below].sum())


def test_the_gradient_of_a_weight_is_scaled_by_the_value_of_its_region():
    w = torch.tensor([2.0, 0.1, -0.1, -2.0], dtype=torch.float64, requires_grad=True)
    ttq_quantize(w, value(3.0), value(5.0), 0.1).sum().backward()
    assert w.grad.tolist() == [3.0, 1.0, 1.0, 5.0]


def test_a_weight_on_the_threshold_is_0():
    assert ttq_quantize(torch.tensor([1.0, 0.5, -0.5]), torch.tensor(2.0), torch.tensor(3.0), 0.5).tolist() == [2, 0, 0]


def test_both_values_start_from_the_weights_that_they_replace():
    w = draw().float()
    quantizer = TrainedTernary(threshold=0.1)
    y = quantizer(w)
    limit = 0.1 * w.abs().max()
    assert quantizer.positive.item() == pytest.approx(w[w > limit].mean().item())
    assert quantizer.negative.item() == pytest.approx(-w[w < -limit].mean().item())
    assert len(y.unique()) == 3
    assert quantizer.qparams() is None


def test_asymmetric_weights_get_asymmetric_values():
    w = torch.where(torch.arange(100) % 2 == 0, 4.0, -1.0)
    assert torch.equal(TrainedTernary()(w), w)


def test_one_sided_and_zero_weights_are_finite():
    for w in (torch.zeros(4), torch.ones(4), -torch.ones(4)):
        assert TrainedTernary()(w).isfinite().all()


def test_bad_input_is_refused():
    one = torch.tensor(1.0)
    with pytest.raises(ValueError, match="threshold must be from 0 to below 1"):
        ttq_quantize(torch.ones(2), one, one, 1.0)
    with pytest.raises(ValueError, match="one value each"):
        ttq_quantize(torch.ones(2), torch.ones(2), one)
    with pytest.raises(ValueError, match="finite"):
        ttq_quantize(torch.tensor([float("nan")]), one, one)
