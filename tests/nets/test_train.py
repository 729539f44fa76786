"""Training: the same seed gives the same weights, and it learns."""

import pytest
import torch
from torch import nn

from frugal.measure.accuracy import accuracy
from frugal.nets.train import fit, rate


def task(count=400):
    """Four classes: which quadrant a point lies in."""
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))


@pytest.mark.parametrize("optimizer, lr", [("sgd", 0.1), ("adamw", 0.02)])
@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_it_learns(optimizer, lr, schedule):
    x, y = task()
    model = network()
    losses = fit(model, x, y, epochs=10, lr=lr, batch_size=32, optimizer=optimizer, schedule=schedule)
    assert len(losses) == 10
    assert losses[-1] < losses[0] / 2
    assert accuracy(model, x, y) > 90
    assert not model.training


def test_the_same_seed_gives_the_same_weights_and_touches_no_global_state():
    x, y = task()
    models = [network(), network(), network()]
    state = torch.get_rng_state()
    for model, seed in zip(models, (5, 5, 6), strict=True):
        fit(model, x, y, epochs=2, lr=0.1, batch_size=32, seed=seed)
    assert torch.equal(torch.get_rng_state(), state)
    first, again, other = (model[0].weight for model in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_picture_is_seen_once_per_epoch():
    class Notes(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.seen = []

        def forward(self, x):
            self.seen += x[:, 0].tolist()
            return x * self.scale

    model = Notes()
    x = torch.arange(12.0)[:, None].repeat(1, 3)
    fit(model, x, torch.zeros(12, dtype=torch.long), epochs=2, lr=1e-9, batch_size=4)
    assert sorted(model.seen[:12]) == sorted(model.seen[12:]) == list(range(12))
    assert model.seen[:12] != model.seen[12:]


def test_half_an_epoch_is_half_the_steps():
    x, y = task(64)
    assert len(fit(network(), x, y, epochs=0.5, lr=0.1, batch_size=8)) == 1


def test_frozen_parameters_stay():
    x, y = task(64)
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    fit(model, x, y, epochs=1, lr=0.1, batch_size=16)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weight_decay_shrinks_every_parameter_that_has_no_gradient(optimizer):
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.gamma, self.matrix = (nn.Parameter(torch.ones(n)) for n in (1, 3, (2, 2)))

        def forward(self, x):
            return x * self.used + 0 * self.gamma.sum() + 0 * self.matrix.sum()

    model, lr, decay = Unused(), 0.1, 0.5
    fit(model, torch.zeros(8, 3), torch.zeros(8, dtype=torch.long), epochs=1, lr=lr, batch_size=8,
        optimizer=optimizer, schedule="cosine", weight_decay=decay)  # fmt: skip
    momentum = 1.9 if optimizer == "sgd" else 1.0  # Nesterov's first step
    shrunk = 1 - lr * decay * momentum
    rounding = 4 * torch.finfo(torch.float32).eps
    for parameter in (model.gamma, model.matrix):
        assert (parameter - shrunk).abs().max() <= rounding


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_the_learning_rate_ends_at_zero_and_never_exceeds_its_largest_value(schedule):
    rates = [rate(step / 100, schedule) for step in range(101)]
    assert max(rates) == 1
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert min(rates) >= 0


def test_training_says_nothing(capsys):
    x, y = task(64)
    fit(network(), x, y, epochs=1, lr=0.1, batch_size=16)
    assert capsys.readouterr() == ("", "")


def test_a_progress_bar_stays_off_stderr(capsys):
    x, y = task(64)
    fit(network(), x, y, epochs=1, lr=0.1, batch_size=16, progress=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"y": torch.zeros(3, dtype=torch.long)}, "one label, or one row of them"),
        ({"y": torch.zeros(64)}, "int64"),
        ({"epochs": 0}, "above 0"),
        ({"lr": -1.0}, "above 0"),
        ({"batch_size": 0}, "above 0"),
        ({"optimizer": "lion"}, "sgd, adamw, got 'lion'"),
        ({"schedule": "step"}, "cosine, one-cycle, got 'step'"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(wrong, words):
    x, y = task(64)
    with pytest.raises(ValueError, match=words):
        fit(network(), **{"x": x, "y": y, "epochs": 1, "lr": 0.1, **wrong})


def test_a_loss_that_blows_up_is_reported_at_its_step():
    x, y = task(64)
    with pytest.raises(ValueError, match="at step 0 of 4; try a smaller lr"):
        fit(network(), x * float("nan"), y, epochs=1, lr=0.1, batch_size=16)
