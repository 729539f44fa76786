"""Movement pruning: scores add up what weights move, and keep those that move away from zero."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from frugal.core.seed import generator
from frugal.prune.masks import count_dropped, keep_largest, sparsity_of, weights_of
from frugal.prune.masks import count_zeros as zeros_of
from frugal.prune.methods.movement import Movement, prune_by_movement, prune_by_soft_movement
from frugal.prune.schedule import Cubic, OneShot
from frugal.prune.training import TuningPlan

PLAN = TuningPlan(steps=60, lr=0.1, batch_size=64, weight_decay=0.0)


@pytest.fixture(scope="module")
def data():
    """Labels that depend on the first four of twelve inputs."""
    rng = generator(0, "movement")
    x = torch.randn(512, 12, generator=rng)
    return x, (x[:, :4] @ torch.randn(4, 3, generator=rng)).argmax(1)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))


def right(model, data):
    with torch.no_grad():
        return (model(data[0]).argmax(1) == data[1]).float().mean().item()


def test_the_gradient_of_a_score_is_that_of_the_masked_weight_times_the_weight():
    movement = Movement(torch.zeros(4, 3, dtype=torch.float64))
    movement.sparsity = 0.5
    movement.scores.data.copy_(torch.randn(4, 3))
    w = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    passed = movement(w)
    assert torch.equal(passed, torch.where(keep_largest(movement.scores, 0.5), w, 0))
    g = torch.randn(4, 3, dtype=torch.float64)
    passed.backward(g)
    assert torch.equal(movement.scores.grad, g * w.detach())  # masked or not
    assert torch.equal(w.grad, g * keep_largest(movement.scores, 0.5))


def test_scores_add_up_minus_the_rate_times_gradient_times_weight():
    """S = -η Σ g w: followed for twenty steps of SGD on L = ½ (w - t)²."""
    t = torch.tensor([2.0, -2.0, 0.05, 0.0, 1.0], dtype=torch.float64)
    w = nn.Parameter(torch.tensor([0.1, -0.1, 0.1, 0.2, -0.1], dtype=torch.float64))
    movement = Movement(w.detach())
    optimizer = torch.optim.SGD([w, movement.scores], lr=0.1)
    total = torch.zeros(5, dtype=torch.float64)
    for _ in range(20):
        total -= 0.1 * (w.detach() - t) * w.detach()
        optimizer.zero_grad()
        (0.5 * (movement(w) - t).square().sum()).backward()
        optimizer.step()
    torch.testing.assert_close(movement.scores.detach(), total, rtol=0, atol=1e-14)


def test_the_sign_of_a_score_is_the_sign_of_the_movement_away_from_zero():
    """One step: scores of weights that grew are above 0, of those that shrank below; size plays no part."""
    t = torch.tensor([2.0, -2.0, 0.0, 0.0, 5.0, -5.0], dtype=torch.float64)
    start = torch.tensor([0.1, -0.1, 0.1, -0.1, 3.0, 3.0], dtype=torch.float64)
    w = nn.Parameter(start.clone())
    movement = Movement(start)
    optimizer = torch.optim.SGD([w, movement.scores], lr=0.01)
    (0.5 * (movement(w) - t).square().sum()).backward()
    optimizer.step()
    away = w.detach().abs() - start.abs()
    assert torch.equal(movement.scores.detach().sign(), away.sign())
    assert movement.scores.sign().tolist() == [1, 1, -1, -1, 1, -1]


def test_a_large_weight_on_its_way_to_zero_goes_before_a_small_one_that_grows(data):
    """Magnitude would keep the large one: fine-tuning wants inputs 0 to 3, the pretrained weights lie on the others."""
    torch.manual_seed(0)
    net = nn.Linear(12, 3)
    with torch.no_grad():
        net.weight[:, :4].uniform_(-0.05, 0.05)
        net.weight[:, 4:].uniform_(1.0, 2.0)
    magnitude = keep_largest(net.weight.detach().abs(), 2 / 3)
    assert not magnitude[:, :4].any()
    pruned = prune_by_movement(net, *data, Cubic(2 / 3, begin=20, every=5, count=4), PLAN)
    assert int(pruned.masks["weight"][:, :4].sum()) >= 10
    assert right(pruned.model, data) > 0.9


def test_the_count_is_exact_zeros_are_zeros_and_the_network_has_plain_weights_again(data):
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    pruned = prune_by_movement(net, *data, Cubic(0.7, every=4, count=10), PLAN)
    assert list(pruned.masks) == ["0.weight", "2.weight"]
    for name, mask in pruned.masks.items():
        assert int((~mask).sum()) == count_dropped(mask.numel(), 0.7)
        assert (weights_of(pruned.model)[name][~mask] == 0).all()
    assert not any(parametrize.is_parametrized(module) for module in pruned.model.modules())
    assert set(pruned.model.state_dict()) == set(before)
    assert type(pruned.model[0]) is nn.Linear
    assert right(pruned.model, data) > 0.8
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_soft_movement_finds_a_sparsity_that_grows_with_the_penalty(data):
    found = []
    for strength in (0.0, 100.0, 1000.0):
        pruned = prune_by_soft_movement(network(), *data, strength, PLAN, score_lr=1.0)
        assert all((w[~pruned.masks[name]] == 0).all() for name, w in weights_of(pruned.model).items())
        found.append(sparsity_of(zeros_of(pruned.model)))
    assert found == sorted(found)
    assert found[0] < 0.2 < found[1]


def test_the_soft_mask_is_the_sigmoid_above_its_threshold():
    movement = Movement(torch.zeros(5), threshold=0.1)
    assert movement.keep().all()
    movement.scores.data = torch.tensor([-3.0, -2.3, -2.1, 0.0, 2.0])
    assert torch.equal(movement.keep(), movement.scores.sigmoid() > 0.1)


def test_bad_choices_are_refused(data):
    with pytest.raises(ValueError, match=r"threshold must lie between 0 and 0\.5"):
        Movement(torch.zeros(2), threshold=0.6)
    with pytest.raises(ValueError, match="strength must be 0 or more, got -1"):
        prune_by_soft_movement(network(), *data, -1.0)
    with pytest.raises(ValueError, match="last update is at step 60 of 60"):
        prune_by_movement(network(), *data, OneShot(0.5, begin=60), PLAN)
    with pytest.raises(ValueError, match="score_lr must be above 0 and finite, got 0"):
        prune_by_movement(network(), *data, OneShot(0.5, begin=5), PLAN, score_lr=0.0)
    with pytest.raises(ValueError, match="no convolution or linear layer"):
        prune_by_movement(nn.ReLU(), *data, OneShot(0.5, begin=5), PLAN)
