"""Hashing: a monotone step function that follows the data, with a behaviour for whatever it is given."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from frugal.data import drawn
from frugal.measure.accuracy import accuracy
from frugal.nets import pretrained
from frugal.prune.hashing import (
    POINTS_PER_BANDWIDTH,
    density,
    fit_codebook,
    hash_network,
    hash_weights,
    median_gap,
    range_over,
)

EPS = torch.finfo(torch.float64).eps


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def on_a_dyadic_grid(seed):
    """Weights, multiples of 2^-10: adding a whole number and doubling change none of their digits."""
    return torch.round(chance(300, seed=seed) * 1024) / 1024


RULES = [0.3, range_over(16), range_over(256), median_gap]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_a_larger_weight_never_gets_a_smaller_value(rule, seed):
    w = chance(500, seed=seed).sort().values
    assert (hash_weights(w, rule).diff() >= 0).all()


@pytest.mark.parametrize("rule", RULES)
def test_hashing_again_with_the_same_codebook_changes_nothing(rule):
    w = chance(500)
    codebook = fit_codebook(w, rule)
    once = codebook.hash(w)
    assert torch.equal(codebook.hash(once), once)
    assert torch.equal(codebook.codes(codebook.values), torch.arange(len(codebook.values)))


@pytest.mark.parametrize("rule", RULES)
def test_no_weight_moves_further_than_its_cell_is_wide(rule):
    w = chance(500, seed=3)
    codebook = fit_codebook(w, rule)
    ends = torch.cat([w.min()[None], codebook.boundaries, w.max()[None]])
    width = ends.diff()[codebook.codes(w)]
    assert ((codebook.hash(w) - w).abs() <= width + 4 * EPS).all()
    assert w.min() - 4 * EPS <= codebook.values.min()
    assert codebook.values.max() <= w.max() + 4 * EPS


def test_values_are_as_many_as_hills_of_the_density():
    w = chance(400, seed=5)
    codebook = fit_codebook(w, 0.2)
    _, heights = density(w, 0.2)
    rising = heights.diff() > 0
    hills = int((rising[:-1] & ~rising[1:]).sum())
    assert len(codebook.values) == hills == len(codebook.boundaries) + 1
    assert hash_weights(w, 0.2).unique().numel() <= hills


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_five_noisy_values_become_five(dtype):
    centres = torch.tensor([-2.0, -0.5, 0.0, 0.75, 3.0], dtype=torch.float64)
    w = centres.repeat(40) + 0.004 * chance(200)
    hashed = hash_weights(w.to(dtype), 0.05)
    assert hashed.dtype == dtype
    found = hashed.double().unique()
    assert len(found) == 5
    grid = 0.05 / 8  # how exactly a hilltop is known
    assert (found - centres).abs().max() <= 0.004 + grid


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rule", [range_over(32), median_gap])
def test_moving_all_weights_moves_all_values(rule, seed):
    w = on_a_dyadic_grid(seed)
    torch.testing.assert_close(hash_weights(w + 3, rule), hash_weights(w, rule) + 3, rtol=0, atol=32 * EPS)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bandwidth", [0.05, 0.5])
def test_scaling_weights_and_bandwidth_scales_all_values(bandwidth, seed):
    w = chance(300, seed=seed)
    assert torch.equal(hash_weights(4 * w, 4 * bandwidth), 4 * hash_weights(w, bandwidth))


def test_both_rules_scale_with_the_weights():
    w = chance(300)
    for rule in (range_over(256), median_gap):
        assert rule(8 * w) == 8 * rule(w)
    assert range_over(256)(w) == pytest.approx((w.max() - w.min()).item() / 256, rel=4 * EPS)


def test_the_median_gap_counts_distinct_weights_once():
    assert median_gap(torch.tensor([5.0, 0.0, 0.0, 0.0, 1.0, 3.0])) == 2.0
    assert median_gap(torch.full((9,), 2.5)) == 0.0


def test_one_weight_far_out_does_not_ask_for_gigabytes():
    w = torch.cat([chance(999) * 1e-6, torch.tensor([1e6], dtype=torch.float64)])
    assert median_gap(w) == pytest.approx(1e6 / 2**20, rel=1e-6)
    assert hash_weights(w, median_gap).unique().numel() == 2


def test_a_wider_bandwidth_leaves_fewer_values():
    w = chance(2000)
    counts = [hash_weights(w, range_over(cells)).unique().numel() for cells in (512, 128, 32, 2)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_the_density_counts_every_weight_once():
    w = chance(800)
    points, heights = density(w, 0.25)
    assert heights[0] == heights[-1] == 0
    one_points, one = density(torch.tensor([0.0, 1e3], dtype=torch.float64), 0.25)  # two kernels, far apart
    area = torch.trapezoid(heights, points) / 800
    assert area == pytest.approx((torch.trapezoid(one, one_points) / 2).item(), rel=1e-3)


def test_the_density_is_the_sum_of_gaussians():
    """Against the slow definition; linear binning errs by (step / bandwidth)² / 8 of a kernel at most, and the tail."""
    w = chance(50)
    points, heights = density(w, 0.4)
    slow = torch.exp(-((points[:, None] - w) / 0.4).square() / 2).sum(1)
    per_weight = POINTS_PER_BANDWIDTH**-2 / 8 + math.exp(-8)
    assert (heights - slow).abs().max() <= 50 * per_weight


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-100, 100, allow_nan=False, width=32), min_size=1, max_size=30),
    st.floats(0.01, 50, allow_nan=False),
)
def test_whatever_the_weights_values_stay_in_order_and_in_range(values, bandwidth):
    w = torch.tensor(values, dtype=torch.float64)
    codebook = fit_codebook(w, bandwidth)
    hashed = codebook.hash(w)
    slack = 8 * EPS * w.abs().max()
    assert ((w.min() - slack <= hashed) & (hashed <= w.max() + slack)).all()
    assert (hashed[w.argsort()].diff() >= 0).all()
    assert torch.equal(codebook.hash(hashed), hashed)


def test_cells_meet_in_the_middle_of_a_gap_and_their_lower_end_is_theirs():
    w = torch.tensor([0.0, 0.0, 4.0, 4.0], dtype=torch.float64)
    codebook = fit_codebook(w, 0.25)
    assert codebook.values.tolist() == [0.0, 4.0]
    assert codebook.boundaries.tolist() == [2.0]
    assert codebook.codes(torch.tensor([1.99, 2.0, 2.01])).tolist() == [0, 1, 1]


def test_a_bandwidth_far_wider_than_the_range_leaves_one_value_inside_it():
    w = torch.tensor([1.0, 1.0 + 1e-12, 1.0 + 2e-12], dtype=torch.float64)
    for bandwidth in (1e-11, 1.0, 1e300):
        hashed = hash_weights(w, bandwidth).unique()
        assert len(hashed) == 1
        assert w.min() <= hashed <= w.max()
    assert hash_weights(torch.tensor([0.0, 1.0, 1.0, 1.0]), 20.0).tolist() == [1.0] * 4


@pytest.mark.parametrize("w", [torch.full((3, 4), 0.7), torch.tensor([2.0]), torch.zeros(5), torch.tensor(1.5)])
def test_equal_weights_stay_as_they_are(w):
    for rule in (None, 0.1, median_gap):
        assert torch.equal(hash_weights(w, rule), w)


@pytest.mark.parametrize(
    "w, error",
    [
        (torch.tensor([1.0, math.nan]), ValueError),
        (torch.tensor([1.0, math.inf]), ValueError),
        (torch.empty(0), ValueError),
        (torch.tensor([1, 2]), TypeError),
        ([1.0, 2.0], TypeError),
    ],
)
def test_weights_without_a_hash_are_refused(w, error):
    with pytest.raises(error, match=r"^w must"):
        hash_weights(w)


def test_bad_bandwidths_are_refused():
    w = torch.tensor([0.0, 1.0])
    for bandwidth in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="bandwidth must be"):
            hash_weights(w, bandwidth)
    with pytest.raises(ValueError, match="too fine for weights that range over 1; use at least"):
        hash_weights(w, 1e-9)
    with pytest.raises(ValueError, match="cells must be"):
        range_over(0)
    with pytest.raises(ValueError, match="there is no density"):
        density(torch.ones(3), 0.1)


def test_a_fine_hash_keeps_what_a_network_knows_and_a_coarse_one_does_not():
    model = pretrained.load("resnet8_drawn")
    images, labels = drawn.draw(300, split="test")
    assert accuracy(hash_network(model), images, labels) > accuracy(model, images, labels) - 3
    assert accuracy(hash_network(model, range_over(128)), images, labels) < 25


def test_a_network_is_hashed_layer_by_layer_and_stays_itself():
    model = pretrained.load("resnet8_drawn")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hashed = hash_network(model, range_over(64))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    layers = [m for m in hashed.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 8
    assert all(layer.weight.unique().numel() <= 64 for layer in layers)
    assert all(isinstance(layer.weight, nn.Parameter) for layer in layers)
