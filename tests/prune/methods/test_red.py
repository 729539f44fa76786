"""RED: separation is exact on collinear kernels, counts what it says, and has both extremes as special cases."""

import pytest
import torch
from torch import nn

from frugal.data import drawn
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.nets import pretrained
from frugal.prune.hashing import hash_network, range_over
from frugal.prune.methods import red


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def conv(r, out=8, kernel=3, seed=0, **arguments):
    """A convolution in which input c has r[c] kernels up to a factor, every one of them used."""
    layer = nn.Conv2d(len(r), out, kernel, **arguments).double()
    with torch.no_grad():
        for c, count in enumerate(r):
            bases = chance(count, kernel, kernel, seed=seed + c)
            which = torch.arange(out) % count
            layer.weight[:, c] = bases[which] * (0.5 + chance(out, seed=seed + 99 + c).abs())[:, None, None]
            layer.weight[::2, c] *= -1
        layer.bias.copy_(chance(out, seed=seed + 7))
    return layer


@pytest.mark.parametrize(
    "arguments", [{}, {"padding": 1}, {"stride": 2, "padding": 1}, {"dilation": 2}, {"padding": "same"}]
)
def test_collinear_kernels_are_shared_and_the_function_stays(arguments):
    layer = conv([1, 3, 8, 2, 1], **arguments)
    separated = red.UnevenSeparation(layer)
    assert separated.multiplicity.tolist() == [1, 3, 8, 2, 1]
    x = chance(2, 5, 9, 8)
    torch.testing.assert_close(separated(x), layer(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(separated.dense_weight(), layer.weight, rtol=0, atol=1e-14)


def test_products_are_what_the_formula_says():
    separated = red.UnevenSeparation(conv([1, 3, 8, 2, 1]))
    assert separated.products_per_pixel == 9 * (1 + 3 + 8 + 2 + 1) + 5 * 8
    assert separated.dense_products_per_pixel == 9 * 5 * 8
    assert parameters(separated) == separated.products_per_pixel + 8


def test_one_kernel_for_each_input_is_a_depthwise_separable_convolution():
    layer = conv([1, 1, 1])
    separated = red.UnevenSeparation(layer)
    depthwise = nn.Conv2d(3, 3, 3, groups=3, bias=False).double()
    pointwise = nn.Conv2d(3, 8, 1).double()
    with torch.no_grad():
        depthwise.weight.copy_(separated.kernels)
        pointwise.weight.copy_(separated.coefficients[..., None, None])
        pointwise.bias.copy_(layer.bias)
    x = chance(2, 3, 7, 7)
    torch.testing.assert_close(pointwise(depthwise(x)), layer(x), rtol=0, atol=1e-12)


def test_kernels_that_share_nothing_stay_as_many_as_in_the_dense_layer():
    layer = conv([8, 8, 8])
    separated = red.UnevenSeparation(layer)
    assert separated.multiplicity.tolist() == [8, 8, 8]
    assert separated.products_per_pixel > separated.dense_products_per_pixel
    x = chance(2, 3, 7, 7)
    torch.testing.assert_close(separated(x), layer(x), rtol=0, atol=1e-12)
    assert type(red.separate(layer)) is nn.Conv2d


def test_separation_is_done_exactly_where_it_pays():
    """k = 3, O = 9: it pays where the mean of r is below 9 (1 - 1/9) = 8."""
    assert isinstance(red.separate(conv([8, 7], out=9)), red.UnevenSeparation)
    assert isinstance(red.separate(conv([8, 8], out=9)), nn.Conv2d)


def test_kernels_of_zeros_need_no_kernel_of_their_own():
    layer = conv([2, 2, 2])
    with torch.no_grad():
        layer.weight[3:, 1] = 0
        layer.weight[:, 2] = 0
    separated = red.UnevenSeparation(layer)
    assert separated.multiplicity.tolist() == [2, 2, 1]
    x = chance(2, 3, 7, 7)
    torch.testing.assert_close(separated(x), layer(x), rtol=0, atol=1e-12)


def test_tolerance_lets_nearly_collinear_kernels_share_and_bounds_their_error():
    layer = conv([2, 2])
    exact = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(0.01 * chance(*layer.weight.shape, seed=5))
    assert red.UnevenSeparation(layer).multiplicity.tolist() == [8, 8]
    near = red.UnevenSeparation(layer, tolerance=0.3)
    assert near.multiplicity.max() <= 3
    error = (near.dense_weight() - layer.weight).flatten(2).norm(dim=2)
    assert (error <= 0.3 * layer.weight.flatten(2).norm(dim=2) + 1e-12).all()
    assert not torch.equal(exact, layer.weight)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("kernel", [1, 7])
def test_every_kernel_finds_its_own_line_at_any_scale(kernel, scale):
    weight = scale * chance(20, 3, kernel, kernel)
    kernels, coefficients, which, r = red.collinear_kernels(weight)
    assert r.tolist() == ([1] * 3 if kernel == 1 else [20] * 3)
    rebuilt = kernels[which].squeeze(2) * coefficients[..., None, None]
    torch.testing.assert_close(rebuilt, weight, rtol=0, atol=1e-13 * scale)


def test_factors_survive_float32():
    layer = conv([2, 3]).float()
    assert red.UnevenSeparation(layer).multiplicity.tolist() == [2, 3]


def test_a_separated_layer_learns():
    separated = red.UnevenSeparation(conv([2, 3]))
    separated(chance(2, 2, 6, 6)).square().sum().backward()
    for parameter in separated.parameters():
        assert parameter.grad.abs().sum() > 0
    assert "kernels=5 of 16" in repr(separated)


@pytest.mark.parametrize(
    "layer, words",
    [
        (nn.Conv2d(4, 4, 3, groups=2), "it has 2 groups"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "its padding is 'reflect'"),
        (nn.Linear(3, 3), "a Linear is not an nn.Conv2d"),
        (nn.ConvTranspose2d(3, 3, 3), "a ConvTranspose2d is not"),
    ],
)
def test_other_layers_are_refused(layer, words):
    with pytest.raises(ValueError, match=words):
        red.separate(layer)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="tolerance must be from 0"):
        red.UnevenSeparation(conv([1]), tolerance=1.0)
    with pytest.raises(ValueError, match=r"weight must be \[out, in, kh, kw\]"):
        red.collinear_kernels(chance(3, 3))
    with pytest.raises(ValueError, match="weight must be finite"):
        red.collinear_kernels(chance(3, 3, 3, 3) / 0)


def test_in_a_network_hashed_and_separated_layers_equal_the_hashed_ones():
    model = pretrained.load("resnet8_drawn")
    rule = range_over(4)  # so few values that kernels coincide
    hashed = hash_network(model, rule).double()
    separated = red.separate_network(hashed)
    assert any(isinstance(m, red.UnevenSeparation) for m in separated.modules())
    x = chance(2, 3, 32, 32)
    torch.testing.assert_close(separated(x), hashed(x), rtol=1e-9, atol=1e-9)


def test_the_three_steps_leave_a_smaller_network_that_still_classifies():
    model = pretrained.load("resnet8_drawn")
    images, labels = drawn.draw(300, split="test")
    smaller = red.compress(model, (3, 32, 32), bandwidth=range_over(512), alpha=0.003)
    assert parameters(smaller) < parameters(fold_batchnorm(model))
    assert accuracy(smaller, images, labels) > accuracy(model, images, labels) - 5


def test_without_merging_and_separation_it_is_hashing():
    model = pretrained.load("resnet8_drawn")
    only = red.compress(model, (3, 32, 32), bandwidth=range_over(300), alpha=0.0, tolerance=None)
    hashed = hash_network(model, range_over(300))
    x = chance(2, 3, 32, 32).float()
    torch.testing.assert_close(only(x), hashed(x), rtol=1e-5, atol=1e-5)
