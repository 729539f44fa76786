"""Gradual pruning: the asked sparsity at the end, nested masks on the way, better than all at once."""

import pytest
import torch
from torch import nn

from frugal.core.seed import generator
from frugal.prune.masks import count_dropped, count_zeros, weights_of
from frugal.prune.methods.gradual import cubic_within, prune_gradually
from frugal.prune.methods.magnitude import prune_weights
from frugal.prune.schedule import Linear, OneShot
from frugal.prune.training import TuningPlan, finetune

PLAN = TuningPlan(steps=160, lr=0.1, batch_size=64, weight_decay=0.0)


@pytest.fixture(scope="module")
def data():
    """A small network's own answers: no sparse network fits them by luck."""
    rng = generator(0, "gradual")
    x = torch.randn(1024, 12, generator=rng)
    w = torch.randn(12, 4, generator=rng)
    return x, (x.sin() @ w).argmax(1)


@pytest.fixture(scope="module")
def trained(data):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 4))
    return finetune(net, *data, PLAN)


def accuracy(model, data):
    with torch.no_grad():
        return (model(data[0]).argmax(1) == data[1]).float().mean().item()


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_the_count_at_the_end_is_exact(scope, sparsity, trained, data):
    pruned = prune_gradually(trained, *data, sparsity, plan=TuningPlan(steps=24, batch_size=64), scope=scope)
    counts = count_zeros(pruned.model)
    gone = {name: int((~mask).sum()) for name, mask in pruned.masks.items()}
    if scope == "local":
        assert gone == {name: count_dropped(each.total, sparsity) for name, each in counts.items()}
    assert sum(gone.values()) == pytest.approx(sparsity * sum(each.total for each in counts.values()), abs=1)
    assert all((w[~pruned.masks[name]] == 0).all() for name, w in weights_of(pruned.model).items())


def test_training_on_the_way_is_worth_more_than_cutting_at_once(trained, data):
    """Robust orderings only: all at once ruins the network, while training it stays close to the dense one."""
    at_once = prune_weights(trained, 0.85).model
    gradual = prune_gradually(trained, *data, 0.85, plan=PLAN, scope="global").model
    assert accuracy(trained, data) > 0.85
    assert accuracy(at_once, data) < accuracy(gradual, data) - 0.1
    assert accuracy(gradual, data) > 0.8


def test_other_schedules_can_be_given_if_they_end_where_it_was_asked(trained, data):
    plan = TuningPlan(steps=24, batch_size=64)
    pruned = prune_gradually(trained, *data, 0.5, plan=plan, schedule=Linear(0.5, every=2, count=4))
    assert int((~pruned.masks["0.weight"]).sum()) == 12 * 48 // 2
    with pytest.raises(ValueError, match=r"the schedule ends at 0\.4, but sparsity 0\.5 is asked"):
        prune_gradually(trained, *data, 0.5, plan=plan, schedule=OneShot(0.4))


@pytest.mark.parametrize("steps", [2, 3, 10, 100, 1001])
def test_the_default_schedule_leaves_steps_to_recover(steps):
    schedule = cubic_within(0.9, steps)
    assert 0 < schedule.last <= 3 * steps / 4
    assert schedule.sparsity(schedule.last) == 0.9


def test_too_few_steps_are_refused(trained, data):
    with pytest.raises(ValueError, match="1 steps are too few to prune gradually"):
        prune_gradually(trained, *data, 0.5, plan=TuningPlan(steps=1))
