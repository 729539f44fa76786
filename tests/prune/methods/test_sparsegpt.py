"""SparseGPT: its steps add up to what the output loses, one column is OBS, and related inputs make it better."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from frugal.prune.methods.obs import obs_step
from frugal.prune.methods.sparsegpt import sparsegpt, sparsegpt_weight
from frugal.prune.methods.wanda import wanda_weight
from frugal.prune.second_order import damped, invert, layer_gram


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(rows=200, features=24, seed=0):
    """Inputs that share a few hidden causes, as the features of a network do."""
    return drawn(rows, 6, seed=seed) @ drawn(6, features, seed=seed + 1) + 0.3 * drawn(rows, features, seed=seed + 2)


def gram_of(x):
    return layer_gram(nn.Linear(x.shape[1], 1), x)


def lost(weight, new, x):
    return (x @ (new - weight).T).square().sum().item()


def test_one_column_removed_is_one_step_of_obs():
    x, weight = related(), drawn(5, 24, seed=9)
    keep = torch.ones_like(weight, dtype=torch.bool)
    keep[:, 0] = False
    new, _ = sparsegpt_weight(weight, gram_of(x), keep=keep, damping=0)
    inverse = invert(x.T @ x)
    for row, expected in zip(new, weight, strict=True):
        torch.testing.assert_close(row, obs_step(expected, inverse, 0)[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("column", [1, 11, 23])
def test_a_removal_moves_only_what_lies_to_its_right_and_moves_that_as_well_as_it_can(column):
    x, weight = related(), drawn(5, 24, seed=9)
    keep = torch.ones_like(weight, dtype=torch.bool)
    keep[:, column] = False
    new, _ = sparsegpt_weight(weight, gram_of(x), keep=keep, damping=0)
    assert torch.equal(new[:, :column], weight[:, :column])
    best = torch.linalg.lstsq(x[:, column + 1 :], x[:, column:] @ weight[:, column:].T).solution.T
    torch.testing.assert_close(new[:, column + 1 :], best, rtol=1e-8, atol=1e-8)


def test_with_everything_kept_nothing_moves():
    weight = drawn(5, 24)
    for choice in ({"sparsity": 0.0}, {"keep": torch.ones(5, 24, dtype=torch.bool)}, {"sparsity": (4, 4)}):
        new, keep = sparsegpt_weight(weight, gram_of(related()), **choice)
        assert torch.equal(new, weight)
        assert keep.all()


@pytest.mark.parametrize("pattern, zeros", [(0.25, 6), (0.5, 12), ((2, 4), 12), ((1, 4), 18), ((2, 3), 8)])
def test_counts_are_exact_and_removed_weights_are_exactly_zero(pattern, zeros):
    new, keep = sparsegpt_weight(drawn(8, 24), gram_of(related()), pattern)
    assert (~keep).sum() == 8 * zeros
    assert (new[~keep] == 0).all()
    assert (new[keep] != 0).all()
    if isinstance(pattern, tuple):
        assert (keep.view(8, -1, pattern[1]).sum(-1) == pattern[0]).all()


@settings(deadline=None, max_examples=25)
@given(block_size=st.integers(1, 30), pattern=st.sampled_from([(2, 4), (1, 2), "mask"]))
def test_the_block_size_changes_nothing_where_it_chooses_nothing(block_size, pattern):
    x, weight = related(), drawn(6, 24, seed=5)
    choice = {"keep": drawn(6, 24, seed=6) > 0} if pattern == "mask" else {"sparsity": pattern}
    blocked, keep = sparsegpt_weight(weight, gram_of(x), block_size=block_size, **choice)
    whole, expected = sparsegpt_weight(weight, gram_of(x), block_size=24, **choice)
    assert torch.equal(keep, expected)
    torch.testing.assert_close(blocked, whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("pattern", [0.5, (2, 4)])
def test_related_inputs_make_it_better_than_leaving_the_others_where_they_are(pattern):
    x, weight = related(), drawn(8, 24, seed=5)
    new, keep = sparsegpt_weight(weight, gram_of(x), pattern)
    assert lost(weight, new, x) < 0.5 * lost(weight, weight * keep, x)
    assert lost(weight, new, x) < 0.5 * lost(weight, wanda_weight(weight, gram_of(x), pattern)[0], x)


def test_independent_inputs_leave_the_others_where_they_are():
    x = torch.diag(drawn(24, seed=3).abs() + 0.1)
    weight = drawn(8, 24)
    new, keep = sparsegpt_weight(weight, gram_of(x), (2, 4), damping=0)
    assert torch.equal(new, weight * keep)
    assert torch.equal(keep, wanda_weight(weight, gram_of(x), (2, 4))[1])


def test_what_the_steps_lose_is_what_the_output_loses():
    """The errors of the steps, recomputed: e_j = the weight that goes, at its turn, over U_jj."""
    x, weight = related(), drawn(4, 24, seed=5)
    keep = drawn(4, 24, seed=6) > 0
    upper = torch.linalg.cholesky(invert(damped(x.T @ x, 0)), upper=True)
    moved, squares = weight.clone(), 0.0
    for j in range(24):
        error = torch.where(keep[:, j], 0, moved[:, j]) / upper[j, j]
        moved -= torch.outer(error, upper[j])
        squares += error.square().sum().item()
    new, _ = sparsegpt_weight(weight, gram_of(x), keep=keep, damping=0)
    assert lost(weight, new, x) == pytest.approx(squares, rel=1e-9)


def test_an_input_that_is_always_zero_loses_its_weights_first():
    x = related()
    x[:, 7] = 0
    _new, keep = sparsegpt_weight(drawn(8, 24), gram_of(x), 1 / 24)
    assert not keep[:, 7].any()
    assert keep.sum() == 8 * 23


def test_groups_of_a_convolution_are_as_many_small_layers():
    conv = nn.Conv2d(8, 6, 3, groups=2, bias=False, dtype=torch.float64)
    x = drawn(3, 8, 6, 6)
    new, keep = sparsegpt_weight(conv.weight, layer_gram(conv, x), (2, 4))
    for group in range(2):
        half = nn.Conv2d(4, 3, 3, bias=False, dtype=torch.float64)
        part, channels = slice(3 * group, 3 * group + 3), slice(4 * group, 4 * group + 4)
        alone = sparsegpt_weight(conv.weight[part], layer_gram(half, x[:, channels]), (2, 4))
        torch.testing.assert_close(new[part], alone[0], rtol=0, atol=1e-10)
        assert torch.equal(keep[part], alone[1])
    assert (keep.sum(1) == 2).all()


def test_a_network_keeps_its_dtype_and_answers_nearer_than_with_the_same_mask_alone():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 8))
    x = related().float()
    pruned = sparsegpt(net, [x[:100], x[100:]], 0.6)
    alone = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 8))
    alone.load_state_dict(net.state_dict())
    with torch.no_grad():
        for name, parameter in alone.named_parameters():
            if name in pruned.masks:
                parameter.mul_(pruned.masks[name])
        errors = [(model(x) - net(x)).square().sum() for model in (pruned.model, alone)]
    assert errors[0] < 0.5 * errors[1]
    assert pruned.model[0].weight.dtype == torch.float32


def test_bad_input_is_refused():
    gram, weight = gram_of(related()), drawn(5, 24)
    with pytest.raises(ValueError, match=r"keep must be bool \[5, 24\]"):
        sparsegpt_weight(weight, gram, keep=torch.ones(5, 24))
    with pytest.raises(ValueError, match="block_size must be 1 or more"):
        sparsegpt_weight(weight, gram, block_size=0)
    with pytest.raises(ValueError, match="not positive definite"):
        sparsegpt_weight(weight, gram_of(related(rows=5)), damping=0)
    with pytest.raises(ValueError, match="must be finite"):
        sparsegpt_weight(weight / 0, gram)
    with pytest.raises(ValueError, match="groups of 5, got 24"):
        sparsegpt_weight(weight, gram, (2, 5))
