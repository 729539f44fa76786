"""A2Q: no input whatever overflows the accumulator, and the free norm is pulled under the bound."""

import pytest
import torch

from frugal.quant.accumulator import accumulate, accumulator_range, safe_bits
from frugal.quant.affine import dequantize, quantize
from frugal.quant.methods.a2q import AccumulatorAwareWeight, a2q_weights, norm_bound


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("accumulator_bits, input_bits", [(16, 8), (12, 8), (12, 4), (9, 4)])
def test_the_worst_input_of_every_output_fits(accumulator_bits, input_bits, signed):
    w = draw(12, 300) ** 5  # heavy tails: of equal weights, a bound this tight would leave none
    quantizer = AccumulatorAwareWeight(
        w, 8, accumulator_bits=accumulator_bits, input_bits=input_bits, signed_input=signed
    )
    codes = quantize(quantizer(w).detach(), quantizer.qparams()).to(torch.int64)
    assert codes.abs().sum() > 0
    ends = (-(1 << input_bits - 1), (1 << input_bits - 1) - 1) if signed else (0, (1 << input_bits) - 1)
    assert (safe_bits(codes, *ends) <= accumulator_bits).all()
    worst = torch.where(codes > 0, ends[1], ends[0])
    exact = (worst * codes).sum(1)
    kept = torch.stack(
        [accumulate(x[None], q[None], accumulator_bits)[0, 0] for x, q in zip(worst, codes, strict=True)]
    )
    assert torch.equal(kept, exact)


def test_without_the_bound_the_same_weights_overflow():
    w = draw(12, 300)
    plain = torch.round(w / w.abs().amax(1, keepdim=True) * 127).to(torch.int64)
    assert (safe_bits(plain, 0, 255) > 16).all()


def test_the_bound_is_the_sheets_and_reached_but_for_rounding():
    assert norm_bound(16, 8, signed_input=True) == 32767 / 128
    w = draw(4, 1000)
    quantizer = AccumulatorAwareWeight(w, 8, accumulator_bits=20, input_bits=8)
    norms = quantize(quantizer(w).detach(), quantizer.qparams()).abs().to(torch.int64).sum(1)
    bound = norm_bound(20, 8, signed_input=False)
    assert (norms <= bound).all()
    assert (norms > 0.5 * bound).all()  # towards zero: less, never more


def test_rounding_to_nearest_would_break_the_bound():
    """Sixty weights of 0.51 steps: together 30.6, rounded to nearest 60."""
    v = torch.ones(1, 60)
    inside = a2q_weights(v, torch.zeros(1), torch.tensor([30.6]).log2(), 8, bound=40.0)
    assert inside.abs().sum() <= 40
    assert torch.round(30.6 * v / 60).abs().sum() > 40


def test_codes_stay_narrow_and_their_values_are_whole_steps():
    w = draw(5, 20)
    quantizer = AccumulatorAwareWeight(w, 4, accumulator_bits=30)
    y = quantizer(w).detach()
    qparams = quantizer.qparams()
    assert (qparams.quant_min, qparams.quant_max) == (-7, 7)
    assert torch.allclose(dequantize(quantize(y, qparams), qparams), y, atol=1e-6)
    assert (y - w).abs().max() <= qparams.scale.max() * (1 + 1e-4)  # towards zero errs by up to a whole step


def test_gradients_reach_direction_step_and_norm_and_the_penalty_pulls_the_norm():
    w = draw(3, 50).requires_grad_()
    quantizer = AccumulatorAwareWeight(w.detach(), 6, accumulator_bits=24)
    quantizer(w).square().sum().backward()
    for parameter in (w, quantizer.log2_step, quantizer.log2_norm):
        assert parameter.grad.abs().sum() > 0
    assert quantizer.penalty().item() == 0
    tight = AccumulatorAwareWeight(w.detach(), 6, accumulator_bits=10, strength=1.0)
    tight.penalty().backward()
    assert (tight.log2_norm.grad == 1).all()
    assert (tight.log2_step.grad == -1).all()


def test_zeros_and_bad_input():
    assert AccumulatorAwareWeight(torch.zeros(2, 3))(torch.zeros(2, 3)).abs().sum() == 0
    with pytest.raises(ValueError, match="accumulator has"):
        norm_bound(1, 8, signed_input=True)
    with pytest.raises(ValueError, match="num_bits must be from 1 to 8"):
        norm_bound(16, 9, signed_input=True)
    with pytest.raises(ValueError, match="finite"):
        a2q_weights(torch.tensor([[float("nan")]]), torch.zeros(1), torch.zeros(1), 8, 10.0)
    assert accumulator_range(16) == (-32768, 32767)
