"""Training with masks: zeros stay, schedules are followed, a step sees the same pictures whenever it is taken."""

from dataclasses import replace
from itertools import chain, pairwise

import pytest
import torch
from torch import nn

from frugal.core.seed import generator
from frugal.graph.channels import find_channels
from frugal.prune.masks import count_dropped, keep, sparsity_of, weights_of
from frugal.prune.masks import count_zeros as zeros_of
from frugal.prune.schedule import Cubic, Geometric, OneShot
from frugal.prune.scores import channel_norms, choose_groups, magnitudes
from frugal.prune.surgery import remove_channels
from frugal.prune.training import TuningPlan, batch_at, entwine, finetune, prune_while_training, train_

QUICK = TuningPlan(steps=40, lr=0.05, batch_size=32)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def data():
    """Three classes: which of two channels is brighter, or neither."""
    rng = generator(0, "pruned training")
    y = torch.randint(3, (256,), generator=rng)
    level = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])[y]
    return level[:, :, None, None] + 0.3 * torch.randn(256, 2, 6, 6, generator=rng), y


def accuracy(model, data):
    with torch.no_grad():
        return (model(data[0]).argmax(1) == data[1]).float().mean().item()


def choose(model, sparsity):
    return keep(magnitudes(model), sparsity, "global")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_fine_tuning_learns_with_the_kept_weights_alone(optimizer, data):
    net = network()
    masks = keep(magnitudes(net), 0.7)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    tuned = finetune(net, *data, replace(QUICK, optimizer=optimizer, lr=0.02, steps=80), masks=masks)
    assert accuracy(tuned, data) > 0.9
    assert not tuned.training
    assert all((w[~masks[name]] == 0).all() for name, w in weights_of(tuned).items())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_same_plan_gives_the_same_weights_bit_for_bit(data):
    first, again = (finetune(network(), *data, QUICK) for _ in range(2))
    other = finetune(network(), *data, replace(QUICK, seed=1))
    states = [model.state_dict() for model in (first, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["0.weight"], states[2]["0.weight"])


def test_two_halves_without_memory_are_one_whole(data):
    """Without momentum a step depends on weights and its number alone: stopping on the way changes nothing."""
    plan = replace(QUICK, momentum=0.0)
    whole, halves = network(), network()
    losses = train_(whole, *data, plan).losses
    first = train_(halves, *data, plan, end=15).losses
    second = train_(halves, *data, plan, begin=15).losses
    assert first + second == losses
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), halves.state_dict().values(), strict=True)
    )


def test_one_pass_sees_every_input_once_and_two_passes_in_two_orders():
    passes = [[batch_at(step, 12, 4).tolist() for step in range(first, first + 3)] for first in (0, 3)]
    for rows in passes:
        assert sorted(chain(*rows)) == list(range(12))
    assert passes[0] != passes[1]


@pytest.mark.parametrize("curve, ends", [("cosine", (1.0, 0.0)), ("one-cycle", (0.04, 0.0)), ("constant", (1.0, 1.0))])
def test_the_learning_rate_follows_its_curve(curve, ends):
    plan = replace(QUICK, curve=curve)
    assert plan.rate(0) == pytest.approx(ends[0])
    assert plan.rate(plan.steps) == pytest.approx(ends[1])


def test_a_penalty_is_part_of_the_loss(data):
    net = network()
    train_(net, *data, replace(QUICK, weight_decay=0.0), penalty=lambda: 5 * net[8].weight.square().sum())
    free = finetune(network(), *data, replace(QUICK, weight_decay=0.0))
    assert net[8].weight.norm() < 0.5 * free[8].weight.norm()


SCHEDULES = [OneShot(0.6), Cubic(0.6, begin=2, every=3, count=5), Geometric(0.6, rounds=3, every=5)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_masks_follow_the_schedule_and_lie_within_one_another(schedule, data):
    seen = []

    def watch(model, sparsity):
        masks = choose(model, sparsity)
        seen.append((sparsity, masks))
        return masks

    pruned = prune_while_training(network(), *data, watch, schedule, QUICK)
    steps = [step for step in range(QUICK.steps) if schedule.updates(step)]
    assert [sparsity for sparsity, _ in seen] == [schedule.sparsity(step) for step in steps]
    for (_, dense), (_, sparse) in pairwise(seen):
        assert all((dense[name] | ~sparse[name]).all() for name in dense)
    total = sum(mask.numel() for mask in pruned.masks.values())
    assert sum(each.zeros for each in zeros_of(pruned.model).values()) == count_dropped(total, 0.6)
    assert all((w[~pruned.masks[name]] == 0).all() for name, w in weights_of(pruned.model).items())
    assert accuracy(pruned.model, data) > 0.9


def test_entwined_removal_gets_smaller_slice_by_slice_and_learns(data):
    sizes = []

    def prune(model, share):
        channels = find_channels(model, (2, 6, 6))
        smaller = remove_channels(model, channels, choose_groups(channel_norms(model, channels), channels, share))
        sizes.append(smaller[0].out_channels)
        return smaller

    net = network()
    small = entwine(net, *data, prune, [0.25, 0.5, 0.75], replace(QUICK, steps=25))
    assert sizes == [6, 4, 2]
    assert (small[0].out_channels, small[3].out_channels) == (2, 2)
    assert (net[0].out_channels, net[3].out_channels) == (8, 8)
    assert accuracy(small, data) > 0.9


def test_no_slice_leaves_a_copy(data):
    net = network()
    same = entwine(net, *data, lambda model, share: model, [])
    assert same is not net
    assert torch.equal(same[0].weight, net[0].weight)


# Bad input.


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"steps": 0}, "steps and batch_size must be 1 or more, got 0"),
        ({"lr": 0.0}, "lr must be above 0 and finite, got 0.0"),
        ({"lr": float("nan")}, "lr must be above 0"),
        ({"momentum": 1.0}, "momentum must be from 0 to below 1"),
        ({"weight_decay": -1.0}, "weight_decay 0 or more"),
        ({"optimizer": "lion"}, "optimizer must be one of sgd, adam, got 'lion'"),
        ({"curve": "step"}, "curve must be one of cosine, one-cycle, constant, got 'step'"),
    ],
)
def test_bad_plans_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TuningPlan(**wrong)


def test_bad_training_is_refused(data):
    x, y = data
    with pytest.raises(ValueError, match="one label per input"):
        finetune(network(), x, y[:-1])
    with pytest.raises(ValueError, match="one label per input"):
        finetune(network(), x[:0], y[:0])
    with pytest.raises(ValueError, match="steps 3 to 41 are not within the plan's 0 to 40"):
        train_(network(), x, y, QUICK, begin=3, end=41)
    with pytest.raises(ValueError, match="the loss became nan at step 0; try a smaller lr"):
        finetune(network(), x * float("nan"), y, QUICK)
    with pytest.raises(ValueError, match="last masks are chosen at step 40, but training ends after 40"):
        prune_while_training(network(), x, y, choose, OneShot(0.5, begin=40), QUICK)
    with pytest.raises(ValueError, match=r"must ascend, got 0\.2 after 0\.5"):
        entwine(network(), x, y, lambda model, share: model, [0.5, 0.2], replace(QUICK, steps=1))
    with pytest.raises(ValueError, match="from 0 to below 1"):
        entwine(network(), x, y, lambda model, share: model, [1.0])


def test_counts_of_zeros_are_those_of_the_layers(data):
    pruned = prune_while_training(network(), *data, choose, OneShot(0.5), replace(QUICK, steps=2))
    assert sparsity_of(zeros_of(pruned.model)) == pytest.approx(0.5, abs=1e-3)
