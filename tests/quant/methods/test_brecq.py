"""BRECQ and QDrop: blocks are found, the loss is AdaRound's for one layer, and a block repairs its own errors."""

import pytest
import torch
from torch import nn

from frugal.data import drawn
from frugal.graph.fold import fold_batchnorm
from frugal.nets import pretrained
from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.config import QuantConfig, weights_and_activations
from frugal.quant.convert import quantize_model
from frugal.quant.granularity import PerChannel
from frugal.quant.layers import QuantizedLayer
from frugal.quant.methods import brecq
from frugal.quant.rounding import SoftRounding

SHORT = brecq.Schedule(steps=60, batch_size=16)


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)
    ).eval()


def codes(model):
    return {name: module.codes for name, module in model.named_modules() if isinstance(module, QuantizedLayer)}


def test_blocks_hold_every_layer_once():
    for name in ("resnet8_drawn", "mobilenet_drawn"):
        model = fold_batchnorm(pretrained.load(name))
        blocks = brecq.find_blocks(model)
        layers = [n for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        assert [[b for b in blocks if layer == b or layer.startswith(f"{b}.")] for layer in layers].count([]) == 0
        assert len(blocks) < len(layers)
    assert brecq.find_blocks(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)))) == ["0", "1.0"]


def test_the_loss_of_one_linear_layer_is_that_of_adaround():
    """|W X - Ŵ X|² per row: the same value and the same gradient."""
    weight, x = chance(5, 8).double(), chance(64, 8, seed=1).double()
    soft = SoftRounding(weight, choose_qparams(weight, 3, symmetric=True))
    loss = brecq.output_loss(x @ soft().T, x @ weight.T)
    by_rows = (x @ (soft() - weight).T).pow(2).sum(1).mean()
    assert loss.item() == pytest.approx(by_rows.item(), rel=1e-12)


def test_fisher_of_ones_is_mse():
    a, b = chance(3, 4, 5, 5), chance(3, 4, 5, 5, seed=1)
    assert torch.equal(brecq.output_loss(a, b, torch.ones_like(a)), brecq.output_loss(a, b))
    assert torch.equal(brecq.output_loss(a, b, 2 * torch.ones_like(a)), 2 * brecq.output_loss(a, b))


def test_learned_inputs_quantize_like_their_parameters_and_drop_none_in_eval():
    x = chance(1000).relu()
    qparams = choose_qparams(x, 4)
    quantizer = brecq.LearnedInput(qparams).eval()
    quantizer.drop = 0.5
    assert torch.allclose(quantizer(x), dequantize(quantize(x, qparams), qparams), atol=1e-6)
    quantizer.train()
    assert 0.3 < (quantizer(x) == x)[x > 0].float().mean() < 0.7


@pytest.mark.parametrize("metric, drop", [("mse", 0.5), ("fisher", 0.0)])
def test_blocks_end_closer_to_the_float_network_than_rounding_to_nearest(metric, drop):
    model, x = small(), chance(96, 3, 8, 8)
    config = weights_and_activations(3, 4, observer="mse")
    seen = []
    schedule = brecq.Schedule(steps=150, batch_size=32, drop=drop)
    learned = brecq.reconstruct(model, config, x, schedule=schedule, metric=metric, watch=lambda *row: seen.append(row))
    nearest = quantize_model(model, config, x)
    fresh = chance(200, 3, 8, 8, seed=9)
    assert (learned(fresh) - model(fresh)).norm() < 0.8 * (nearest(fresh) - model(fresh)).norm()
    assert [name for name, _, _ in seen] == ["0", "2", "5"]


def test_the_result_holds_whole_codes_on_the_grid_and_leaves_the_model_alone():
    model, x = small(), chance(32, 3, 8, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = weights_and_activations(4, 8, observer="mse")
    learned = brecq.reconstruct(model, config, [x], schedule=SHORT)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert list(codes(learned)) == ["0", "2", "5"]
    for name, q in codes(learned).items():
        assert q.dtype == torch.int8
        layer = learned.get_submodule(name)
        step = layer.weight_qparams().scale.view(-1, *[1] * (q.ndim - 1))
        weight = model.get_submodule(name).weight
        inside = weight.abs() <= 7 * step
        assert ((layer.dequantized_weight() - weight).abs() <= step * (1 + 1e-4))[inside].all()
    again = brecq.reconstruct(model, config, [x], schedule=SHORT)
    assert all(torch.equal(a, b) for a, b in zip(codes(learned).values(), codes(again).values(), strict=True))


def test_a_residual_block_fitted_as_one_errs_less_than_layer_by_layer():
    model = pretrained.load("resnet8_drawn")
    x = drawn.draw(64, split="val").images
    config = weights_and_activations(2, None)
    schedule = brecq.Schedule(steps=120, batch_size=16, drop=0.0)
    whole, apart = {}, {}
    blocks = brecq.find_blocks(model)[:2]
    layers = ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    keep = dict.fromkeys(("layer2.*", "layer3.*", "linear"))
    part = QuantConfig(config.default, per_layer=keep)
    rest = ["layer2.0", "layer3.0", "linear"]
    fitted = {}
    for names, found in ((blocks, whole), (layers, apart)):
        fitted[len(names)] = brecq.reconstruct(
            model,
            part,
            x,
            schedule=schedule,
            blocks=[*names, *rest],
            watch=lambda n, b, a, found=found: found.update({n: a}),
        )
    target = fold_batchnorm(model)
    stem = [nn.Sequential(net.conv1, net.bn1, net.relu, net.layer1) for net in (target, fitted[2], fitted[3])]
    errors = [(net(x) - stem[0](x)).pow(2).sum().item() for net in stem[1:]]
    assert errors[0] < errors[1]


def test_layers_left_in_float_stay_float():
    model, x = small(), chance(16, 3, 8, 8)
    config = QuantConfig(weights_and_activations(4, 4).default, per_layer={"5": None})
    learned = brecq.reconstruct(model, config, x, schedule=SHORT)
    assert list(codes(learned)) == ["0", "2"]
    assert torch.equal(learned[5].weight, model[5].weight)


def test_bad_input():
    model, x = small(), chance(8, 3, 8, 8)
    with pytest.raises(ValueError, match="metric"):
        brecq.reconstruct(model, QuantConfig(), x, metric="l1")
    with pytest.raises(ValueError, match="no block holds"):
        brecq.reconstruct(model, QuantConfig(), x, blocks=["0"], schedule=SHORT)
    with pytest.raises(ValueError, match="steps"):
        brecq.Schedule(steps=0)
    with pytest.raises(ValueError, match="drop"):
        brecq.Schedule(drop=1.0)
    with pytest.raises(ValueError, match="one scale"):
        brecq.LearnedInput(choose_qparams(chance(3, 4), granularity=PerChannel(0)))
