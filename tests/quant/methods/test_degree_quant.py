"""Degree-Quant [30]: protection rises with the degree, and inference protects nobody."""

import pytest
import torch

from frugal.data.graphs import draw_graph
from frugal.nets.graph_net import GraphNet
from frugal.quant.affine import dequantize, quantize
from frugal.quant.methods.degree_quant import DegreeQuantizer, protection, quantize_graph_net


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape):
    return torch.randn(*shape, generator=rng())


def test_protection_rises_with_the_degree_from_above_low_to_high():
    degrees = draw_graph(300).degrees
    p = protection(degrees, 0.1, 0.3)
    order = degrees.argsort()
    assert (p[order].diff() >= 0).all()
    for degree in degrees.unique():
        assert len(p[degrees == degree].unique()) == 1
    assert p[degrees.argmax()].item() == pytest.approx(0.3)
    assert p.min() > 0.1


def test_protection_is_the_rank_of_the_degree():
    degrees = torch.tensor([3, 1, 3, 0])
    assert protection(degrees, 0.0, 1.0).tolist() == [1.0, 0.5, 1.0, 0.25]
    different = torch.randperm(101, generator=rng())  # all degrees differ: ranks 1 to n, whose mean is known
    assert protection(different, 0.2, 0.6).mean().item() == pytest.approx(0.2 + 0.4 * (101 + 1) / (2 * 101))


def test_protected_rows_pass_as_they_are_and_all_others_are_on_the_grid():
    x = draw(400, 6)
    quantizer = DegreeQuantizer(torch.full((400,), 0.5), 4, tail=0.0, rng=rng())
    y = quantizer(x)
    untouched = (y == x).all(1)
    assert 140 < untouched.sum() < 260
    on_grid = dequantize(quantize(x, quantizer.qparams()), quantizer.qparams())
    assert torch.equal(y[~untouched], on_grid[~untouched])


def test_the_draw_is_new_in_every_pass_and_follows_its_probability():
    quantizer = DegreeQuantizer(torch.tensor([0.0, 0.5, 1.0]), 4, rng=rng())
    x = torch.tensor([[-1.0, 1.0], [0.123, 0.7], [0.123, 0.7]])
    kept = torch.stack([(quantizer(x) == x).all(1) for _ in range(200)]).float().mean(0)
    assert kept[2] == 1
    assert 0.3 < kept[1] < 0.7


def test_inference_protects_nobody():
    x = draw(50, 4)
    quantizer = DegreeQuantizer(torch.ones(50), 4, rng=rng())
    quantizer.probability.fill_(0.5)
    quantizer(x)
    quantizer.probability.fill_(1.0)
    quantizer.eval()
    assert torch.equal(quantizer(x), dequantize(quantize(x, quantizer.qparams()), quantizer.qparams()))
    assert not (quantizer(x) == x).all(1).any()


def test_gradients_of_protected_rows_are_not_clipped():
    x = torch.tensor([[100.0], [100.0], [1.0], [-1.0]], requires_grad=True)
    quantizer = DegreeQuantizer(torch.tensor([1.0, 0.0, 0.0, 0.0]), 4, rng=rng())
    quantizer.low.fill_(-1.0), quantizer.high.fill_(1.0), quantizer.seen.fill_(True)
    quantizer.freeze()
    quantizer(x).sum().backward()
    assert x.grad.flatten().tolist() == [1.0, 0.0, 1.0, 1.0]


def test_a_tail_of_0_is_min_max_and_a_wider_one_leaves_its_share_outside():
    x = draw(1000, 1)
    whole, cut = DegreeQuantizer(None, 8, tail=0.0), DegreeQuantizer(None, 8, tail=0.01)
    whole(x), cut(x)
    assert (whole.low.item(), whole.high.item()) == (x.min().item(), x.max().item())
    assert int((x > cut.high).sum()) == int((x < cut.low).sum()) == 10


def test_the_range_starts_from_the_first_graph_follows_and_stays_once_frozen():
    quantizer = DegreeQuantizer(None, 8, tail=0.0, averaging_constant=0.25)
    quantizer(torch.tensor([[0.0], [4.0]]))
    quantizer(torch.tensor([[0.0], [8.0]]))
    assert quantizer.high.item() == 5.0
    quantizer.freeze()
    quantizer(torch.tensor([[0.0], [80.0]]))
    assert quantizer.high.item() == 5.0


def trained(num_bits, protect):
    """A few steps of a quantized network on a small graph; its accuracy on the nodes that were not shown."""
    graph = draw_graph(300, noise=1.5, seed=1)
    torch.manual_seed(0)
    net = quantize_graph_net(GraphNet(16, 4, hidden=16), graph.degrees, num_bits, protect=protect, rng=rng())
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    net.train()
    for _ in range(40):
        optimizer.zero_grad()
        logits = net(graph.features, graph.edges)
        torch.nn.functional.cross_entropy(logits[graph.train], graph.labels[graph.train]).backward()
        optimizer.step()
    answers = net.eval()(graph.features, graph.edges).argmax(1)
    return net, (answers == graph.labels)[~graph.train].float().mean().item()


def test_a_protected_network_learns_its_graph_in_8_bits():
    net, accuracy = trained(8, (0.0, 0.1))
    assert accuracy > 0.6  # one in four by chance
    quantizers = [module for module in net.modules() if isinstance(module, DegreeQuantizer)]
    assert len(quantizers) == 2 * 2 + 5  # message and sum of two rounds, inputs of five linear layers
    assert all(bool(each.seen) for each in quantizers)


def test_renaming_the_nodes_renames_the_answers_of_a_quantized_network():
    net, _ = trained(8, (0.0, 0.1))
    graph = draw_graph(300, noise=1.5, seed=1)
    order = torch.randperm(300, generator=rng())
    renamed = net(graph.features[order], torch.argsort(order)[graph.edges])
    # sums of floats depend on their order; at most a value that lies between two codes may go the other way
    agree = torch.isclose(renamed, net(graph.features, graph.edges)[order], atol=1e-4).float().mean()
    assert agree > 0.99


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="0 ≤ low ≤ high ≤ 1"):
        protection(torch.tensor([1]), 0.5, 0.1)
    with pytest.raises(ValueError, match="one for each node"):
        protection(torch.tensor([-1, 2]))
    with pytest.raises(ValueError, match="tail is from 0"):
        DegreeQuantizer(None, 8, tail=0.5)
    with pytest.raises(ValueError, match="knows 3 nodes"):
        DegreeQuantizer(torch.zeros(3), 8)(torch.zeros(4, 2))
    with pytest.raises(RuntimeError, match="seen no graph"):
        DegreeQuantizer(None, 8).eval()(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="finite"):
        DegreeQuantizer(None, 8)(torch.full((2, 2), float("nan")))
    everybody = DegreeQuantizer(torch.ones(2), 8, rng=rng())
    with pytest.raises(RuntimeError, match="seen no graph"):
        everybody(torch.ones(2, 2))
