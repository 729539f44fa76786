"""A graph network: sums over neighbours, whatever the order of nodes and edges."""

import pytest
import torch

from frugal.nets.graph_net import GraphLayer, GraphNet, add_up

EDGES = torch.tensor([[0, 1, 2, 3, 0], [1, 0, 1, 1, 3]])


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def adjacency(nodes):
    matrix = torch.zeros(nodes, nodes, dtype=torch.float64)
    for source, target in EDGES.T.tolist():
        matrix[target, source] += 1
    return matrix


def test_adding_up_is_a_product_with_the_adjacency_matrix():
    x = draw(4, 3)
    assert torch.allclose(add_up(x, EDGES), adjacency(4) @ x)


def test_gin_is_its_formula():
    torch.manual_seed(0)
    layer, x = GraphLayer(3, 5).double(), draw(4, 3)
    layer.eps.data.fill_(0.3)
    total = (1.3 * torch.eye(4, dtype=torch.float64) + adjacency(4)) @ x
    wanted = layer.linear2(torch.relu(layer.linear1(total)))
    assert torch.allclose(layer(x, EDGES), wanted)


def test_gcn_is_its_formula():
    torch.manual_seed(0)
    layer, x = GraphLayer(3, 5, "gcn").double(), draw(4, 3)
    loops = adjacency(4) + torch.eye(4, dtype=torch.float64)
    root = torch.diag(loops.sum(1).rsqrt())
    assert torch.allclose(layer(x, EDGES), layer.linear1(root @ loops @ root @ x))


@pytest.mark.parametrize("kind", ["gin", "gcn"])
def test_renaming_the_nodes_renames_the_answers(kind):
    torch.manual_seed(0)
    net = GraphNet(3, 2, hidden=8, kind=kind).double().eval()
    x, order = draw(4, 3), torch.tensor([2, 0, 3, 1])
    new_name = torch.argsort(order)
    assert torch.allclose(net(x[order], new_name[EDGES]), net(x, EDGES)[order])
    assert torch.allclose(net(x, EDGES.flip(1)), net(x, EDGES))


def test_a_graph_without_edges_and_bad_input():
    net = GraphNet(3, 2).eval()
    assert net(torch.zeros(2, 3), torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 2)
    with pytest.raises(ValueError, match="join nodes 0 to 1, got 0 to 3"):
        net(torch.zeros(2, 3), EDGES)
    with pytest.raises(ValueError, match="int64"):
        net(torch.zeros(4, 3), EDGES.float())
    with pytest.raises(ValueError, match="gin, gcn"):
        GraphNet(3, 2, kind="gat")
    with pytest.raises(ValueError, match="layers must be at least 1"):
        GraphNet(3, 2, layers=0)
