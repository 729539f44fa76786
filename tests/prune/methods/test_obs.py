"""Optimal brain surgeon: a step is least squares, its score is what the loss rises by, any order of steps will do."""

import pytest
import torch
from torch import nn

from frugal.prune.methods.obs import obs, obs_scores, obs_step, obs_weight, remove_jointly
from frugal.prune.methods.sparsegpt import sparsegpt_weight
from frugal.prune.methods.wanda import wanda_weight
from frugal.prune.second_order import layer_gram


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def problem():
    """Inputs, weights, and H⁻¹ of ½ ‖X (w' - w)‖²."""
    x = drawn(40, 4) @ drawn(4, 9, seed=1) + 0.5 * drawn(40, 9, seed=2)
    return x, drawn(9, seed=3), torch.linalg.inv(x.T @ x)


def loss(x, w, new):
    return (x @ (new - w)).square().sum() / 2


def without(x, w, gone):
    """Least squares over the weights that stay."""
    stay = [i for i in range(len(w)) if i not in gone]
    best = torch.zeros_like(w)
    best[stay] = torch.linalg.lstsq(x[:, stay], (x @ w)[:, None]).solution[:, 0]
    return best


@pytest.mark.parametrize("q", [0, 4, 8])
def test_a_step_removes_its_weight_and_is_least_squares_over_the_others(problem, q):
    x, w, inverse = problem
    new, _ = obs_step(w, inverse, q)
    assert new[q] == 0
    torch.testing.assert_close(new, without(x, w, [q]), rtol=1e-10, atol=1e-12)


def test_the_loss_rises_by_exactly_the_score(problem):
    x, w, inverse = problem
    for q, score in enumerate(obs_scores(w, inverse)):
        torch.testing.assert_close(loss(x, w, obs_step(w, inverse, q)[0]), score, rtol=1e-9, atol=0)


def test_the_next_inverse_is_that_of_h_without_the_weight(problem):
    x, w, inverse = problem
    _, after = obs_step(w, inverse, 2)
    stay = [i for i in range(9) if i != 2]
    torch.testing.assert_close(after[stay][:, stay], torch.linalg.inv((x.T @ x)[stay][:, stay]), rtol=1e-9, atol=1e-12)
    assert (after[2] == 0).all()
    assert (after[:, 2] == 0).all()


def test_steps_in_any_order_end_where_the_joint_removal_does(problem):
    x, w, inverse = problem
    remove = torch.zeros(9, dtype=torch.bool)
    remove[[1, 4, 6]] = True
    jointly = remove_jointly(w, inverse, remove)
    torch.testing.assert_close(jointly, without(x, w, [1, 4, 6]), rtol=1e-9, atol=1e-11)
    for order in ([1, 4, 6], [6, 1, 4], [4, 6, 1]):
        new, left, total = w, inverse, 0.0
        for q in order:
            total += obs_scores(new, left)[q]
            new, left = obs_step(new, left, q)
        torch.testing.assert_close(new, jointly, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(total, loss(x, w, new), rtol=1e-9, atol=0)


def test_a_layer_takes_the_steps_row_by_row(problem):
    x, _, inverse = problem
    weight = drawn(3, 9, seed=7)
    new, keep = obs_weight(weight, layer_gram(nn.Linear(9, 3), x), 4 / 9, damping=0)
    for row, kept, w in zip(new, keep, weight, strict=True):
        left, gone = inverse, []
        for _ in range(4):
            scores = obs_scores(w, left)
            scores[gone] = torch.inf
            gone.append(int(scores.argmin()))
            w, left = obs_step(w, left, gone[-1])
        assert sorted(gone) == (~kept).nonzero().flatten().tolist()
        torch.testing.assert_close(row, w, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("pattern", [0.5, (2, 4), (1, 4)])
def test_no_other_way_of_ours_loses_less(pattern):
    """Greedy, so not the best of all; but below SparseGPT, which moves only what lies to the right, and Wanda."""
    totals = torch.zeros(3)
    for seed in range(4):
        x = drawn(80, 5, seed=seed) @ drawn(5, 16, seed=seed + 10) + 0.4 * drawn(80, 16, seed=seed + 20)
        weight, gram = drawn(6, 16, seed=seed + 30), layer_gram(nn.Linear(16, 6), x)
        for i, prune in enumerate((obs_weight, sparsegpt_weight, wanda_weight)):
            new, keep = prune(weight, gram, pattern)
            assert (new[~keep] == 0).all()
            if isinstance(pattern, tuple):
                assert (keep.view(6, -1, 4).sum(-1) == pattern[0]).all()
            totals[i] += (x @ (new - weight).T).square().sum()
    assert totals[0] < totals[1] < totals[2]


def test_independent_inputs_make_it_wanda():
    weight, gram = drawn(5, 12), layer_gram(nn.Linear(12, 5), torch.diag(drawn(12, seed=1)))
    for pattern in (0.5, (2, 4)):
        new, keep = obs_weight(weight, gram, pattern, damping=0)
        expected = wanda_weight(weight, gram, pattern)
        assert torch.equal(keep, expected[1])
        torch.testing.assert_close(new, expected[0], rtol=0, atol=1e-14)


def test_rows_may_be_worked_on_in_any_number_together(monkeypatch):
    weight, gram = drawn(7, 12), layer_gram(nn.Linear(12, 7), drawn(30, 12, seed=4))
    whole = obs_weight(weight, gram)
    monkeypatch.setattr("frugal.prune.methods.obs.ROOM", 3 * 12**2)
    parts = obs_weight(weight, gram)
    assert torch.equal(whole[1], parts[1])
    torch.testing.assert_close(whole[0], parts[0], rtol=1e-12, atol=1e-12)


def test_a_network_is_a_new_one():
    net = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 1))
    before = [value.clone() for value in net.state_dict().values()]
    pruned = obs(net, torch.rand(4, 4, 5, 5), 0.5)
    assert [int((~keep).sum()) for keep in pruned.masks.values()] == [108, 12]
    assert all((dict(pruned.model.named_parameters())[name][~keep] == 0).all() for name, keep in pruned.masks.items())
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), before, strict=True))


def test_bad_input_is_refused(problem):
    x, w, inverse = problem
    with pytest.raises(ValueError, match="q must be from 0 to 8, got 9"):
        obs_step(w, inverse, 9)
    _, after = obs_step(w, inverse, 3)
    with pytest.raises(ValueError, match="weight 3 has no place"):
        obs_step(w, after, 3)
    with pytest.raises(ValueError, match=r"remove must be bool \[9\]"):
        remove_jointly(w, inverse, torch.ones(9))
    gram = layer_gram(nn.Linear(9, 2), x)
    with pytest.raises(ValueError, match="groups of 4, got 9"):
        obs_weight(drawn(2, 9), gram, (2, 4))
    with pytest.raises(ValueError, match="not positive definite"):
        obs_weight(drawn(2, 9), layer_gram(nn.Linear(9, 2), x[:3]), damping=0)
