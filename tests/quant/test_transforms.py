"""Transforms: which layers are linked, and that rescaling a link leaves the function as it was."""

import pytest
import torch
from torch import nn

from frugal.graph.fold import fold_batchnorm
from frugal.nets import pretrained
from frugal.quant.affine import choose_qparams
from frugal.quant.config import weights_and_activations
from frugal.quant.convert import quantize_model
from frugal.quant.layers import MappedLayer
from frugal.quant.transforms import (
    Link,
    by_input,
    by_output,
    effective_weights,
    links,
    rescale_,
    scale_inputs_,
    unequalise,
    without_relu6,
)


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def awaken_(model):
    """Give batch norms what training gives them: other numbers than 0 and 1, gammas of both signs."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for i, parameter in enumerate((module.weight, module.bias, module.running_mean)):
                parameter.data.copy_(chance(len(parameter), seed=i))
            module.running_var.copy_(chance(module.num_features, seed=9).exp())
    return model.double().eval()


def chain():
    return awaken_(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 3, groups=2),
        )
    )  # fmt: skip


def test_links_of_a_chain():
    assert links(chain()) == [Link("0", "1", "3", True), Link("3", "4", "7", True), Link("7", None, "8", False)]


@pytest.mark.parametrize(
    "between", [[nn.ReLU6()], [nn.SiLU()], [nn.ReLU(), nn.BatchNorm2d(4)], [nn.BatchNorm2d(4, affine=False)]]
)
def test_what_is_not_homogeneous_breaks_a_link(between):
    assert links(nn.Sequential(nn.Conv2d(3, 4, 3), *between, nn.Conv2d(4, 5, 3))) == []


def test_channels_that_are_added_are_in_no_link():
    model = pretrained.load("resnet8_drawn")
    assert [(link.first, link.second) for link in links(model)] == [
        (f"layer{i}.0.conv1", f"layer{i}.0.conv2") for i in (1, 2, 3)
    ]


@pytest.mark.parametrize("folded", [False, True])
def test_rescaling_a_link_changes_nothing(folded):
    model = fold_batchnorm(chain()) if folded else chain()
    x = chance(2, 3, 12, 12)
    before = model(x)
    for link in links(model):
        factors = chance(by_output(model, link).shape[0]).exp()
        rows, columns = by_output(model, link), by_input(model.get_submodule(link.second))
        rescale_(model, link, factors)
        assert torch.allclose(by_output(model, link), rows / factors[:, None])
        assert torch.allclose(by_input(model.get_submodule(link.second)), columns * factors[:, None])
    assert (model(x) - before).abs().max() < 1e-12 * before.abs().max()


@pytest.mark.parametrize("name", ["resnet8_drawn", "mobilenet_drawn"])
def test_the_twin_computes_the_same_and_loses_eight_bits(name):
    model = without_relu6(pretrained.load(name))
    twin = unequalise(model)
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(twin(x), model(x))  # powers of two only
    config = weights_and_activations(8, None, per_channel=False)
    errors = [(quantize_model(fold_batchnorm(net), config, [x])(x) - model(x)).std() for net in (model, twin)]
    assert errors[1] > 10 * errors[0]


def test_relu6_is_replaced_in_a_copy():
    model = pretrained.load("mobilenet_drawn")
    assert any(link.has_relu for link in links(without_relu6(model)))
    assert not any(link.has_relu for link in links(model))  # only where no activation follows at all
    with pytest.raises(ValueError, match="without_relu6"):
        unequalise(nn.Sequential(nn.Linear(2, 3), nn.ReLU6(), nn.Linear(3, 1)))


def test_effective_weights_keep_the_names_of_the_float_network():
    model = fold_batchnorm(pretrained.load("resnet8_drawn"))
    quantized = quantize_model(model, weights_and_activations(4, None), torch.rand(2, 3, 32, 32))
    real, coded = effective_weights(model), effective_weights(quantized)
    assert list(coded) == list(real)
    for name, weight in real.items():
        step = choose_qparams(weight, 4, symmetric=True).scale
        assert 0 < (coded[name] - weight).abs().max() <= step / 2 + 1e-6
    halved = MappedLayer(nn.Linear(2, 2), lambda w: w / 2, None)
    assert torch.equal(effective_weights(nn.Sequential(halved))["0"], halved.layer.weight / 2)


def test_bad_factors_are_refused():
    model = chain()
    link = links(model)[0]
    with pytest.raises(ValueError, match="8 numbers above 0"):
        rescale_(model, link, torch.ones(7))
    with pytest.raises(ValueError, match="8 numbers above 0"):
        rescale_(model, link, torch.zeros(8))
    with pytest.raises(ValueError, match="8 numbers"):
        scale_inputs_(model[3], torch.ones(3))
    with pytest.raises(ValueError, match="strength"):
        unequalise(model, strength=-1)
