"""Observers: what they cover, that order does not matter, and which error they keep small."""

import math

import pytest
import torch

from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.observers import KL, MSE, MinMax, MovingAverage, Observer, Percentile, observer_named

HISTOGRAMS = [Percentile, KL, MSE]


def gaussian(count=20_000, seed=0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def laplace(count=100_000, seed=0):
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(seed)) - 0.5
    return -uniform.sign() * torch.log1p(-2 * uniform.abs())


def squared_error(x, qparams):
    return (dequantize(quantize(x, qparams), qparams) - x).pow(2).mean().item()


def observed(observer, *tensors):
    for x in tensors:
        observer.observe(x)
    return observer


@pytest.mark.parametrize("symmetric", [False, True])
def test_min_max_gives_the_parameters_of_choose_qparams(symmetric):
    x = gaussian()
    assert observed(MinMax(4, symmetric=symmetric), x).qparams() == pytest.approx(
        choose_qparams(x, 4, symmetric=symmetric)
    )


@pytest.mark.parametrize("observer", [MinMax, *HISTOGRAMS])
def test_batches_and_their_order_do_not_matter(observer):
    x = torch.cat([gaussian(1000), 50 * gaussian(100, seed=1), torch.zeros(64), 1e-3 * gaussian(500, seed=2)])
    whole = observed(observer(4), x).range()
    pieces = observed(observer(4), *x.flip(0).split(100)).range()
    assert whole == pieces


@pytest.mark.parametrize("observer", HISTOGRAMS)
def test_a_batch_of_zeros_before_the_data_costs_no_resolution(observer):
    x = 1e-4 * gaussian()
    low, high = observed(observer(4), torch.zeros(1), x).range()
    assert (low, high) == observed(observer(4), x, torch.zeros(1)).range()
    assert high < 2e-3


def test_moving_average_starts_at_the_first_batch_and_then_follows_slowly():
    observer = observed(MovingAverage(averaging_constant=0.1), torch.tensor([-1.0, 2.0]))
    assert [end.item() for end in observer.range()] == [-1.0, 2.0]
    observer.observe(torch.tensor([-2.0, 12.0]))
    assert [end.item() for end in observer.range()] == pytest.approx([-1.1, 3.0])


@pytest.mark.parametrize(
    "values", [gaussian(), gaussian().abs(), -gaussian().abs(), torch.zeros(5), torch.full((3,), 7.0)]
)
def test_the_hundredth_percentile_is_min_max(values):
    assert observed(Percentile(percentile=100), values).range() == observed(MinMax(), values).range()


def test_a_percentile_clips_the_share_it_names_at_each_end():
    x = gaussian(200_000)
    observer = observed(Percentile(percentile=99), x)
    low, high = observer.range()
    bin_mass = (
        4 * x.abs().max().item() / observer.bins * 0.027
    )  # a bin's width times the density at the 99th percentile
    assert (x < low).double().mean().item() == pytest.approx(0.01, abs=bin_mass)
    assert (x > high).double().mean().item() == pytest.approx(0.01, abs=bin_mass)


@pytest.mark.parametrize("num_bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    "x", [gaussian(), laplace(), gaussian().relu(), torch.rand(5000)], ids=["gauss", "laplace", "relu", "uniform"]
)
def test_mse_errs_no_more_than_min_max(x, symmetric, num_bits):
    mse = observed(MSE(num_bits, symmetric=symmetric), x)
    min_max = observed(MinMax(num_bits, symmetric=symmetric), x)
    half_bin = 2 * x.abs().max().item() / mse.bins  # the histogram knows each value up to half a bin
    assert math.sqrt(squared_error(x, mse.qparams())) <= math.sqrt(squared_error(x, min_max.qparams())) + 2 * half_bin


def test_mse_finds_the_clipping_that_theory_gives_for_laplace_data():
    # ACIQ [2]: alpha / b = W(3 * 4^M), 5.0286 at 4 bits; its 2^M bins are nearly our 2^M - 1 levels
    low, high = observed(MSE(4, symmetric=True), laplace()).range()
    assert max(-low, high).item() == pytest.approx(5.03, rel=0.1)


def test_kl_keeps_the_whole_range_of_uniform_data_and_clips_a_lonely_outlier():
    uniform = torch.linspace(-1, 1, 50_001)
    low, high = observed(KL(8, symmetric=True), uniform).range()
    assert max(-low, high) > 0.95
    low, high = observed(KL(8, symmetric=True), torch.cat([uniform, torch.tensor([30.0])])).range()
    assert max(-low, high) < 3.0


@pytest.mark.parametrize("observer", HISTOGRAMS)
def test_each_channel_is_observed_as_if_it_were_alone(observer):
    x = gaussian(4 * 3000).reshape(4, 3000) * torch.tensor([1.0, 10.0, 0.01, 0.0])[:, None]
    low, high = observed(observer(4, granularity=PerChannel(0)), x).range()
    for row, (row_low, row_high) in enumerate(zip(low, high, strict=True)):
        assert (row_low, row_high) == observed(observer(4), x[row]).range()


@pytest.mark.parametrize("observer", [MinMax, MovingAverage, *HISTOGRAMS])
def test_an_observer_that_saw_nothing_says_so(observer):
    with pytest.raises(ValueError, match="has seen nothing yet"):
        observer().qparams()


@pytest.mark.parametrize("observer", [MinMax, MovingAverage, *HISTOGRAMS])
@pytest.mark.parametrize("bad", [torch.tensor([math.nan]), torch.empty(0), torch.tensor([-math.inf])])
def test_bad_values_are_refused_and_leave_the_observer_as_it_was(observer, bad):
    watching = observed(observer(), torch.tensor([-1.0, 1.0]))
    before = watching.range()
    with pytest.raises(ValueError, match="x must"):
        watching.observe(bad)
    assert watching.range() == before


def test_another_number_of_channels_is_refused():
    observer = observed(MinMax(granularity=PerChannel(1)), torch.randn(2, 3))
    with pytest.raises(ValueError, match=r"seen tensors of \[3\] blocks, now \[4\]"):
        observer.observe(torch.randn(2, 4))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Percentile(percentile=0.99), "percentile must be above 50"),
        (lambda: MovingAverage(averaging_constant=0), "averaging_constant must be above 0"),
        (lambda: MSE(8, bins=100), "bins for 8 bits must be a multiple of 4 from 1024"),
        (lambda: MinMax(9), "num_bits must be from 2 to 8, got 9"),
        (lambda: observer_named("max"), "observer must be one of minmax, moving_average"),
    ],
)
def test_settings_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_every_observer_has_a_name():
    found = {observer_named(name) for name in ("minmax", "moving_average", "percentile", "kl", "mse")}
    assert found == {MinMax, MovingAverage, Percentile, KL, MSE}
    assert all(issubclass(observer, Observer) for observer in found)


def test_the_zeros_of_relu_do_not_shrink_the_range_that_kl_chooses():
    positive = gaussian().abs()
    sparse = torch.cat([positive, torch.zeros(9 * len(positive))])
    assert observed(KL(4), sparse).range()[1] == pytest.approx(observed(KL(4), positive).range()[1].item(), rel=0.1)
