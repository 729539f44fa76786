"""GraSP: Hessian times gradient without a Hessian, and what it says of the flow of gradients."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from frugal.prune.masks import count_dropped, weights_of
from frugal.prune.methods.grasp import grasp_scores, hessian_times_gradient, prune_grasp
from frugal.prune.scores import leaves_of, loss_at


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def batch(seed=0, size=10):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(size, 4, generator=rng, dtype=torch.float64), torch.randint(3, (size,), generator=rng)


def test_on_a_quadratic_it_is_the_matrix_twice():
    """L = ½ wᵀ A w:  g = A w,  H = A,  H g = A (A w)."""
    rng = torch.Generator().manual_seed(0)
    square = torch.randn(7, 7, generator=rng, dtype=torch.float64)
    a, w = square @ square.T, torch.randn(7, generator=rng, dtype=torch.float64)
    w.requires_grad_()
    found = hessian_times_gradient(0.5 * w @ a @ w, {"w": w})["w"]
    rounding = 7 * torch.finfo(torch.float64).eps * (a.abs() @ (a.abs() @ w.detach().abs())).max()
    torch.testing.assert_close(found, a @ (a @ w.detach()), rtol=0, atol=2 * float(rounding))


def test_it_is_the_whole_hessian_across_layers():
    net = network()
    x, y = batch()
    leaves = leaves_of(net, weights_of(net))
    names = list(leaves)
    found = hessian_times_gradient(loss_at(net, leaves, x, y, cross_entropy), leaves)

    def loss(*values):
        return loss_at(net, dict(zip(names, values, strict=True)), x, y, cross_entropy)

    values = tuple(leaves.values())
    sizes = [value.numel() for value in values]
    blocks = torch.autograd.functional.hessian(loss, values)
    hessian = torch.cat(
        [
            torch.cat([b.reshape(m, n) for b, n in zip(row, sizes, strict=True)], 1)
            for row, m in zip(blocks, sizes, strict=True)
        ]
    )
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss(*values), values)])
    expected = (hessian @ gradient).split(sizes)
    for name, value in zip(names, expected, strict=True):
        torch.testing.assert_close(found[name].flatten(), value, rtol=0, atol=1e-12)


def test_the_score_predicts_how_the_flow_changes_when_a_weight_shrinks():
    """d‖g‖² / dε of w (1 - ε) is -2 w (H g): by differences on both sides, whose error falls with the square of ε."""
    net = network()
    x, y = batch()
    scores = grasp_scores(net, [(x, y)])
    weights = {name: weight.detach() for name, weight in weights_of(net).items()}

    def flow(name, place, factor):
        changed = {key: value.clone() for key, value in weights.items()}
        changed[name][place] *= factor
        leaves = {key: value.requires_grad_() for key, value in changed.items()}
        found = torch.autograd.grad(loss_at(net, leaves, x, y, cross_entropy), list(leaves.values()))
        return sum(each.square().sum() for each in found).item()

    step = 1e-4
    for name, place in (("0.weight", (2, 1)), ("0.weight", (5, 3)), ("2.weight", (0, 4))):
        change = (flow(name, place, 1 - step) - flow(name, place, 1 + step)) / (2 * step)
        assert change == pytest.approx(-2 * scores[name][place].item(), abs=1e-7)


def test_the_smallest_products_go_and_the_count_is_exact():
    net = network()
    scores = grasp_scores(net, [batch()])
    pruned = prune_grasp(net, 0.6, [batch()])
    everything = torch.cat([each.flatten() for each in scores.values()])
    kept = torch.cat([mask.flatten() for mask in pruned.masks.values()])
    assert int((~kept).sum()) == count_dropped(len(kept), 0.6)
    assert everything[kept].min() >= everything[~kept].max()
    assert everything.min() < 0 < everything.max()
    assert all((w[~pruned.masks[name]] == 0).all() for name, w in weights_of(pruned.model).items())


def test_batches_count_by_their_size():
    net = network()
    one, two = batch(0, 4), batch(1, 12)
    both = grasp_scores(net, [one, two])
    alone = [grasp_scores(net, [each]) for each in (one, two)]
    for name, value in both.items():
        torch.testing.assert_close(value, 0.25 * alone[0][name] + 0.75 * alone[1][name], rtol=0, atol=1e-15)


def test_the_network_and_its_mode_stay():
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    prune_grasp(net, 0.5, [batch()])
    assert not any(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_linear_loss_has_no_hessian():
    w = torch.ones(3, requires_grad=True)
    assert hessian_times_gradient((2 * w).sum(), {"w": w})["w"].tolist() == [0, 0, 0]


def test_bad_batches_are_refused():
    with pytest.raises(ValueError, match="no batch was given"):
        grasp_scores(network(), [])
    x, y = batch()
    with pytest.raises(ValueError, match=r"the scores of 0\.weight must be finite"):
        grasp_scores(network(), [(x * float("inf"), y)])
