"""LSQ: the gradient of the step is the paper's, value by value, and not torch's."""

import math

import pytest
import torch

from frugal.quant.affine import dequantize, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.methods.lsq import LearnedStep, initial_step, learned_steps, lsq_gradients, lsq_quantize


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("ends", [(-4, 3), (-3, 3), (0, 7), (-1, 1)])
def test_autograd_gives_the_closed_form_of_every_value(ends):
    x = draw(500).requires_grad_()
    step = torch.full((500,), 0.3, dtype=torch.float64, requires_grad=True)  # a step for each value
    lsq_quantize(x, step, *ends).sum().backward()
    by_x, by_step = lsq_gradients(x.detach(), step.detach(), *ends)
    assert torch.equal(x.grad, by_x)
    slack = 8 * torch.finfo(torch.float64).eps * (x.detach().abs().max() / 0.3)
    assert (step.grad - by_step).abs().max() <= slack
    assert 0 < by_x.sum() < 500


def test_a_value_on_an_end_counts_as_outside():
    by_x, by_step = lsq_gradients(torch.tensor([-2.0, 1.0, 0.5]), torch.tensor(1.0), -2, 1)
    assert by_x.tolist() == [0.0, 0.0, 1.0]
    assert by_step.tolist() == [-2.0, 1.0, -0.5]  # halves round to even: 0 - 0.5


def test_away_from_its_jumps_the_quantizer_has_the_slope_of_the_round_code():
    """Moving s a little moves x̂ by the code: real slope = round(v). LSQ subtracts v, the slope of the input's share."""
    x, s, h = torch.tensor([0.7, 2.2, -5.0], dtype=torch.float64), 1.0, 1e-6
    high, low = (lsq_quantize(x, torch.tensor(s + each, dtype=torch.float64), -3, 3) for each in (h, -h))
    slope = (high - low) / (2 * h)
    _, by_step = lsq_gradients(x, torch.tensor(s, dtype=torch.float64), -3, 3)
    inside = torch.tensor([True, True, False])
    assert torch.allclose(slope - torch.where(inside, x / s, 0.0), by_step, atol=1e-6)


def test_torchs_learnable_fake_quantization_is_not_lsq():
    """torch masks on the rounded code: values within half a step outside count as inside there."""
    x = draw(4000).float()
    ours = torch.tensor(0.5, requires_grad=True)
    lsq_quantize(x, ours, -2, 1).sum().backward()
    theirs = torch.tensor([0.5], requires_grad=True)
    torch._fake_quantize_learnable_per_tensor_affine(x, theirs, torch.zeros(1), -2, 1, 1.0).sum().backward()
    v = x / 0.5
    between = ((v > 1) & (v < 1.5)) | ((v < -2) & (v >= -2.5))
    explained = torch.where(between, v, 0.0).sum()  # inside, torch subtracts v there
    assert between.sum() > 100
    assert (ours.grad - theirs.grad - explained).abs() < 1e-2 < (ours.grad - theirs.grad).abs()


def test_the_gradient_of_the_step_is_scaled_by_the_number_of_values_that_share_it():
    w = draw(4, 50).float()
    layer = LearnedStep(4, PerChannel(0), signed=True, blocks=4)
    layer(w)
    layer(w).sum().backward()
    _, by_step = lsq_gradients(w, layer.step.detach()[:, None], -7, 7)
    assert torch.allclose(layer.step.grad, by_step.sum(1) / math.sqrt(50 * 7), rtol=1e-4)


def test_the_first_tensor_sets_the_step_and_the_sign_of_the_codes():
    positive, mixed = LearnedStep(3), LearnedStep(3)
    x = draw(100).float()
    positive(x.abs())
    mixed(x)
    assert positive.ends == (0, 7)
    assert mixed.ends == (-3, 3)
    assert LearnedStep(3, signed=True, narrow=False).ends == (-4, 3)
    assert torch.isclose(positive.step, 2 * x.abs().mean() / math.sqrt(7))


def test_two_bits_of_narrow_codes_are_ternary():
    layer = LearnedStep(2, signed=True)
    assert len(layer(draw(1000).float()).unique()) == 3


def test_the_codes_stand_for_what_training_saw():
    layer = LearnedStep(4, PerChannel(0), signed=True, blocks=6)
    w = draw(6, 30).float()
    assert torch.equal(layer(w), dequantize(quantize(w, layer.qparams()), layer.qparams()))


def test_a_step_that_crossed_0_comes_back():
    layer = LearnedStep(4)
    with torch.no_grad():
        layer.step.fill_(-0.2)
    layer.settle_(None)
    assert layer.step.item() == pytest.approx(0.2)


def test_a_wide_step_learns_to_be_as_good_as_a_search():
    x = draw(2000).float()
    step = torch.tensor(1.5, requires_grad=True)
    optimizer = torch.optim.Adam([step], lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        (lsq_quantize(x, step, -3, 3) - x).square().mean().backward()
        optimizer.step()
    errors = {
        s: (lsq_quantize(x, torch.tensor(s), -3, 3) - x).square().mean().item() for s in (0.4, 0.5, 0.6, 0.7, 0.8)
    }
    learned = (lsq_quantize(x, step.detach(), -3, 3) - x).square().mean().item()
    assert learned <= 1.1 * min(errors.values())  # the estimator's fixed point is near the optimum, not on it


def test_zeros_and_bad_input():
    assert initial_step(torch.zeros(5), 7).item() == 1.0
    for wrong in (torch.tensor(0.0), torch.tensor([0.1, -0.1])):
        with pytest.raises(ValueError, match="step must be above 0"):
            lsq_quantize(torch.ones(2), wrong, -2, 1)
    with pytest.raises(ValueError, match="1 to 3"):
        lsq_quantize(torch.ones(2), torch.tensor(1.0), 1, 3)
    with pytest.raises(ValueError, match="finite"):
        initial_step(torch.tensor([float("inf")]), 7)
    with pytest.raises(ValueError, match="num_bits"):
        LearnedStep(1)
    with pytest.raises(ValueError, match="blocks=5"):
        LearnedStep(4, PerChannel(0))(torch.ones(5, 3))


def test_activations_count_one_sample_however_many_pass():
    x = draw(8, 25).abs().float()
    once, twice = LearnedStep(4, samples=True), LearnedStep(4, samples=True)
    once(x).mean().backward()
    twice(x.repeat(2, 1)).mean().backward()
    assert torch.allclose(once.step.grad, twice.step.grad)


def test_both_operands_of_a_layer_get_a_quantizer_that_fits_it():
    operands = learned_steps(4, 3)
    conv, turned = torch.nn.Conv2d(3, 5, 3), torch.nn.ConvTranspose2d(3, 5, 3)
    for layer in (conv, turned):
        quantizer = operands.weight(layer)
        assert quantizer(layer.weight).shape == layer.weight.shape
        assert quantizer.step.shape == (5,)
    assert operands.activation(conv)(torch.rand(2, 3)).unique().numel() <= 8
    assert learned_steps(None, None).weight is None
