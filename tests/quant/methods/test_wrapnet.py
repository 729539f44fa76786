"""After WrapNet [27]: the activation cannot tell a wrapped sum from an exact one."""

import pytest
import torch
from torch import nn

from frugal.quant.accumulator import accumulate
from frugal.quant.granularity import PerChannel
from frugal.quant.methods.wrapnet import WrapLayer, cyclic, emulate_, overflow_penalty, peak
from frugal.quant.trainable import FollowedRange, RangeOfWeights

BITS = pytest.mark.parametrize("num_bits", [6, 8, 12])
SLOPE = pytest.mark.parametrize("slope", [0.5, 1.0, 2.0, 4.0])


@BITS
@SLOPE
def test_a_period_of_the_accumulator_changes_nothing(num_bits, slope):
    z = torch.arange(-3 * (1 << num_bits), 3 * (1 << num_bits), dtype=torch.float64)
    once_round = cyclic(z + (1 << num_bits), num_bits, slope)
    assert torch.equal(cyclic(z, num_bits, slope), once_round)


@BITS
@SLOPE
def test_there_is_no_jump_and_0_where_it_wraps(num_bits, slope):
    z = torch.arange(-(2 << num_bits), 2 << num_bits, dtype=torch.float64)
    y = cyclic(z, num_bits, slope)
    steepest = max(1.0, slope)
    assert (y.diff().abs() <= steepest + 1e-9).all()
    half = float(1 << num_bits - 1)
    assert cyclic(torch.tensor([half, -half]), num_bits, slope).abs().tolist() == [0.0, 0.0]


@SLOPE
def test_sums_up_to_the_peak_pass_as_they_are_and_no_output_exceeds_it(slope):
    top = peak(8, slope)
    z = torch.arange(-int(top), int(top) + 1, dtype=torch.float64)
    assert torch.equal(cyclic(z, 8, slope), z)
    everything = cyclic(torch.arange(-500, 500, dtype=torch.float64), 8, slope)
    assert everything.abs().max() <= top + 1e-9


def test_the_gradient_is_that_of_the_pieces():
    z = torch.tensor([10.0, 90.0, -90.0, 266.0], dtype=torch.float64, requires_grad=True)  # 266 wraps to 10
    cyclic(z, 8, slope=2.0).sum().backward()
    assert z.grad.tolist() == [1.0, -2.0, -2.0, 1.0]


def test_a_narrow_accumulator_and_an_exact_one_lead_to_the_same_value_in_any_order():
    rng = torch.Generator().manual_seed(0)
    x, w = (torch.randint(-8, 8, shape, generator=rng) for shape in ((20, 90), (5, 90)))
    order = torch.randperm(90, generator=rng)
    exact = (x @ w.T).double()
    assert (exact.abs() > 127).any()
    for each_x, each_w in ((x, w), (x[:, order], w[:, order])):
        narrow = accumulate(each_x, each_w, 8, "wrap").double()
        assert torch.equal(cyclic(narrow, 8), cyclic(exact, 8))


def test_the_penalty_counts_only_what_exceeds_the_peak():
    z = torch.tensor([0.0, 64.0, -70.0, 164.0], requires_grad=True)
    penalty = overflow_penalty(z, 8, slope=1.0)
    penalty.backward()
    assert penalty.item() == (6 + 100) / 4
    assert z.grad.tolist() == [0.0, 0.0, -0.25, 0.25]


def conv_layer(num_bits, **options):
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 5, 3, padding=1)
    return WrapLayer(layer, RangeOfWeights(3, PerChannel(0)), FollowedRange(3), num_bits=num_bits, **options)


def test_where_no_sum_overflows_the_narrow_network_is_the_wide_one():
    layer, x = conv_layer(20), torch.rand(4, 6, 8, 8)
    wide = layer(x)
    assert layer.overflows() == 0
    emulate_(layer, True)
    assert torch.equal(layer(x), wide)


def test_its_sums_are_the_integer_sums_of_its_codes():
    layer, x = conv_layer(8), torch.rand(2, 6, 8, 8)
    layer(x)
    activation, weight = layer.activation_map.qparams(), layer.weight_map.qparams()
    x_codes = torch.round(layer.activation_map(x) / activation.scale).double()
    w_codes = torch.round(layer.weight_map(layer.layer.weight) / weight.scale[:, None, None, None]).double()
    assert torch.equal(layer.sums.double(), nn.functional.conv2d(x_codes, w_codes.detach(), padding=1))


def test_training_with_the_penalty_makes_sums_that_fit():
    torch.manual_seed(0)
    layer = WrapLayer(nn.Linear(60, 8), RangeOfWeights(3), FollowedRange(4), num_bits=8, strength=1.0)
    x, target = torch.rand(64, 60), torch.rand(64, 8)
    layer(x)
    before, optimizer = layer.overflows(), torch.optim.Adam(layer.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = (layer(x) - target).square().mean() + layer.penalty()
        loss.backward()
        optimizer.step()
    layer(x)
    assert layer.overflows() < before / 4
    assert before > 0.02


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="slope must be above 0"):
        peak(8, 0)
    with pytest.raises(ValueError, match="accumulator has"):
        cyclic(torch.zeros(1), 1)
    with pytest.raises(TypeError, match="Conv2d or a Linear"):
        WrapLayer(nn.Conv1d(1, 1, 1), RangeOfWeights(3), FollowedRange(3))
    with pytest.raises(RuntimeError, match="no input has passed"):
        conv_layer(8).overflows()
    mixed = WrapLayer(nn.Linear(4, 3), RangeOfWeights(3, PerChannel(1)), FollowedRange(3))
    with pytest.raises(ValueError, match="share a scale"):
        mixed(torch.rand(2, 4))
