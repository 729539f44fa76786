"""Masks: exact counts, nested in each other, and zeros that stay zeros whatever an optimizer remembers."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from frugal.prune.masks import (
    HeldMasks,
    Zeros,
    apply_masks_,
    count_dropped,
    count_zeros,
    keep,
    keep_blocks,
    keep_channels,
    keep_globally,
    keep_largest,
    keep_locally,
    keep_n_of_m,
    masked,
    sparsity_of,
    weights_of,
)

SPARSITIES = [0.0, 0.1, 0.25, 0.5, 0.8, 0.9, 0.99]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 4 * 4, 5),
    )  # fmt: skip


# Single weights.


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.floats(0, 0.999))
def test_the_count_is_exact_whatever_the_ties_and_earlier_weights_win_them(values, sparsity):
    scores = torch.tensor(values, dtype=torch.float64)
    kept = keep_largest(scores, sparsity)
    assert int((~kept).sum()) == min(round(sparsity * len(values)), len(values) - 1)
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert kept.nonzero().flatten().tolist() == sorted(order[: int(kept.sum())])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 1000])
def test_every_width_of_reals_is_ranked_exactly(dtype, count):
    scores = torch.randn(count).to(dtype)
    for sparsity in SPARSITIES:
        kept = keep_largest(scores, sparsity)
        assert int((~kept).sum()) == count_dropped(count, sparsity)
        if not kept.all():
            assert scores[kept].min() >= scores[~kept].max()


@pytest.mark.parametrize("scope", ["local", "global"])
def test_a_sparser_mask_lies_within_a_denser_one(scope):
    scores = {"a": torch.randn(7, 9).round(decimals=1), "b": torch.randn(50).round(decimals=1)}  # with ties
    masks = [keep(scores, sparsity, scope) for sparsity in SPARSITIES]
    for dense, sparse in pairwise(masks):
        assert all((dense[name] | ~sparse[name]).all() for name in scores)


def test_scores_that_are_a_view_are_ranked_in_row_order():
    scores = torch.randint(0, 3, (6, 5)).double()
    assert torch.equal(keep_largest(scores.T, 0.4), keep_largest(scores.T.contiguous(), 0.4))


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_a_local_mask_ignores_the_scale_of_layers_and_a_global_one_does_not(factor):
    """Two layers around a ReLU, one times c and the other divided by it: the same function."""
    rng = torch.Generator().manual_seed(1)
    scores = {"a": torch.rand(20, generator=rng).double(), "b": torch.rand(20, generator=rng).double()}
    scaled = {"a": scores["a"] * factor, "b": scores["b"] / factor}
    before, after = keep_locally(scores, 0.5), keep_locally(scaled, 0.5)
    assert all(torch.equal(before[name], after[name]) for name in scores)
    before, after = keep_globally(scores, 0.5), keep_globally(scaled, 0.5)
    assert not torch.equal(before["a"], after["a"])
    assert sum(int(mask.sum()) for mask in after.values()) == 20


def test_a_global_threshold_is_the_local_one_of_all_scores_in_a_row():
    scores = {"a": torch.randn(4, 3), "b": torch.randn(11), "c": torch.randn(2, 2, 2)}
    masks = keep_globally(scores, 0.6)
    in_a_row = keep_largest(torch.cat([each.flatten() for each in scores.values()]), 0.6)
    assert torch.equal(torch.cat([mask.flatten() for mask in masks.values()]), in_a_row)


def test_a_layer_may_be_emptied_unless_it_must_keep_some():
    scores = {"small": torch.tensor([0.1, 0.3, 0.2]), "large": torch.arange(1.0, 10.0)}
    assert not keep_globally(scores, 0.5)["small"].any()
    masks = keep_globally(scores, 0.5, at_least=1)
    assert masks["small"].tolist() == [False, True, False]
    assert int(masks["large"].sum()) == 5
    with pytest.raises(ValueError, match="too few for 4 in each of 2 layers"):
        keep_globally(scores, 0.5, at_least=4)


# Patterns.


def test_whole_channels_stay_or_go():
    scores = torch.rand(6, 4, 3, 3)
    for axis in (0, 1):
        kept = keep_channels(scores, 0.5, axis).movedim(axis, 0).flatten(1)
        assert (kept.all(1) | ~kept.any(1)).all()
        sums = scores.movedim(axis, 0).flatten(1).sum(1)
        assert torch.equal(kept[:, 0], keep_largest(sums, 0.5))


def test_a_channel_as_a_block_is_the_same_mask():
    scores = torch.rand(6, 12)
    assert torch.equal(keep_blocks(scores, 0.5, (1, 12)), keep_channels(scores, 0.5, 0))
    assert torch.equal(keep_blocks(scores, 0.5, (6, 1)), keep_channels(scores, 0.5, 1))
    assert torch.equal(keep_blocks(scores, 0.5, (1, 1)), keep_largest(scores, 0.5))


@pytest.mark.parametrize(
    "shape, block", [((8, 8), (4, 4)), ((7, 10), (4, 4)), ((5, 3, 3, 3), (2, 16)), ((1, 1), (4, 4))]
)
def test_blocks_are_counted_exactly_and_stay_whole(shape, block):
    scores = torch.rand(shape)
    kept = keep_blocks(scores, 0.5, block)
    assert kept.shape == scores.shape
    matrix = kept.flatten(1)
    cells = [part for rows in matrix.split(block[0]) for part in rows.split(block[1], dim=1)]
    assert all(cell.all() or not cell.any() for cell in cells)
    assert sum(not cell.any() for cell in cells) == count_dropped(len(cells), 0.5)


def test_small_blocks_at_the_end_are_judged_by_their_mean():
    scores = torch.ones(1, 5)
    scores[0, 4] = 2.0  # a block of one weight, larger than the four before it
    assert keep_blocks(scores, 0.5, (1, 4)).tolist() == [[False] * 4 + [True]]


@pytest.mark.parametrize("n, m", [(2, 4), (1, 4), (4, 8), (1, 2), (4, 4)])
@pytest.mark.parametrize("shape, axis", [((5, 16), 1), ((3, 8, 3, 3), 1), ((16, 5), 0)])
def test_n_of_every_m_are_kept_and_they_are_the_largest(n, m, shape, axis):
    scores = torch.rand(shape)
    kept = keep_n_of_m(scores, n, m, axis)
    groups = kept.movedim(axis, -1).unflatten(-1, (-1, m))
    assert (groups.sum(-1) == n).all()
    values = scores.movedim(axis, -1).unflatten(-1, (-1, m))
    lowest_kept = torch.where(groups, values, torch.inf).amin(-1)
    highest_gone = torch.where(groups, -torch.inf, values).amax(-1)
    assert (lowest_kept >= highest_gone).all()


def test_gaussian_weights_keep_as_much_energy_in_the_pattern_as_the_sheet_says():
    """2:4 keeps 86.7 % of the squares of Gaussian weights, the best half 92.8 %: checked by drawing a million."""
    w = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(0))
    energy = w.square()
    shares = [float(energy[mask].sum() / energy.sum()) for mask in (keep_n_of_m(w.abs()), keep_largest(w.abs(), 0.5))]
    slack = 4 / 1000  # four standard errors of a mean of a million squares, each with deviation below 1.5
    assert shares == pytest.approx([0.867, 0.928], abs=slack)


# Masks and models.


def test_weights_are_those_of_layers_and_a_shared_one_occurs_once():
    net = network()
    assert list(weights_of(net)) == ["0.weight", "3.weight", "6.weight"]
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    assert list(weights_of(net)) == ["0.weight"]
    assert list(weights_of(nn.Linear(2, 2))) == ["weight"]


def test_a_masked_copy_has_zeros_where_the_masks_say_and_the_model_none():
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    masks = keep_locally({name: w.detach().abs() for name, w in weights_of(net).items()}, 0.75)
    sparse = masked(net, masks)
    counts = count_zeros(sparse)
    assert {name: each.zeros for name, each in counts.items()} == {
        name: count_dropped(each.total, 0.75) for name, each in counts.items()
    }
    assert sparsity_of(counts) == pytest.approx(0.75, abs=1 / min(each.total for each in counts.values()))
    for name, kept in masks.items():
        assert torch.equal(sparse.state_dict()[name], torch.where(kept, before[name], 0))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_masked_nan_is_gone():
    layer = nn.Linear(2, 1)
    layer.weight.data = torch.tensor([[float("nan"), 1.0]])
    apply_masks_(layer, {"weight": torch.tensor([[False, True]])})
    assert layer.weight.tolist() == [[0.0, 1.0]]


OPTIMIZERS = {
    "momentum and weight decay": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
}


def steps(net, optimizer, count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x, y = torch.randn(8, 3, 6, 6, generator=rng), torch.randint(5, (8,), generator=rng)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_after_a_hundred_steps_masked_weights_are_exactly_0_and_so_is_the_memory_of_them(name):
    net = network()
    optimizer = OPTIMIZERS[name](net.parameters())
    steps(net, optimizer, 10)  # the optimizer has something to remember
    masks = keep_locally({name: w.detach().abs() for name, w in weights_of(net).items()}, 0.7)
    start = {name: w.detach().clone() for name, w in weights_of(net).items()}
    with HeldMasks(net, masks, optimizer):
        steps(net, optimizer, 100, seed=1)
    for key, weight in weights_of(net).items():
        assert (weight[~masks[key]] == 0).all()
        assert not torch.equal(weight[masks[key]], start[key][masks[key]])
        memories = [value for value in optimizer.state[weight].values() if value.shape == weight.shape]
        assert memories
        assert all((memory[~masks[key]] == 0).all() for memory in memories)


def test_zeroing_once_is_not_enough():
    net = network()
    optimizer = OPTIMIZERS["adam"](net.parameters())
    steps(net, optimizer, 10)
    masks = keep_locally({name: w.detach().abs() for name, w in weights_of(net).items()}, 0.7)
    apply_masks_(net, masks)
    steps(net, optimizer, 1)
    assert sum(int((w[~masks[name]] != 0).sum()) for name, w in weights_of(net).items()) > 0


def test_masks_can_be_changed_on_the_way_and_let_go_at_the_end():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[3.0, 4.0]])
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()

    with HeldMasks(layer, {"weight": torch.tensor([[False, True]])}, optimizer) as held:
        step()
        assert layer.weight.tolist() == [[0.0, pytest.approx(3.9)]]
        held.change_({"weight": torch.tensor([[True, False]])})
        assert layer.weight.tolist() == [[0.0, 0.0]]
        step()
        assert layer.weight.tolist() == [[pytest.approx(-0.1), 0.0]]
    step()
    assert layer.weight.tolist() == [[pytest.approx(-0.2), pytest.approx(-0.1)]]


def test_no_layer_has_a_sparsity_of_0():
    assert sparsity_of([]) == 0
    assert Zeros(0, 0).share == 0


# Bad input.


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_a_share_outside_0_to_1_is_refused(sparsity):
    with pytest.raises(ValueError, match="from 0 to below 1"):
        keep_largest(torch.ones(3), sparsity)


@pytest.mark.parametrize("sparsity", [True, "half", None, torch.tensor(0.5)])
def test_what_is_no_number_is_no_share(sparsity):
    with pytest.raises(TypeError, match="from 0 to below 1"):
        keep_largest(torch.ones(3), sparsity)


@pytest.mark.parametrize("rank", [lambda s: keep_largest(s, 0.5), keep_n_of_m, lambda s: keep_channels(s, 0.5)])
def test_scores_without_order_are_refused(rank):
    bad = torch.ones(4, 4)
    bad[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"must be finite.*1 of 16 values not finite"):
        rank(bad)
    with pytest.raises(ValueError, match=r"at least one value.*empty"):
        rank(torch.ones(0, 4))
    with pytest.raises(TypeError, match="real numbers"):
        rank(torch.ones(4, 4, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"torch\.Tensor"):
        rank([1.0, 2.0])


def test_the_layer_with_bad_scores_is_named():
    with pytest.raises(ValueError, match="the scores of conv2"):
        keep_locally({"conv1": torch.ones(3), "conv2": torch.tensor([float("inf")])}, 0.5)
    with pytest.raises(ValueError, match="there are no scores"):
        keep_globally({}, 0.5)
    with pytest.raises(ValueError, match="scope must be 'local' or 'global', got 'all'"):
        keep({"a": torch.ones(2)}, 0.5, "all")


def test_patterns_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 places, not a multiple of 4; leave this layer dense"):
        keep_n_of_m(torch.ones(8, 3))
    with pytest.raises(ValueError, match="0 < n <= m, got 5 of 4"):
        keep_n_of_m(torch.ones(8, 8), 5, 4)
    with pytest.raises(ValueError, match="axis 2 does not exist"):
        keep_n_of_m(torch.ones(8, 8), axis=2)
    with pytest.raises(ValueError, match="blocks need a matrix"):
        keep_blocks(torch.ones(8), 0.5)
    with pytest.raises(ValueError, match="blocks need a matrix and sides of 1 or more"):
        keep_blocks(torch.ones(8, 8), 0.5, (0, 4))
    with pytest.raises(ValueError, match="nothing to prune among 0"):
        count_dropped(0, 0.5)


def test_masks_that_do_not_belong_to_the_model_are_refused_and_it_stays_as_it_is():
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    right = torch.zeros(8, 3, 3, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"no parameter '0\.weights' in this model; near it: 0\.weight"):
        apply_masks_(net, {"0.weight": right, "0.weights": right})
    with pytest.raises(TypeError, match="must be a bool tensor"):
        apply_masks_(net, {"0.weight": right.float()})
    with pytest.raises(ValueError, match=r"shape \[8, 3, 3, 3\], its mask \[8\]"):
        masked(net, {"0.weight": torch.ones(8, dtype=torch.bool)})
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
