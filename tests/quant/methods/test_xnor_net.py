"""Binary weights with a scale: α = mean|w| is the best there is, and XNOR-Net's K scales the inputs."""

import math

import pytest
import torch
from torch import nn

from frugal.kernels import bits
from frugal.quant.affine import dequantize, quantize
from frugal.quant.granularity import PerTensor
from frugal.quant.methods.xnor_net import BinaryWeight, XnorConv2d, binary_scale, binary_weights, input_scales
from frugal.quant.ste import sign


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_mean_magnitude_is_the_best_scale_of_every_channel():
    w = draw(5, 40)
    best = (w - binary_weights(w)).square().sum(1)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert ((w - factor * binary_weights(w)).square().sum(1) > best).all()


def test_signs_of_normal_weights_lose_36_per_cent_of_their_squares():
    w = draw(100_000)
    lost = (w - binary_weights(w, PerTensor())).square().mean().item()
    assert lost == pytest.approx(1 - 2 / math.pi, abs=0.005)


def test_the_gradient_is_the_closed_form_of_sign_and_scale():
    w, g = (0.8 * draw(3, 20)).requires_grad_(), draw(3, 20, seed=1)
    (binary_weights(w) * g).sum().backward()
    v = w.detach()
    alpha = v.abs().mean(1, keepdim=True)
    closed = alpha * g * (v.abs() <= 1) + sign(v) / 20 * (g * sign(v)).sum(1, keepdim=True)
    assert torch.allclose(w.grad, closed, atol=1e-12)


def test_k_is_the_mean_magnitude_of_what_an_output_sees():
    x = draw(2, 3, 6, 6)
    k = input_scales(x, (3, 3), (2, 2), (1, 1))
    assert k.shape == (2, 1, 3, 3)
    assert torch.isclose(k[0, 0, 1, 1], x[0, :, 1:4, 1:4].abs().mean())
    assert torch.isclose(k[0, 0, 0, 0], x[0, :, :2, :2].abs().sum() / 27)  # the border counts as 0


def test_the_convolution_is_signs_times_both_scales():
    conv = nn.Conv2d(3, 4, 3, stride=2, padding=1).double()
    x = draw(2, 3, 7, 7)
    y = XnorConv2d(conv)(x)
    dots = nn.functional.conv2d(
        nn.functional.pad(sign(x), (1, 1, 1, 1), value=1.0), sign(conv.weight.detach()), stride=2
    )
    wanted = dots * input_scales(x, (3, 3), (2, 2), (1, 1)) * binary_scale(conv.weight.detach())[:, None, None]
    assert torch.allclose(y, wanted + conv.bias.detach()[:, None, None])


def test_its_whole_numbers_are_what_counting_bits_gives():
    conv = nn.Conv2d(5, 6, 3, padding=1, bias=False)
    x = draw(1, 5, 4, 4).float()
    patches = nn.functional.unfold(nn.functional.pad(sign(x), (1, 1, 1, 1), value=1.0), 3)[0].T  # [16, 45]
    counted = bits.Linear1(conv.weight.detach().flatten(1))(bits.pack(patches))
    scale = input_scales(x, (3, 3), (1, 1), (1, 1))[0] * binary_scale(conv.weight.detach())[:, None, None]
    y = XnorConv2d(conv)(x)[0]
    assert torch.allclose(y, counted.T.reshape(6, 4, 4) * scale, atol=1e-5)


def test_on_inputs_of_one_magnitude_nothing_is_lost_with_binary_weights():
    conv = nn.Conv2d(2, 3, 1, bias=False).double()
    conv.weight.data = 0.3 * sign(conv.weight.data)
    x = 2.0 * sign(draw(1, 2, 5, 5))
    assert torch.allclose(XnorConv2d(conv)(x), conv(x))


def test_codes_are_the_values_and_settling_keeps_the_gradient_alive():
    w = draw(4, 10).float()
    quantizer = BinaryWeight()
    y = quantizer(w).detach()
    assert torch.equal(dequantize(quantize(y, quantizer.qparams()), quantizer.qparams()), y)
    latent = torch.tensor([[3.0, -0.2]])
    quantizer.settle_(latent)
    assert latent.tolist() == [[1.0, pytest.approx(-0.2)]]


def test_zeros_and_bad_input():
    assert BinaryWeight()(torch.zeros(2, 3)).abs().sum() == 0
    with pytest.raises(ValueError, match="finite"):
        binary_scale(torch.tensor([[float("nan")]]))
    with pytest.raises(ValueError, match="no groups"):
        XnorConv2d(nn.Conv2d(4, 4, 3, groups=2))
