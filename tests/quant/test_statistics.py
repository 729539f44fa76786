"""Statistics without data: formulas against chance, and networks on distributions against networks on numbers."""

import math

import pytest
import torch
from torch import nn

from frugal.core.errors import UnsupportedModel
from frugal.data import drawn
from frugal.nets import pretrained
from frugal.quant.statistics import Moments, clipped_normal, input_moments, normal, through, watch_inputs

SAMPLES = 400_000


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    "low, high", [(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0), (-math.inf, 0.5), (-math.inf, math.inf)]
)
@pytest.mark.parametrize("beta, gamma", [(0.0, 1.0), (2.0, -1.5), (-3.0, 2.0), (5.0, 3.0), (1.0, 0.0)])
def test_a_clipped_normal_has_the_moments_of_its_samples(beta, gamma, low, high):
    x = (beta + gamma * chance(SAMPLES)).clamp(low, high)
    mean, var = clipped_normal(torch.tensor([beta]), torch.tensor([gamma]), low, high)
    error = 5 * (x.std() / SAMPLES**0.5).item() + 1e-12
    assert mean.item() == pytest.approx(x.mean().item(), abs=error)
    assert var.item() == pytest.approx(x.var().item(), rel=0.03, abs=1e-9)


def test_the_sign_of_gamma_does_not_matter():
    beta, gamma = chance(20), chance(20, seed=1)
    for a, b in zip(clipped_normal(beta, gamma), clipped_normal(beta, -gamma), strict=True):
        assert torch.equal(a, b)


def test_quadrature_agrees_with_the_formula_for_smooth_functions():
    x = normal(torch.tensor([0.3, -2.0]), 1.5)
    seen = through(lambda v: v**2, x)
    assert torch.allclose(seen.mean, x.mean**2 + x.var)  # E[x²]
    assert torch.allclose(seen.var, 2 * x.var**2 + 4 * x.var * x.mean**2)


def test_moments_of_a_linear_layer_are_exact():
    net = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 2)).double()
    seen = input_moments(net, (5,), normal(torch.arange(5.0), 2.0))["1"]
    weight, bias = net[0].weight, net[0].bias
    assert torch.allclose(seen.mean, weight @ torch.arange(5.0).double() + bias)
    assert torch.allclose(seen.var, (weight**2).sum(1) * 4)


def test_without_an_image_the_means_and_ranges_of_a_trained_network_are_known():
    """Batch norms know them: the drawn pictures confirm it, layer by layer."""
    model = pretrained.load("resnet8_drawn")
    images = drawn.draw(256, split="val").images
    moments = input_moments(model, (3, 32, 32), normal(images.mean((0, 2, 3)), images.std((0, 2, 3))))
    seen = watch_inputs(model, [images], moments)
    for name in ("layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv1"):
        mean = seen[name].mean((0, 2, 3)).double()
        assert torch.corrcoef(torch.stack([mean, moments[name].mean]))[0, 1] > 0.9
        assert 0.6 < (moments[name].high.max() / seen[name].max()).item() < 1.7


def test_sums_products_activations_and_shortcuts_are_passed():
    for name in ("resnet8_drawn", "mobilenet_drawn"):
        model = pretrained.load(name)
        moments = input_moments(model, (3, 32, 32))
        layers = [n for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        assert sorted(moments) == sorted(layers)
        assert all((m.low <= m.mean).all() and (m.mean <= m.high).all() for m in moments.values())


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
        self.gate = nn.Sigmoid()
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        y = self.layer(x)
        return self.last(torch.cat([y * self.gate(x), 2 * y + 1], 1))


def test_a_gate_and_a_join_agree_with_samples():
    net = Gate().double()
    seen = input_moments(net, (3, 1, 1))["last"]
    x = chance(SAMPLES // 4, 3, 1, 1)
    got = watch_inputs(net, [x], ["last"])["last"].flatten(1)
    error = 5 * got.std(0) / len(x) ** 0.5
    linear = slice(3, 6)  # y and sigmoid(x) hang together, so the product is approximate; what is linear is exact
    assert ((seen.mean - got.mean(0)).abs() < error)[linear].all()
    assert torch.allclose(seen.var[linear], got.var(0)[linear], rtol=0.05)


def test_unknown_modules_and_wrong_pixels_are_refused():
    with pytest.raises(UnsupportedModel, match="LayerNorm"):
        input_moments(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)), (4,))
    with pytest.raises(ValueError, match="3 channels"):
        input_moments(nn.Sequential(nn.Conv2d(3, 4, 1)), (3, 8, 8), normal(torch.zeros(4), 1.0))
    with pytest.raises(ValueError, match="low must not exceed high"):
        clipped_normal(torch.zeros(1), torch.ones(1), 2.0, 1.0)
    with pytest.raises(ValueError, match="no batch reached"):
        watch_inputs(nn.Sequential(nn.Linear(2, 2)), [], ["0"])


def test_per_channel_counts_what_differs_between_pixels():
    mean = torch.tensor([0.0, 2.0]).double().view(1, 1, 1, 2)
    zero = torch.zeros_like(mean)
    merged = Moments(mean, zero, mean, mean).per_channel()
    assert (merged.mean.item(), merged.var.item(), merged.low.item(), merged.high.item()) == (1.0, 1.0, 0.0, 2.0)
