"""The whitepaper: its three columns, and a folded layer that trains like a batch norm and infers like a convolution."""

import pytest
import torch
from torch import nn

from frugal.data import drawn
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.nets import pretrained
from frugal.quant.granularity import PerChannel, PerTensor
from frugal.quant.layers import QuantizedLayer
from frugal.quant.methods import whitepaper


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(bias=False, groups=1):
    conv, norm = nn.Conv2d(4, 6 if groups == 1 else 4, 3, padding=1, groups=groups, bias=bias), None
    norm = nn.BatchNorm2d(conv.out_channels)
    n = norm.num_features
    norm.weight.data.copy_(chance(n, seed=1))
    norm.bias.data.copy_(chance(n, seed=2))
    norm.running_mean.copy_(chance(n, seed=3))
    norm.running_var.copy_(chance(n, seed=4).exp())
    return conv.double(), norm.double()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 4])
def test_without_rounding_it_trains_exactly_like_convolution_and_batch_norm(bias, groups):
    conv, norm = pair(bias, groups)
    folded = whitepaper.FoldedConv(conv, norm, weight_bits=None).train()
    plain = nn.Sequential(conv, norm).train()
    x = chance(5, 4, 7, 7)
    y, expected = folded(x), plain(x)
    assert torch.allclose(y, expected, atol=1e-10)
    g = chance(*y.shape, seed=5)
    y.backward(g)
    expected.backward(g)
    assert torch.allclose(folded.conv.weight.grad, conv.weight.grad, atol=1e-8)
    assert torch.allclose(folded.norm.weight.grad, norm.weight.grad, atol=1e-8)
    assert torch.allclose(folded.norm.running_mean, norm.running_mean)
    assert torch.allclose(folded.norm.running_var, norm.running_var)


@pytest.mark.parametrize("bias", [False, True])
def test_frozen_training_is_inference(bias):
    conv, norm = pair(bias)
    folded = whitepaper.FoldedConv(conv, norm, weight_bits=4)
    x = chance(5, 4, 7, 7)
    at_inference = folded.eval()(x)
    folded.train().freeze()
    statistics = folded.norm.running_var.clone()
    assert torch.equal(folded(x), at_inference)
    assert torch.equal(folded.norm.running_var, statistics)


def test_the_grid_does_not_move_with_the_batch():
    """The rounded weight is the running one: two batches of very different variance meet the same codes."""
    conv, norm = pair()
    norm.momentum = 0.0
    folded = whitepaper.FoldedConv(conv, norm, weight_bits=3).train()
    seen = []
    folded._convolve = lambda x, weight: (seen.append(weight.detach().clone()), conv._conv_forward(x, weight, None))[1]
    folded(chance(4, 4, 7, 7))
    folded(50 * chance(4, 4, 7, 7, seed=9))
    assert torch.equal(seen[0], seen[1])


def test_a_network_folded_for_training_computes_the_same_and_can_be_finished():
    model = pretrained.load("resnet8_drawn").double()
    x = chance(2, 3, 32, 32).abs()
    folding = whitepaper.fold_for_training(model, weight_bits=None).eval()
    assert torch.allclose(folding(x), model(x), atol=1e-9)
    finished = whitepaper.finish(folding)
    assert not any(isinstance(m, (nn.BatchNorm2d, whitepaper.FoldedConv)) for m in finished.modules())
    assert torch.allclose(finished(x), model(x), atol=1e-9)
    whitepaper.freeze_norms_(folding)
    assert all(m.frozen for m in folding.modules() if isinstance(m, whitepaper.FoldedConv))


def test_a_step_of_training_lowers_the_loss():
    model = pretrained.load("resnet8_drawn")
    images, labels = drawn.draw(64, split="train", seed=5)
    folding = whitepaper.fold_for_training(model, weight_bits=3).train()
    whitepaper.freeze_norms_(folding)
    optimizer = torch.optim.SGD(folding.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = nn.functional.cross_entropy(folding(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("variant", whitepaper.VARIANTS)
def test_eight_bits_after_training_keep_the_accuracy(variant):
    model = pretrained.load("resnet8_drawn")
    images, labels = drawn.draw(400, split="test")
    quantized = whitepaper.post_training(model, drawn.draw(64, split="val").images, variant)
    assert sum(isinstance(m, QuantizedLayer) for m in quantized.modules()) == 8
    assert accuracy(quantized, images, labels) > accuracy(fold_batchnorm(model), images, labels) - 2


def test_the_variants_are_the_columns_of_table_2():
    kinds = {name: whitepaper.configuration(name).default.weight for name in whitepaper.VARIANTS}
    assert {name: (w.symmetric, w.granularity) for name, w in kinds.items()} == {
        "asymmetric per layer": (False, PerTensor()),
        "symmetric per channel": (True, PerChannel(0)),
        "asymmetric per channel": (False, PerChannel(0)),
    }
    assert not whitepaper.configuration().default.activation.symmetric


def test_bad_input():
    conv, norm = pair()
    with pytest.raises(ValueError, match="variant"):
        whitepaper.configuration("per pixel")
    with pytest.raises(ValueError, match="gamma, beta"):
        whitepaper.FoldedConv(conv, nn.BatchNorm2d(6, affine=False))
    with pytest.raises(ValueError, match="num_bits"):
        whitepaper.FoldedConv(conv, norm, weight_bits=1)
