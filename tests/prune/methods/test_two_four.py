"""2:4: two of every four, stored in 9/16 of the space, and orders of the inputs in which more of the weight stays."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from frugal.kernels.sparse import SparseLinear, TwoFour
from frugal.prune.methods.two_four import better_order, kept_energy, reorder, two_four, two_four_mask


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n, m", [(2, 4), (1, 4), (3, 4), (1, 2), (4, 8), (4, 4)])
def test_the_n_largest_of_every_m_stay(n, m):
    weight = drawn(5, 16)
    keep = two_four_mask(weight, n, m)
    for group, kept in zip(weight.view(-1, m), keep.view(-1, m), strict=True):
        assert kept.sum() == n
        assert kept.all() or group[kept].abs().min() >= group[~kept].abs().max()


def test_of_a_convolution_the_neighbours_are_channels_of_one_tap():
    keep = two_four_mask(drawn(6, 8, 3, 3))
    assert (keep.unflatten(1, (2, 4)).sum(2) == 2).all()


def test_gaussian_weights_keep_seven_eighths_of_their_energy():
    """0.867: the mean of the two largest of four squared normals, as share of four."""
    weight = drawn(1000, 1000)
    assert kept_energy(weight, two_four_mask(weight)) == pytest.approx(0.867, abs=0.001)


def test_a_network_packs_and_runs_as_what_it_is():
    net = nn.Sequential(nn.Linear(36, 24), nn.ReLU(), nn.Linear(24, 7))
    pruned = two_four(net)
    x = drawn(9, 36)
    with torch.no_grad():
        packed = nn.Sequential(*(SparseLinear.from_linear(m, "two_four") if isinstance(m, nn.Linear) else m
                                 for m in pruned.model))  # fmt: skip
        torch.testing.assert_close(packed(x), pruned.model(x), rtol=1e-5, atol=1e-5)
    assert torch.equal(packed[0].matrix.to_dense(), pruned.model[0].weight)
    assert (net[0].weight != 0).all()


def test_packing_takes_17_of_32_bytes_of_float32():
    weight = drawn(64, 128)
    assert TwoFour.from_dense(weight * two_four_mask(weight)).size_bytes * 32 == 17 * weight.numel() * 4


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 9))
def test_a_better_order_is_a_permutation_and_never_keeps_less(out, groups, seed):
    weight = drawn(out, 4 * groups, seed=seed)
    order = better_order(weight)
    assert order.sort().values.tolist() == list(range(4 * groups))
    moved = weight[:, order]
    slack = 1e-9  # of the sums of squares
    assert kept_energy(moved, two_four_mask(moved)) >= kept_energy(weight, two_four_mask(weight)) - slack


def test_large_inputs_that_stand_together_are_spread_so_that_nothing_large_is_lost():
    weight = torch.full((6, 16), 0.01)
    weight[:, :8] = 1.0
    order = better_order(weight)
    moved = weight[:, order]
    assert kept_energy(weight, two_four_mask(weight)) < 0.51
    assert kept_energy(moved, two_four_mask(moved)) > 0.999


def test_two_groups_end_at_the_best_of_all_divisions_where_one_exchange_reaches_it():
    weight = torch.tensor([[4.0, 3.0, 2.0, 0.0, 1.0, 0.0, 0.0, 0.0]])
    moved = weight[:, better_order(weight)]
    best = max(
        kept_energy(weight[:, (order := [*chosen, *(i for i in range(8) if i not in chosen)])],
                    two_four_mask(weight[:, order]))
        for chosen in itertools.combinations(range(8), 4)
    )  # fmt: skip
    assert kept_energy(moved, two_four_mask(moved)) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("conv", [False, True])
def test_a_pair_of_layers_computes_the_same_in_another_order(conv):
    if conv:
        first, second, x = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3, bias=False), drawn(2, 3, 7, 7)
    else:
        first, second, x = nn.Linear(5, 8), nn.Linear(8, 4), drawn(6, 5)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    new_first, new_second = reorder(first, second, order)
    torch.testing.assert_close(new_second(new_first(x).relu()), second(first(x).relu()), rtol=1e-5, atol=1e-6)
    assert not torch.equal(new_first.weight, first.weight)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="groups of 4, got 6"):
        two_four_mask(torch.ones(2, 6))
    with pytest.raises(ValueError, match="n of m"):
        two_four_mask(torch.ones(2, 8), 5, 4)
    with pytest.raises(ValueError, match=r"\[out, in, ...\]"):
        two_four_mask(torch.ones(8))
    with pytest.raises(ValueError, match="must be finite"):
        two_four_mask(torch.full((2, 4), torch.inf))
    with pytest.raises(ValueError, match=r"weight must be \[out, in\]"):
        better_order(torch.ones(2, 4, 3, 3))
    with pytest.raises(ValueError, match="order must be a permutation of 4"):
        reorder(nn.Linear(3, 4), nn.Linear(4, 2), torch.tensor([0, 1, 2, 2]))
    with pytest.raises(TypeError, match="without groups"):
        reorder(nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1), torch.arange(4))
