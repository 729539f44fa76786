"""Linkage: cells whose members are all close, whatever the order they come in."""

import math

import pytest
import torch

from frugal.prune.linkage import complete_linkage, members, pairwise_distances, relative_distances


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.5, 1.0, 2.0])
def test_all_pairs_of_a_cell_are_within_the_threshold_and_no_two_cells_fit_in_one(threshold, seed):
    distances = pairwise_distances(chance(40, 2, seed=seed))
    cells = members(complete_linkage(distances, threshold))
    for i, one in enumerate(cells):
        assert distances[one][:, one].max() <= threshold
        assert all(distances[one][:, other].max() > threshold for other in cells[i + 1 :])


def test_a_chain_is_cut():
    points = torch.arange(6.0)[:, None]
    assert max(map(len, members(complete_linkage(pairwise_distances(points), 1.0)))) == 2


def test_the_order_of_the_points_does_not_matter():
    points = chance(30, 3)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    cells = complete_linkage(pairwise_distances(points), 1.5)
    shuffled = complete_linkage(pairwise_distances(points[order]), 1.5)
    assert {frozenset(cell) for cell in members(cells)} == {
        frozenset(order[cell].tolist()) for cell in members(shuffled)
    }


@pytest.mark.parametrize("at_least", [1, 7, 20, 99])
def test_merging_stops_at_a_number_of_cells(at_least):
    cells = complete_linkage(pairwise_distances(chance(20, 2)), math.inf, at_least=at_least)
    assert int(cells.max()) + 1 == min(at_least, 20)


def test_threshold_zero_joins_equals_only():
    points = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [1.0, 2.0 + 1e-6], [3.0, 4.0]])
    assert complete_linkage(pairwise_distances(points), 0.0).tolist() == [0, 1, 0, 2, 1]


def test_equal_vectors_are_at_distance_zero_exactly():
    points = (chance(1, 500) * 1e3).float().expand(64, 500)
    assert not pairwise_distances(points).any()


def test_relative_distances_do_not_see_the_scale():
    vectors = chance(9, 5)
    torch.testing.assert_close(relative_distances(1000 * vectors), relative_distances(vectors), rtol=1e-12, atol=0)
    pair = relative_distances(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    assert pair[0, 1] == 2
    assert pair[2, 3] == 0
    assert pair[0, 2] == 2


def test_bad_input_is_refused():
    good = pairwise_distances(chance(4, 2))
    with pytest.raises(ValueError, match="symmetric"):
        complete_linkage(good.triu(), 1.0)
    with pytest.raises(ValueError, match="symmetric"):
        complete_linkage(-good, 1.0)
    with pytest.raises(ValueError, match="finite"):
        complete_linkage(good * math.nan, 1.0)
    for threshold in (-1.0, math.nan):
        with pytest.raises(ValueError, match="threshold must be 0 or more"):
            complete_linkage(good, threshold)
    with pytest.raises(ValueError, match="at least one value"):
        pairwise_distances(torch.empty(0, 3))
