"""ACIQ: clipping points against calculus and data, bins that add up, moments that are repaired."""

import math

import pytest
import torch

from frugal.quant.affine import choose_qparams as cover_all
from frugal.quant.affine import dequantize, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.methods import aciq

# Recomputed from the stationarity condition in reference to the authors' table.
LAPLACE = [1.86282, 2.83068, 3.89723, 5.02864, 6.20477, 7.41313, 8.64562, 9.89676]
GAUSS = [1.23991, 1.71063, 2.15159, 2.55914, 2.93620, 3.28691, 3.61511, 3.92404]


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def laplace(count=100_000, seed=0):
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    return -uniform.sign() * torch.log1p(-2 * uniform.abs())


def error(x, qparams):
    return (dequantize(quantize(x, qparams), qparams) - x).pow(2).mean().item()


@pytest.mark.parametrize("num_bits", range(1, 9))
def test_the_clipping_points_are_those_of_the_table(num_bits):
    assert aciq.laplace_clip(num_bits) == pytest.approx(LAPLACE[num_bits - 1], abs=6e-6)
    assert aciq.gauss_clip(num_bits) == pytest.approx(GAUSS[num_bits - 1], abs=6e-6)


@pytest.mark.parametrize("num_bits", range(1, 9))
def test_the_laplace_point_is_stationary(num_bits):
    alpha = aciq.laplace_clip(num_bits)
    assert abs(2 * alpha / (3 * 4**num_bits) - 2 * math.exp(-alpha)) < 1e-12


@pytest.mark.parametrize("model, clip", [(aciq.laplace_error, aciq.laplace_clip), (aciq.gauss_error, aciq.gauss_clip)])
@pytest.mark.parametrize("num_bits", [2, 4, 8])
def test_no_other_clipping_point_errs_less(model, clip, num_bits):
    best = clip(num_bits)
    assert all(model(best, num_bits) <= model(best * factor, num_bits) for factor in (0.8, 0.99, 1.01, 1.3))


