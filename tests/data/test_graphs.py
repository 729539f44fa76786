"""Drawn graphs: repeatable, connected both ways, a few nodes with very many neighbours."""

import pytest
import torch

from frugal.data.graphs import draw_graph


def test_the_same_seed_draws_the_same_graph():
    a, b, other = draw_graph(120, seed=3), draw_graph(120, seed=3), draw_graph(120, seed=4)
    assert torch.equal(a.edges, b.edges)
    assert torch.equal(a.features, b.features)
    assert not torch.equal(a.edges, other.edges)


def test_every_link_has_both_directions_and_joins_two_different_nodes():
    graph = draw_graph(150)
    pairs = {tuple(each) for each in graph.edges.T.tolist()}
    assert pairs == {(b, a) for a, b in pairs}
    assert all(a != b for a, b in pairs)


def test_each_node_after_the_first_attaches_to_as_many_others_as_asked():
    graph = draw_graph(200, links=3)
    assert graph.edges.shape == (2, 2 * 3 * (200 - 4))
    assert (graph.degrees[4:] >= 3).all()
    assert graph.degrees.sum() == graph.edges.shape[1]


def test_degrees_are_spread_far_wider_than_in_a_random_graph():
    """Where links fall at random, degrees are Poisson: with mean 8, one of 1000 nodes has 25 at most."""
    degrees = draw_graph(1000, links=4).degrees
    assert degrees.median() <= 6
    assert degrees.max() > 60


def test_neighbours_tend_to_be_of_the_same_community():
    graph = draw_graph(600, homophily=8.0)
    same = (graph.labels[graph.edges[0]] == graph.labels[graph.edges[1]]).float().mean()
    even = draw_graph(600, homophily=1.0)
    by_chance = (even.labels[even.edges[0]] == even.labels[even.edges[1]]).float().mean()
    assert same > 0.6 > 0.4 > by_chance


def test_the_features_hold_the_community_under_noise():
    graph = draw_graph(100, noise=0.0)
    for label in range(4):
        of_this = graph.features[graph.labels == label]
        assert torch.equal(of_this, of_this[:1].expand_as(of_this))


@pytest.mark.parametrize("wrong", [{"nodes": 4}, {"communities": 1}, {"features": 0}, {"links": 0}])
def test_sizes_that_make_no_graph_are_refused(wrong):
    with pytest.raises(ValueError, match="a graph needs"):
        draw_graph(**wrong)
    with pytest.raises(ValueError, match="homophily must be at least 1"):
        draw_graph(50, homophily=0.5)
