"""AdaRound: the quadratic form is the error, brute force is reached, the grid is kept."""

import itertools

import pytest
import torch
from torch import nn

from frugal.quant.affine import choose_qparams
from frugal.quant.granularity import PerChannel
from frugal.quant.methods import adaround
from frugal.quant.rounding import LayerInputs, SoftRounding, layer_inputs, round_nearest


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def correlated(rows, k, seed=0):
    """Inputs that share one strong direction: where rounding errors can cancel."""
    return chance(rows, k, seed=seed) + 3 * chance(rows, 1, seed=seed + 1)


def inputs_of(x, x_float=None):
    return LayerInputs(x[None], x[None] if x_float is None else x_float[None])


def test_the_quadratic_form_is_the_squared_error_of_the_outputs():
    weight, rounded, x, x_float = chance(5, 8), chance(5, 8, seed=1), chance(50, 8, seed=2), chance(50, 8, seed=3)
    error = adaround.OutputError.of(weight, inputs_of(x, x_float))
    expected = (x_float @ weight.T - x @ rounded.T).pow(2).sum(1).mean()
    assert error(rounded).item() == pytest.approx(expected.item(), rel=1e-12)
    leaf = rounded.clone().requires_grad_()
    error(leaf).backward()
    assert torch.allclose(2 * error.slope(rounded)[0], leaf.grad, atol=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_the_best_of_all_roundings_is_found_for_ten_weights(seed):
    weight, x = chance(1, 10, seed=seed), correlated(200, 10, seed=seed + 100)
    qparams = choose_qparams(weight, 3, symmetric=True)
    error = adaround.OutputError.of(weight, inputs_of(x))
    soft = SoftRounding(weight, qparams)
    ups = torch.tensor(list(itertools.product([0.0, 1.0], repeat=10)), dtype=torch.float64)
    best = min(error(soft.at(up[None])).item() for up in ups)
    found = error(adaround.round_weight(weight, qparams, inputs_of(x))).item()
    assert found == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("num_bits", [2, 4])
def test_every_weight_takes_one_of_the_two_codes_around_it(num_bits):
    weight, x = chance(6, 12), correlated(300, 12)
    qparams = choose_qparams(weight, num_bits, symmetric=True, granularity=PerChannel(0))
    rounded = adaround.round_weight(weight, qparams, inputs_of(x), steps=100)
    scale = qparams.scale[:, None].double()
    codes = rounded / scale
    assert torch.allclose(codes, codes.round(), atol=1e-6)
    assert ((rounded - weight).abs() <= scale * (1 + 1e-6)).all()
    assert codes.abs().max() <= qparams.quant_max + 1e-6


def test_correlated_inputs_gain_much_and_uncorrelated_ones_little():
    weight = chance(8, 16)
    qparams = choose_qparams(weight, 3, symmetric=True, granularity=PerChannel(0))

    def gain(x):
        error = adaround.OutputError.of(weight, inputs_of(x))
        return (
            error(adaround.round_weight(weight, qparams, inputs_of(x))) / error(round_nearest(weight, qparams))
        ).item()

    white = torch.linalg.qr(chance(64, 16))[0]  # XᵀX = 1: the output error is the weight error
    assert gain(white) == pytest.approx(1, abs=1e-6)
    assert gain(correlated(500, 16)) < 0.5


def test_errors_of_the_layers_before_are_made_good():
    weight, x_float = chance(6, 10), correlated(400, 10)
    x = torch.round(2 * x_float) / 2 + 0.3  # quantized and shifted
    qparams = choose_qparams(weight, 4, symmetric=True, granularity=PerChannel(0))
    error = adaround.OutputError.of(weight, inputs_of(x, x_float))
    knowing = adaround.round_weight(weight, qparams, inputs_of(x, x_float))
    ignorant = adaround.round_weight(weight, qparams, inputs_of(x_float))
    assert error(knowing) < error(ignorant)


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 4, 3, groups=4), nn.Linear(4, 6)])
def test_layers_of_every_kind_are_rounded_better_than_to_the_nearest(layer):
    with torch.no_grad():
        layer.weight.copy_(chance(*layer.weight.shape, seed=5))
    x = chance(8, 4, 9, 9).relu().float() + 0.5
    x = x.flatten(2).transpose(1, 2).contiguous() if isinstance(layer, nn.Linear) else x
    qparams = choose_qparams(layer.weight, 3, symmetric=True, granularity=PerChannel(0))
    rounded = adaround.round_weight(layer.weight.detach(), qparams, layer_inputs(layer, x), steps=200)
    assert rounded.shape == layer.weight.shape

    def error(weight):
        return (torch.func.functional_call(layer, {"weight": weight}, (x,)) - layer(x)).pow(2).sum().item()

    assert error(rounded) < 0.95 * error(round_nearest(layer.weight.detach(), qparams))


def test_settling_never_makes_it_worse_and_ends_where_no_single_move_helps():
    weight, x = chance(3, 7), correlated(100, 7)
    qparams = choose_qparams(weight, 3, symmetric=True)
    error, soft = adaround.OutputError.of(weight, inputs_of(x)), SoftRounding(weight, qparams)
    start = soft.hard()
    end = adaround.settle(start, soft, error)
    assert error(end) <= error(start)
    up = (end - soft.at(torch.zeros_like(end))).abs() > 1e-9
    for i in range(end.numel()):
        other = up.clone()
        other.view(-1)[i] = not other.view(-1)[i]
        assert error(soft.at(other.double())) >= error(end) - 1e-9


def test_edges_and_bad_input():
    weight = chance(2, 4)
    qparams = choose_qparams(weight, 4, symmetric=True)
    on_grid = round_nearest(weight, qparams)
    assert torch.allclose(adaround.round_weight(on_grid, qparams, inputs_of(chance(20, 4)), steps=20), on_grid)
    zeros = inputs_of(torch.zeros(5, 4))
    assert torch.allclose(adaround.round_weight(weight, qparams, zeros, steps=5), on_grid)
    with pytest.raises(ValueError, match="needs the layer's inputs"):
        adaround.round_weight(weight, qparams, None)
    with pytest.raises(ValueError, match="per row"):
        adaround.round_weight(weight, qparams, inputs_of(chance(20, 5)))