@pytest.mark.parametrize("x", [0.0, 1e-9, 1.0, math.e, 768.0, 1e300])
def test_lambert_w_inverts_w_exp_w(x):
    w = aciq.lambert_w(x)
    assert w * math.exp(w) == pytest.approx(x, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("num_bits", [4, 5, 6])
def test_clipping_a_laplace_beats_covering_it_and_comes_close_to_the_best(num_bits):
    x = laplace()
    clipped = error(x, aciq.choose_qparams(x, num_bits))
    assert clipped < error(x, cover_all(x, num_bits))
    searched = min(
        error(x, cover_all(torch.tensor([-a, a], dtype=torch.float64), num_bits))
        for a in torch.linspace(1, 13, 121).tolist()
    )
    assert clipped < 1.1 * searched  # 2^M bins of the theory against 2^M codes of the quantizer


def test_what_relu_let_through_gets_one_bit_more():
    x = laplace().relu()
    qparams = aciq.choose_qparams(x, 4)
    assert qparams.low.item() == 0
    assert qparams.high.item() == pytest.approx(aciq.laplace_clip(5), rel=0.02)
    assert error(x, qparams) < error(x, cover_all(x, 4))


def test_best_picks_the_distribution_that_errs_less():
    for x in (laplace(), chance(100_000)):
        best = error(x, aciq.choose_qparams(x, 4, distribution="best"))
        assert best == min(error(x, aciq.choose_qparams(x, 4, distribution=d)) for d in ("laplace", "gauss"))


def test_the_range_never_reaches_past_the_values():
    x = torch.tensor([-1.0, 1.0, 1.0, -1.0])
    qparams = aciq.choose_qparams(x, 8)
    assert qparams.high.item() <= 1 + qparams.scale.item()
    assert qparams.low.item() >= -1 - qparams.scale.item()
    assert torch.isfinite(aciq.choose_qparams(torch.zeros(5), 4).scale)
    assert torch.isfinite(aciq.choose_qparams(torch.full((5,), 3.0), 4).scale)
    assert torch.isfinite(aciq.choose_qparams(torch.full((5,), -3.0), 4).scale)


def test_bins_add_up_and_follow_the_spread():
    spread = torch.tensor([1.0, 1.0, 8.0, 0.0])
    bins = aciq.allocate_bins(spread, 4)
    assert bins.sum().item() == pytest.approx(4 * 2**4, rel=1e-12)
    assert bins[0] == bins[1]
    assert (bins[2] / bins[0]).item() == pytest.approx(4)  # 8^(2/3): two bits
    assert bins[3] == 0


def test_these_bins_have_the_smallest_total_error():
    spread = chance(6).abs() + 0.1
    bins = aciq.allocate_bins(spread, 4)
    total = (spread**2 / bins**2).sum()
    for i in range(6):
        for j in range(6):
            moved = bins.clone()
            moved[i] += 0.01
            moved[j] -= 0.01
            assert (spread**2 / moved**2).sum() >= total - 1e-12


@pytest.mark.parametrize("mean_bits", [2, 3, 4, 5.5, 8])
def test_bits_are_whole_ordered_and_within_the_mean(mean_bits):
    spread = chance(64).abs() * torch.exp2(3 * chance(64, seed=1))
    bits = aciq.allocate_bits(spread, mean_bits)
    assert bits.double().mean() <= mean_bits
    assert (bits[spread.argsort()].diff() >= 0).all()
    assert bits.double().mean() >= mean_bits - 0.1 or mean_bits == 8


def test_equal_channels_get_equal_bits():
    assert aciq.allocate_bits(torch.ones(5), 3).tolist() == [3] * 5


def test_both_moments_of_every_channel_are_repaired():
    weight = chance(8, 30) + 0.1
    quantized = dequantize(quantize(weight, q := cover_all(weight, 2, symmetric=True)), q)
    corrected = aciq.correct_weight(weight, quantized)
    assert torch.allclose(corrected.mean(1), weight.mean(1), atol=1e-12)
    assert torch.allclose(corrected.std(1), weight.std(1), rtol=1e-12)
    assert not torch.allclose(quantized.mean(1), weight.mean(1), atol=1e-3)


def test_as_printed_equation_13_would_spoil_the_mean():
    weight = chance(1, 30) + 1
    quantized = torch.round(weight * 2) / 2 * 0.8
    ratio = (weight - weight.mean()).norm() / (quantized - quantized.mean()).norm()
    printed = ratio * (quantized + weight.mean() - quantized.mean())
    assert abs(printed.mean() - weight.mean()) > 0.1
    assert aciq.correct_weight(weight, quantized).mean().item() == pytest.approx(weight.mean().item())


def test_the_whole_treatment_errs_less_than_plain_rounding():
    weight = chance(16, 3, 3, 3) * torch.exp2(2 * chance(16, 1, 1, 1, seed=3))
    plain = aciq.Aciq(4, per_channel_bits=False, correct=False).quantize(weight)
    whole = aciq.Aciq(4).quantize(weight)
    assert (whole - weight).pow(2).sum() < (plain - weight).pow(2).sum()
    assert torch.allclose(whole.flatten(1).mean(1), weight.flatten(1).mean(1), atol=1e-12)


def test_edges_and_bad_input():
    assert torch.equal(aciq.Aciq(4).quantize(torch.zeros(3, 4)), torch.zeros(3, 4))
    assert torch.isfinite(aciq.Aciq(4).quantize(torch.rand(3, 1))).all()
    assert torch.equal(aciq.correct_weight(torch.ones(2, 4), torch.zeros(2, 4)), torch.ones(2, 4))
    with pytest.raises(ValueError, match="distribution"):
        aciq.choose_qparams(torch.ones(3), 4, distribution="cauchy")
    with pytest.raises(ValueError, match="finite"):
        aciq.choose_qparams(torch.tensor([float("nan")]), 4)
    with pytest.raises(ValueError, match="mean_bits"):
        aciq.allocate_bits(torch.ones(3), 9)
    with pytest.raises(ValueError, match="none negative"):
        aciq.allocate_bins(torch.zeros(3), 4)
    with pytest.raises(ValueError, match="shape"):
        aciq.correct_weight(torch.ones(2, 3), torch.ones(3, 2))
    with pytest.raises(ValueError, match="lambert_w"):
        aciq.lambert_w(-0.1)


def test_channels_of_a_weight_are_clipped_apart():
    weight = chance(4, 100) * torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    qparams = aciq.choose_qparams(weight, 4, granularity=PerChannel(0), symmetric=True)
    assert qparams.scale.shape == (4,)
    assert (qparams.scale.diff() > 0).all()
