"""Rounding: the tie rules, unbiased chance, and the soft codes that AdaRound learns."""

import pytest
import torch
from torch import nn

from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.rounding import (
    ROUNDINGS,
    LayerInputs,
    SoftRounding,
    beta_at,
    half_away,
    half_up,
    layer_inputs,
    round_nearest,
    stochastic,
)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("rule", ["half_even", "half_up", "half_away"])
def test_every_rule_goes_to_a_nearest_whole_number(rule):
    x = torch.cat([drawn(1000) * 5, torch.arange(-6, 7) / 2, torch.tensor([0.49999999999999994]).double()])
    y = ROUNDINGS[rule](x)
    assert (y == y.floor()).all()
    assert ((y - x).abs() <= 0.5).all()


def test_the_number_just_below_a_half_goes_down():
    below = torch.tensor([0.49999999999999994], dtype=torch.float64)
    assert half_up(below).item() == 0 == half_away(below).item()


def test_stochastic_rounding_is_unbiased():
    x = torch.full((200_000,), 2.3, dtype=torch.float64)
    y = stochastic(x, torch.Generator().manual_seed(0))
    assert set(y.unique().tolist()) == {2.0, 3.0}
    standard_error = (0.3 * 0.7 / len(x)) ** 0.5
    assert abs(y.mean().item() - 2.3) < 5 * standard_error


@pytest.mark.parametrize(
    "layer, shape",
    [
        (nn.Linear(6, 4), (5, 6)),
        (nn.Conv2d(6, 4, 3, padding=1, stride=2), (2, 6, 7, 5)),
        (nn.Conv2d(6, 4, 3, groups=2, dilation=2), (2, 6, 8, 8)),
        (nn.Conv2d(6, 6, 3, groups=6), (1, 6, 5, 5)),
    ],
)
def test_rows_times_weight_is_the_layer(layer, shape):
    layer = layer.double()
    x = drawn(*shape)
    rows = layer_inputs(layer, x).x
    weight = layer.weight.detach().flatten(1).unflatten(0, (rows.shape[0], -1))  # [groups, out / groups, k]
    y = (rows @ weight.transpose(1, 2)).transpose(0, 1).flatten(1)  # [rows, out]
    expected = layer(x) - layer.bias.view(-1, *[1] * (x.ndim - 2))
    expected = expected.movedim(1, -1).reshape(-1, y.shape[1])
    assert torch.allclose(y, expected, atol=1e-12)


def test_a_sample_of_rows_is_the_same_from_both_networks():
    layer = nn.Linear(3, 2)
    x = torch.rand(100, 3)
    both = layer_inputs(layer, x, x + 1, rows=10)
    assert both.x.shape == (1, 10, 3)
    assert torch.equal(both.x + 1, both.x_float)


def test_bad_inputs_are_refused():
    with pytest.raises(TypeError, match=r"nn\.Linear or nn\.Conv2d"):
        layer_inputs(nn.ReLU(), torch.rand(2, 3))
    with pytest.raises(ValueError, match="one shape"):
        LayerInputs(torch.rand(1, 4, 3), torch.rand(1, 5, 3))
    with pytest.raises(ValueError, match="zeros"):
        layer_inputs(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), torch.rand(1, 3, 5, 5))


def test_soft_codes_start_at_the_float_weight_and_end_on_the_grid():
    weight = drawn(8, 12)
    qparams = choose_qparams(weight, 4, symmetric=True, granularity=PerChannel(0))
    soft = SoftRounding(weight, qparams)
    scale = qparams.scale.double()[:, None]
    slack = 1e-4 * scale  # a fraction closer than this to a whole number is moved away from it
    assert ((soft() - weight).abs() <= slack + 1e-9).all()
    hard = soft.hard()
    codes = hard / scale
    assert torch.allclose(codes, codes.round(), atol=1e-9)
    assert ((hard - weight).abs() <= scale * (1 + 1e-6)).all()


def test_started_soft_codes_harden_to_the_nearest():
    weight = drawn(8, 12)
    qparams = choose_qparams(weight, 3, granularity=PerChannel(0))
    assert torch.allclose(SoftRounding(weight, qparams).hard(), round_nearest(weight, qparams), atol=1e-6)


def test_indecision_is_zero_only_when_every_weight_has_chosen():
    weight = drawn(4, 4)
    soft = SoftRounding(weight, choose_qparams(weight, 4))
    assert soft.indecision(2.0) > 0
    with torch.no_grad():
        soft.v.copy_(torch.where(soft.v >= 0, 20.0, -20.0))
    assert soft.indecision(2.0) == 0
    assert torch.equal(soft(), soft.hard())


def test_round_nearest_is_quantize_and_dequantize():
    weight = drawn(3, 5).float()
    qparams = choose_qparams(weight, 4)
    assert torch.equal(round_nearest(weight, qparams), dequantize(quantize(weight, qparams), qparams))


def test_the_regulariser_waits_and_then_falls():
    betas = [beta_at(step, 100) for step in range(100)]
    assert betas[:20] == [None] * 20
    assert betas[20] == 20
    assert betas[20:] == sorted(betas[20:], reverse=True)
    assert betas[-1] == pytest.approx(2, abs=0.5)
