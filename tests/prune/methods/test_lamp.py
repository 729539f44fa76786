"""LAMP: the order of magnitudes within a layer, a common scale between layers, and no layer emptied."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from frugal.nets.pretrained import load
from frugal.prune.masks import count_dropped, keep_largest, weights_of
from frugal.prune.methods.lamp import lamp_score, prune_lamp
from frugal.prune.methods.magnitude import prune_weights


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-10, 10).filter(lambda v: v == 0 or abs(v) > 1e-6), min_size=1, max_size=30))
def test_it_is_the_square_over_the_sum_of_the_squares_that_are_left(values):
    weight = torch.tensor(values, dtype=torch.float64)
    order = sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))
    scores = lamp_score(weight)
    total = 0.0
    for i in order:
        total += values[i] ** 2
        assert scores[i].item() == pytest.approx(values[i] ** 2 / total if total else 0.0, rel=1e-9)


def test_within_a_layer_the_order_is_that_of_magnitudes():
    weight = torch.randn(20, 30, dtype=torch.float64)
    for sparsity in (0.1, 0.5, 0.9):
        assert torch.equal(keep_largest(lamp_score(weight), sparsity), keep_largest(weight.abs(), sparsity))


@pytest.mark.parametrize("factor", [1e-30, 0.01, 100.0, -3.0])
def test_a_layer_times_a_factor_scores_the_same(factor):
    weight = torch.randn(50, dtype=torch.float64)
    torch.testing.assert_close(lamp_score(weight * factor), lamp_score(weight), rtol=1e-12, atol=0)


def test_scaling_a_relu_layer_and_the_next_changes_nothing_here_and_much_for_plain_magnitude():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 5)).double()
    lamp, plain = prune_lamp(net, 0.7).masks, prune_weights(net, 0.7).masks
    with torch.no_grad():
        net[0].weight.mul_(64)
        net[0].bias.mul_(64)
        net[2].weight.div_(64)
    assert all(torch.equal(keep, lamp[name]) for name, keep in prune_lamp(net, 0.7).masks.items())
    assert not any(torch.equal(keep, plain[name]) for name, keep in prune_weights(net, 0.7).masks.items())


@pytest.mark.parametrize("sparsity", [0.5, 0.99, 0.9999])
def test_the_count_is_exact_and_every_layer_keeps_one(sparsity):
    net = load("resnet8_drawn")
    pruned = prune_lamp(net, sparsity)
    total = sum(mask.numel() for mask in pruned.masks.values())
    assert sum(int((~mask).sum()) for mask in pruned.masks.values()) == count_dropped(total, sparsity)
    if total - count_dropped(total, sparsity) >= len(pruned.masks):
        assert all(mask.any() for mask in pruned.masks.values())
    assert all((w[~pruned.masks[name]] == 0).all() for name, w in weights_of(pruned.model).items())


def test_a_layer_of_zeros_has_scores_too():
    assert lamp_score(torch.zeros(4)).tolist() == [0, 0, 0, 0]
    assert lamp_score(torch.tensor([0.0, 2.0])).tolist() == [0, 1]


def test_weights_without_order_are_refused():
    with pytest.raises(ValueError, match="weight must be finite"):
        lamp_score(torch.tensor([1.0, float("nan")]))
    with pytest.raises(ValueError, match="at least one value"):
        lamp_score(torch.zeros(0))
