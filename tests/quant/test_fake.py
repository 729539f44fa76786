"""Fake quantization: the forward of integer codes, the backward of a straight-through estimator."""

import pytest
import torch

from frugal.quant.affine import QParams, choose_qparams, dequantize, quantize
from frugal.quant.fake import fake_quantize
from frugal.quant.granularity import PerChannel


def narrow():
    return QParams(torch.tensor(0.25), torch.tensor(1, dtype=torch.int32), -4, 3)


@pytest.mark.parametrize("gradient", ["clipped", "identity"])
def test_forward_is_quantize_and_dequantize(gradient):
    x = torch.randn(3, 4)
    qparams = choose_qparams(x, 3, granularity=PerChannel(0))
    assert torch.equal(fake_quantize(x, qparams, gradient), dequantize(quantize(x, qparams), qparams))


def test_the_clipped_gradient_is_the_mask_that_torch_uses():
    x = torch.linspace(-3, 3, 997)  # no value lies on a tie: 6 / 996 does not divide half a step
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = torch.randn(997)
    (fake_quantize(ours, narrow()) * weights).sum().backward()
    (torch.fake_quantize_per_tensor_affine(theirs, 0.25, 1, -4, 3) * weights).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)
    assert 0 < (ours.grad == 0).sum() < 997


def test_the_identity_gradient_reaches_saturated_values_too():
    x = torch.tensor([-99.0, 0.1, 99.0], requires_grad=True)
    fake_quantize(x, narrow(), "identity").backward(torch.tensor([1.0, 2.0, 3.0]))
    assert x.grad.tolist() == [1.0, 2.0, 3.0]


def test_the_true_gradient_of_rounding_is_zero_so_nothing_would_learn():
    x = torch.tensor([0.3, 0.4], requires_grad=True)
    torch.round(x / 0.25).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]


def test_a_weight_learns_through_its_codes():
    weight = torch.tensor([0.0], requires_grad=True)
    for _ in range(40):
        loss = (fake_quantize(weight, narrow()) - 0.5).pow(2).sum()
        (grad,) = torch.autograd.grad(loss, weight)
        weight = (weight - 0.1 * grad).detach().requires_grad_()
    assert fake_quantize(weight, narrow()).item() == 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_of_the_input_is_kept(dtype):
    x = torch.randn(5, dtype=dtype, requires_grad=True)
    y = fake_quantize(x, narrow())
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype


def test_an_unknown_gradient_is_refused():
    with pytest.raises(ValueError, match="gradient must be one of clipped, identity; got 'ste'"):
        fake_quantize(torch.zeros(1), narrow(), "ste")
