"""LLM.int8(): exact where everything is an outlier, int8 where nothing is, and good where one feature is."""

import math

import pytest
import torch
from torch import nn

from frugal.quant.methods.llm_int8 import LLMInt8Linear


@pytest.fixture
def linear():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(96, 40)


def inputs(outlier=None):
    x = torch.randn(5, 7, 96, generator=torch.Generator().manual_seed(1))
    if outlier:
        x[..., 13] *= outlier
    return x


def relative_error(y, expected):
    return ((y - expected).norm() / expected.norm()).item()


def test_a_threshold_of_zero_is_the_float_layer(linear):
    x = inputs()
    torch.testing.assert_close(LLMInt8Linear(linear, 0.0)(x), linear(x), rtol=1e-5, atol=1e-5)


def test_without_outliers_each_row_and_each_output_has_its_own_step(linear):
    x = inputs()[0]
    s_x, s_w = x.abs().amax(1) / 127, linear.weight.abs().amax(1) / 127
    codes = (x / s_x[:, None]).round().double() @ (linear.weight / s_w[:, None]).round().double().T
    expected = codes * (s_x[:, None] * s_w).double() + linear.bias
    torch.testing.assert_close(LLMInt8Linear(linear, math.inf)(x), expected.float(), rtol=1e-5, atol=1e-5)


def test_one_large_feature_spoils_plain_int8_and_not_this(linear):
    x = inputs(outlier=60.0)
    plain = relative_error(LLMInt8Linear(linear, math.inf)(x), linear(x))
    mixed = relative_error(LLMInt8Linear(linear)(x), linear(x))
    assert mixed < plain / 5


def test_a_feature_is_an_outlier_when_any_row_reaches_the_threshold(linear):
    x = torch.zeros(3, 96)
    x[2, 4], x[0, 5] = -6.0, 5.999
    assert LLMInt8Linear(linear).outliers(x).nonzero().flatten().tolist() == [4]


def test_weights_are_int8_and_shapes_are_kept(linear):
    layer = LLMInt8Linear(linear)
    assert layer.codes.dtype == torch.int8
    assert layer(inputs()).shape == (5, 7, 40)
    assert layer(inputs()[0, 0]).shape == (40,)


def test_bad_input_is_refused(linear):
    for threshold in (-1.0, math.nan):
        with pytest.raises(ValueError, match="threshold must be 0 or more"):
            LLMInt8Linear(linear, threshold)
    with pytest.raises(ValueError, match="finite"):
        LLMInt8Linear(linear)(torch.full((1, 96), torch.nan))
