"""Optimal brain damage: exact where H is diagonal, and two estimates of a diagonal that agree with H written out."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from frugal.prune.masks import weights_of
from frugal.prune.methods.obd import gauss_newton_diagonal, hessian_diagonal, obd, obd_scores


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_score_is_what_the_loss_rises_by_where_the_hessian_is_diagonal():
    w, steep = drawn(7), drawn(7, seed=1).abs()
    scores = obd_scores({"w": w}, {"w": steep})["w"]
    for q in range(7):
        without = w.clone()
        without[q] = 0
        rise = (steep * (without - w).square()).sum() / 2  # w is the minimum
        torch.testing.assert_close(scores[q], rise, rtol=1e-12, atol=0)


def test_one_vector_of_signs_is_enough_for_a_diagonal_hessian():
    w, steep = drawn(3, 5).requires_grad_(), drawn(3, 5, seed=1)
    (found,) = hessian_diagonal(lambda: (steep * w.square()).sum() / 2, [w])
    torch.testing.assert_close(found, steep, rtol=1e-12, atol=0)


def test_many_signs_come_near_the_diagonal_of_any_hessian():
    """v_q (H v)_q = H_qq + Σ_p≠q ±H_pq: its variance is the sum of the squares of the row's other entries."""
    matrix = drawn(6, 6)
    matrix = matrix + matrix.T
    w, probes = drawn(6, seed=1).requires_grad_(), 4000
    (found,) = hessian_diagonal(lambda: w @ matrix @ w / 2, [w], probes=probes)
    deviation = (matrix.square().sum(1) - matrix.diagonal().square()).sqrt() / math.sqrt(probes)
    assert ((found - matrix.diagonal()).abs() < 5 * deviation).all()


def test_a_parameter_that_the_loss_is_linear_in_has_no_curvature():
    w, linear = drawn(2).requires_grad_(), drawn(2).requires_grad_()
    found = hessian_diagonal(lambda: w.square().sum() + linear.sum(), [w, linear])
    assert found[0].tolist() == [2, 2]
    assert found[1].tolist() == [0, 0]


def softmax_diagonal(layer, x):
    """Of one linear layer under cross-entropy: H_(k,j) = mean of p_k (1 - p_k) x_j²."""
    p = layer(x).softmax(1)
    return torch.einsum("nk,nj->kj", p * (1 - p), x.square()) / len(x)


def test_gauss_newton_needs_no_labels_and_finds_the_diagonal_of_cross_entropy():
    layer = nn.Linear(5, 3).double()
    x, probes = drawn(16, 5), 3000
    with torch.no_grad():
        expected = softmax_diagonal(layer, x)
    found = gauss_newton_diagonal(layer, [x[:7], x[7:]], probes=probes)["weight"]
    # A draw is the square of a sum of independent terms: its deviation is some √2 of its mean, more where few terms
    # dominate it; four of the fourth moment's are allowed.
    assert ((found / expected - 1).abs() < 5 * 2 / math.sqrt(probes)).all()
    loss = lambda: F.cross_entropy(layer(x), torch.zeros(16, dtype=torch.long))  # noqa: E731
    (exact,) = hessian_diagonal(loss, [layer.weight], probes=probes)
    assert ((exact / expected - 1).abs() < 0.5).all()  # the same H, whatever the labels: the layer is linear


def test_gauss_newton_is_never_below_zero_and_leaves_the_network_alone():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = gauss_newton_diagonal(net, torch.rand(8, 1, 4, 4))
    assert found.keys() == weights_of(net).keys()
    assert all((each >= 0).all() for each in found.values())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert net[0].training
    assert not net[1].training


def test_a_weight_that_nothing_reads_goes_first():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        net[0].bias.fill_(5)  # every other neuron is always on
        net[2].weight[:, 1] = 0  # hidden neuron 1 reaches nothing
    pruned = obd(net, torch.rand(32, 4), 6 / 18)
    assert not pruned.masks["0.weight"][1].any()
    assert not pruned.masks["2.weight"][:, 1].any()
    torch.testing.assert_close(pruned.model(torch.ones(1, 4)), net(torch.ones(1, 4)), rtol=0, atol=0)


@pytest.mark.parametrize("scope", ["global", "local"])
def test_masks_have_the_asked_share_and_seeds_repeat(scope):
    net = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 4))
    x = torch.rand(20, 6)
    pruned, again = (obd(net, x, 0.4, scope=scope, seed=3) for _ in range(2))
    assert sum(int((~keep).sum()) for keep in pruned.masks.values()) == 40
    assert all(torch.equal(keep, again.masks[name]) for name, keep in pruned.masks.items())
    for name, weight in weights_of(pruned.model).items():
        assert torch.equal(weight, weights_of(net)[name] * pruned.masks[name])


def test_bad_input_is_refused():
    net = nn.Linear(4, 3)
    with pytest.raises(ValueError, match="probes must be a whole number from 1, got 0"):
        gauss_newton_diagonal(net, torch.rand(2, 4), probes=0)
    with pytest.raises(ValueError, match=r"logits \[n, classes\]"):
        gauss_newton_diagonal(net, torch.rand(2, 3, 4))
    with pytest.raises(ValueError, match="at least one batch"):
        gauss_newton_diagonal(net, [])
    with pytest.raises(ValueError, match="the diagonal has no w"):
        obd_scores({"w": torch.ones(2)}, {"v": torch.ones(2)})
    w = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="must return one number"):
        hessian_diagonal(lambda: w * w, [w])
