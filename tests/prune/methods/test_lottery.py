"""Lottery tickets: the survivors start again from exactly where they were."""

import pytest
import torch
from torch import nn

from frugal.core.seed import generator
from frugal.prune.masks import count_dropped, weights_of
from frugal.prune.methods.lottery import find_ticket, shuffled, with_new_weights
from frugal.prune.schedule import Geometric
from frugal.prune.training import TuningPlan, train_

PLAN = TuningPlan(steps=30, lr=0.1, batch_size=32)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 3))


@pytest.fixture(scope="module")
def data():
    rng = generator(0, "lottery")
    x = torch.randn(256, 6, generator=rng)
    return x, (x @ torch.randn(6, 3, generator=rng)).argmax(1)


@pytest.mark.parametrize("rewind_to", [0, 1, 7])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_the_survivors_have_the_weights_of_step_k_bit_for_bit(rewind_to, scope, data):
    net = network()
    early = network()
    train_(early, *data, PLAN, end=rewind_to)
    ticket = find_ticket(net, *data, Geometric(0.8, rounds=3), PLAN, rewind_to=rewind_to, scope=scope)
    for name, value in early.state_dict().items():
        expected = value * ticket.masks[name] if name in ticket.masks else value
        assert torch.equal(ticket.start.state_dict()[name], expected), name
    assert ticket.rewound_to == rewind_to
    assert all(
        torch.equal(a, b) for a, b in zip(net.state_dict().values(), network().state_dict().values(), strict=True)
    )


def test_each_round_keeps_the_largest_trained_weights_of_those_that_were_left(data):
    schedule = Geometric(0.4, rounds=2)
    first = find_ticket(network(), *data, Geometric(schedule.sparsity(1), rounds=1), PLAN)
    second = find_ticket(network(), *data, schedule, PLAN)
    assert all((first.masks[name] | ~mask).all() for name, mask in second.masks.items())  # within the first's
    scores = {name: weight.detach().abs() for name, weight in weights_of(first.trained).items()}
    kept = torch.cat([scores[name][mask] for name, mask in second.masks.items()])
    gone = torch.cat([scores[name][first.masks[name] & ~mask] for name, mask in second.masks.items()])
    assert kept.min() >= gone.max()


def test_the_ticket_is_trained_with_its_masks_and_counted_exactly(data):
    ticket = find_ticket(network(), *data, Geometric(0.75, rounds=2), PLAN)
    total = sum(mask.numel() for mask in ticket.masks.values())
    assert sum(int((~mask).sum()) for mask in ticket.masks.values()) == count_dropped(total, 0.75)
    assert ticket.sparsities == pytest.approx((0.5, 0.75))
    for name, weight in weights_of(ticket.trained).items():
        assert (weight[~ticket.masks[name]] == 0).all()
    with torch.no_grad():
        right = (ticket.trained(data[0]).argmax(1) == data[1]).float().mean()
    assert right > 0.8


def test_the_first_control_has_the_masks_and_other_weights(data):
    net = network()
    ticket = find_ticket(net, *data, Geometric(0.5, rounds=1), PLAN)
    state = torch.get_rng_state()
    control, again = (with_new_weights(net, ticket.masks, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    for name, weight in weights_of(control).items():
        assert torch.equal(weight, weights_of(again)[name])
        assert (weight[~ticket.masks[name]] == 0).all()
        assert not torch.equal(weight, weights_of(ticket.start)[name])


def test_the_second_control_has_the_counts_in_other_places():
    net = network()
    masks = {"0.weight": torch.rand(24, 6) < 0.3, "3.weight": torch.zeros(3, 24, dtype=torch.bool)}
    other = shuffled(net, masks)
    assert {name: int(mask.sum()) for name, mask in other.items()} == {name: int(m.sum()) for name, m in masks.items()}
    assert not torch.equal(other["0.weight"], masks["0.weight"])
    assert all(torch.equal(mask, shuffled(net, masks)[name]) for name, mask in other.items())


def test_bad_rewinding_is_refused(data):
    with pytest.raises(ValueError, match="rewind_to must be a step from 0 to below 30, got 30"):
        find_ticket(network(), *data, Geometric(0.5, rounds=1), PLAN, rewind_to=30)
    with pytest.raises(ValueError, match="scope must be"):
        find_ticket(network(), *data, Geometric(0.5, rounds=1), PLAN, scope="layer")
    with pytest.raises(ValueError, match=r"'1\.weight' is no weight"):
        shuffled(network(), {"1.weight": torch.ones(24, dtype=torch.bool)})
