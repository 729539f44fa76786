"""Ranges that training follows: they start at the first batch, drift slowly, and hold still once frozen."""

import pytest
import torch

from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.trainable import FollowedRange, RangeOfWeights, SignOfWeights, Trainable


def test_the_first_batch_sets_the_range_and_later_ones_move_it_slowly():
    quantizer = FollowedRange(8, averaging_constant=0.25)
    quantizer(torch.tensor([0.0, 4.0]))
    assert quantizer.high.item() == 4.0  # not 1.0, as from a start at 0
    quantizer(torch.tensor([-2.0, 8.0]))
    assert (quantizer.low.item(), quantizer.high.item()) == (-0.5, 5.0)


@pytest.mark.parametrize("still", ["frozen", "eval"])
def test_a_frozen_range_and_one_in_eval_mode_stay(still):
    quantizer = FollowedRange(4)
    quantizer(torch.tensor([0.0, 1.0]))
    quantizer.freeze() if still == "frozen" else quantizer.eval()
    y = quantizer(torch.tensor([0.0, 50.0]))
    assert y.max().item() == pytest.approx(1.0)


def test_once_frozen_training_and_eval_mode_agree():
    quantizer, x = FollowedRange(4), torch.randn(100)
    quantizer(x)
    quantizer.freeze()
    trained = quantizer(x + 1)
    assert torch.equal(trained, quantizer.eval()(x + 1))


def test_the_range_is_saved_with_the_network():
    quantizer, again = FollowedRange(4), FollowedRange(4)
    quantizer(torch.randn(100))
    again.load_state_dict(quantizer.state_dict())
    x = torch.randn(50)
    assert torch.equal(quantizer.eval()(x), again.eval()(x))


def test_weights_are_quantized_over_their_present_range_with_the_clipped_gradient():
    w = torch.randn(3, 20, requires_grad=True)
    quantizer = RangeOfWeights(4, PerChannel(0))
    wanted = choose_qparams(w, 4, symmetric=True, granularity=PerChannel(0))
    assert torch.equal(quantizer(w), dequantize(quantize(w.detach(), wanted), wanted))
    quantizer(w).sum().backward()
    assert torch.equal(w.grad, torch.ones(3, 20))  # the range covers all: nothing is clipped
    assert torch.equal(quantizer.qparams().scale, wanted.scale)


def test_signs_keep_their_latent_weights_within_1():
    latent = torch.tensor([-3.0, 0.2, 3.0])
    quantizer = SignOfWeights()
    assert quantizer(latent).tolist() == [-1.0, 1.0, 1.0]
    quantizer.settle_(latent)
    assert latent.tolist() == [-1.0, pytest.approx(0.2), 1.0]
    quantizer.settle_(None)


def test_the_base_asks_for_nothing():
    base = Trainable()
    assert base.penalty() is None
    assert base.qparams() is None
    base.settle_(None)
    base.freeze()


def test_bad_input_is_refused():
    with pytest.raises(RuntimeError, match="seen no batch"):
        FollowedRange(4).eval()(torch.ones(2))
    with pytest.raises(ValueError, match="finite"):
        FollowedRange(4)(torch.tensor([float("nan")]))
    with pytest.raises(ValueError, match="averaging_constant"):
        FollowedRange(4, averaging_constant=0)
    with pytest.raises(ValueError, match="num_bits"):
        RangeOfWeights(1)
