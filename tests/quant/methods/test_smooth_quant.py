"""SmoothQuant: the same function, equal maxima at one half, and better int8 where features stand out."""

import pytest
import torch

from frugal.data.stories import draw_stories
from frugal.nets import pretrained
from frugal.nets.llama import nll, norms_and_readers, stand_out
from frugal.quant.config import LayerConfig, QuantConfig, QuantSpec
from frugal.quant.convert import quantize_model
from frugal.quant.granularity import PerChannel
from frugal.quant.methods.smooth_quant import smooth, smoothing_factors
from frugal.quant.statistics import watch_inputs


@pytest.fixture(scope="module")
def model():
    return pretrained.load("llama_drawn")


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_function_stays(model, alpha):
    rows = draw_stories(8, split="test")
    torch.testing.assert_close(smooth(model, [rows], alpha)(rows), model(rows), rtol=1e-4, atol=1e-4)


def test_at_one_half_both_sides_have_the_same_maxima(model):
    rows = draw_stories(8)
    smoothed = smooth(model, [rows], 0.5)
    names = {id(module): name for name, module in smoothed.named_modules()}
    for _, readers in norms_and_readers(smoothed):
        (x,) = watch_inputs(smoothed, [rows], [names[id(readers[0])]]).values()
        w_largest = torch.stack([reader.weight.detach().abs().amax(0) for reader in readers]).amax(0)
        torch.testing.assert_close(x.abs().flatten(0, -2).amax(0), w_largest, rtol=1e-3, atol=1e-5)


def test_at_one_all_features_have_the_range_one(model):
    rows = draw_stories(8)
    smoothed = smooth(model, [rows], 1.0)
    (x,) = watch_inputs(smoothed, [rows], ["head"]).values()
    torch.testing.assert_close(x.abs().flatten(0, -2).amax(0), torch.ones(48), rtol=1e-4, atol=0)


def test_int8_comes_back_where_features_stand_out(model):
    twin, rows = stand_out(model, (3, 17), 64.0), draw_stories(64, split="test")
    calibration = [draw_stories(16)]
    eight = QuantSpec(8, granularity=PerChannel(0)), QuantSpec(8, symmetric=True)
    w8a8 = QuantConfig(LayerConfig(*eight))
    float_nll = nll(twin, [rows])
    plain = nll(quantize_model(twin, w8a8, calibration), [rows]) - float_nll
    smoothed = nll(quantize_model(smooth(twin, calibration), w8a8, calibration), [rows]) - float_nll
    assert smoothed < plain / 4


def test_features_that_are_never_used_keep_their_size():
    factors = smoothing_factors(torch.tensor([0.0, 4.0, 4.0]), torch.tensor([1.0, 0.0, 1.0]))
    assert factors.tolist() == [1, 1, 2]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="alpha must be from 0 to 1"):
        smoothing_factors(torch.ones(2), torch.ones(2), 1.5)
    with pytest.raises(ValueError, match="same features"):
        smoothing_factors(torch.ones(2), torch.ones(3))
