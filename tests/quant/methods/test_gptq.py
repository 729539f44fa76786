"""GPTQ: its loss is the layer's loss, it is rounding to nearest where inputs are independent, and better where not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel, PerGroup, PerTensor
from frugal.quant.methods.gptq import compensate, gptq, gptq_groups
from frugal.quant.rounding import LayerInputs, layer_inputs, round_nearest


def correlated(rows=256, features=24, groups=1, seed=0):
    """Inputs that share a few hidden causes, as the features of a network do."""
    rng = torch.Generator().manual_seed(seed)
    causes = torch.randn(groups, rows, 6, generator=rng, dtype=torch.float64)
    x = causes @ torch.randn(groups, 6, features, generator=rng, dtype=torch.float64)
    x = x + 0.3 * torch.randn(x.shape, generator=rng, dtype=torch.float64)
    return LayerInputs(x, x)


def weight_of(out=8, features=24, seed=1):
    return torch.randn(out, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lost(weight, rounded, inputs):
    return (inputs.x[0] @ (weight - rounded).T).square().sum().item()


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(0), PerGroup(8)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_independent_inputs_leave_rounding_to_nearest(granularity, symmetric):
    w = weight_of()
    qparams = choose_qparams(w, 4, symmetric=symmetric, granularity=granularity)
    x = torch.eye(24, dtype=torch.float64)[None] * 3
    assert torch.equal(gptq(w, qparams, LayerInputs(x, x)), round_nearest(w, qparams))


def test_what_the_steps_lose_is_what_the_output_loses():
    w, inputs = weight_of(), correlated()
    step = 0.3
    x = inputs.x[0]
    rounded, loss = compensate(w, x.T @ x, lambda start, left: lambda i, column: (column / step).round() * step, 7)
    assert loss == pytest.approx(lost(w, rounded, inputs), rel=1e-9)


@pytest.mark.parametrize("act_order", [False, True])
def test_related_inputs_make_it_better_than_nearest(act_order):
    w, inputs = weight_of(), correlated()
    qparams = choose_qparams(w, 3, symmetric=True, granularity=PerChannel(0))
    found = lost(w, gptq(w, qparams, inputs, act_order=act_order), inputs)
    assert found < 0.8 * lost(w, round_nearest(w, qparams), inputs)


@settings(deadline=None, max_examples=30)
@given(block_size=st.integers(1, 30), symmetric=st.booleans())
def test_the_block_size_changes_nothing(block_size, symmetric):
    w, inputs = weight_of(), correlated()
    qparams = choose_qparams(w, 4, symmetric=symmetric, granularity=PerChannel(0))
    blocked = gptq(w, qparams, inputs, block_size=block_size)
    torch.testing.assert_close(blocked, gptq(w, qparams, inputs, block_size=24), rtol=0, atol=1e-12)


def test_the_order_of_features_with_act_order_changes_nothing():
    w, inputs = weight_of(), correlated()
    qparams = choose_qparams(w, 4, symmetric=True, granularity=PerChannel(0))
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3))
    moved = LayerInputs(inputs.x[..., order], inputs.x_float[..., order])
    expected = gptq(w, qparams, inputs, act_order=True)[:, order]
    torch.testing.assert_close(gptq(w[:, order], qparams, moved, act_order=True), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(0), PerGroup(6)])
def test_every_weight_lies_on_its_grid(granularity):
    w = weight_of()
    qparams = choose_qparams(w, 3, granularity=granularity)
    rounded = gptq(w, qparams, correlated())
    torch.testing.assert_close(rounded, dequantize(quantize(rounded, qparams), qparams), rtol=1e-12, atol=1e-12)


def test_a_feature_that_is_always_zero_gets_the_weight_zero():
    w, inputs = weight_of(), correlated()
    x = inputs.x.clone()
    x[..., 5] = 0
    qparams = choose_qparams(w, 4, symmetric=True, granularity=PerChannel(0))
    rounded = gptq(w, qparams, LayerInputs(x, x))
    assert (rounded[:, 5] == 0).all()
    assert (rounded[:, 4] != 0).any()


def test_a_grouped_convolution_is_as_many_small_layers():
    conv = torch.nn.Conv2d(4, 6, 3, groups=2, bias=False, dtype=torch.float64)
    pictures = torch.rand(3, 4, 8, 8, dtype=torch.float64)
    inputs = layer_inputs(conv, pictures)
    qparams = choose_qparams(conv.weight, 4, symmetric=True, granularity=PerTensor())
    rounded = gptq(conv.weight, qparams, inputs)
    assert rounded.shape == conv.weight.shape
    for group in range(2):
        part = LayerInputs(inputs.x[group : group + 1], inputs.x_float[group : group + 1])
        alone = gptq(conv.weight[group * 3 : group * 3 + 3].flatten(1), qparams, part)
        torch.testing.assert_close(rounded[group * 3 : group * 3 + 3].flatten(1), alone, rtol=0, atol=1e-12)


def test_groups_are_chosen_as_the_pass_reaches_them():
    w, inputs = weight_of(), correlated()
    rounded, qparams = gptq_groups(w, inputs, 3, group_size=6)
    assert qparams.scale.shape == (8, 4)
    torch.testing.assert_close(rounded, dequantize(quantize(rounded, qparams), qparams).double(), rtol=1e-9, atol=1e-9)
    first = choose_qparams(w[:, :6], 3, granularity=PerChannel(0))
    torch.testing.assert_close(qparams.scale[:, 0], first.scale)  # nothing has moved yet
    nearest = round_nearest(w, choose_qparams(w, 3, granularity=PerGroup(6)))
    assert lost(w, rounded, inputs) < 0.9 * lost(w, nearest, inputs)


def test_bad_input_is_refused():
    w, inputs = weight_of(), correlated()
    qparams = choose_qparams(w, 4)
    with pytest.raises(ValueError, match="do not fit a weight"):
        gptq(w[:, :5], qparams, inputs)
    with pytest.raises(ValueError, match="damping must be 0 or more"):
        gptq(w, qparams, inputs, damping=-1)
    few = LayerInputs(inputs.x[:, :3], inputs.x[:, :3])
    with pytest.raises(ValueError, match="not positive definite"):
        gptq(w, qparams, few, damping=0)
    with pytest.raises(ValueError, match="must be finite"):
        gptq(w * torch.nan, qparams, inputs)
    with pytest.raises(ValueError, match="does not divide"):
        gptq_groups(w, inputs, group_size=7)
