"""Wanda: the input counts as much as the weight, each output loses equally many, and nothing else changes."""

import pytest
import torch
from torch import nn

from frugal.prune.masks import keep_largest
from frugal.prune.methods.obd import obd_scores
from frugal.prune.methods.obs import obs_scores
from frugal.prune.methods.sparsegpt import sparsegpt_weight
from frugal.prune.methods.two_four import two_four_mask
from frugal.prune.methods.wanda import wanda, wanda_scores, wanda_weight
from frugal.prune.second_order import layer_gram


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_score_is_the_magnitude_times_the_norm_of_its_input():
    x, weight = drawn(20, 6), drawn(4, 6, seed=1)
    scores = wanda_scores(weight, layer_gram(nn.Linear(6, 4), x))
    torch.testing.assert_close(scores, weight.abs() * x.norm(dim=0), rtol=1e-12, atol=0)


def test_half_the_squared_score_is_what_removing_one_weight_costs():
    layer = nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False).double()
    x = drawn(2, 4, 6, 5)
    scores = wanda_scores(layer.weight, layer_gram(layer, x))
    before = layer(x)
    for place in [(0, 0, 0, 0), (3, 1, 2, 1), (5, 0, 1, 2)]:
        without = nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False).double()
        with torch.no_grad():
            without.weight.copy_(layer.weight)
            without.weight[place] = 0
        cost = (without(x) - before).square().sum() / 2
        torch.testing.assert_close(scores[place].square() / 2, cost, rtol=1e-10, atol=0)


def test_it_is_obd_of_the_layer_and_obs_where_inputs_are_independent():
    weight, scale = drawn(4, 6), drawn(6, seed=1).abs()
    gram = layer_gram(nn.Linear(6, 4), torch.diag(scale))
    half_squares = wanda_scores(weight, gram).square() / 2
    diagonal = gram.sums[0].diagonal().expand_as(weight)
    torch.testing.assert_close(obd_scores({"w": weight}, {"w": diagonal})["w"], half_squares, rtol=1e-12, atol=0)
    inverse = torch.diag(1 / scale.square())
    torch.testing.assert_close(obs_scores(weight, inverse.expand(4, 6, 6)), half_squares, rtol=1e-12, atol=0)


def test_every_output_loses_equally_many_and_what_stays_is_unchanged():
    weight, x = drawn(5, 12), drawn(30, 12, seed=1)
    gram = layer_gram(nn.Linear(12, 5), x)
    for sparsity, zeros in ((0.25, 3), ((2, 4), 6), ((1, 4), 9)):
        new, keep = wanda_weight(weight, gram, sparsity)
        assert ((~keep).sum(1) == zeros).all()
        assert torch.equal(new, torch.where(keep, weight, 0))


def test_within_the_layer_strong_outputs_keep_more_and_less_is_lost():
    weight, x = drawn(6, 27) * torch.tensor([5.0, 3, 1, 1, 0.3, 0.1])[:, None], drawn(60, 27, seed=1)
    gram = layer_gram(nn.Linear(27, 6), x)
    lost = {}
    for within in ("row", "layer"):
        new, keep = wanda_weight(weight, gram, 0.5, within=within)
        lost[within] = (x @ (new - weight).T).square().sum()
        assert (~keep).sum() == (6 * 14 if within == "row" else 81)  # round(13.5) is 14, halves go to even
    assert keep[0].sum() > keep[5].sum()
    assert lost["layer"] < 0.5 * lost["row"]
    assert torch.equal(*(wanda_weight(drawn(6, 28), layer_gram(nn.Linear(28, 6), drawn(60, 28)), (2, 4), within=each)[1]
                         for each in ("row", "layer")))  # fmt: skip


def test_a_larger_input_is_worth_more_and_one_scale_for_all_is_worth_nothing():
    weight, x = drawn(5, 12), drawn(30, 12, seed=1)
    gram, larger = (layer_gram(nn.Linear(12, 5), each) for each in (x, 7 * x))
    assert torch.equal(wanda_weight(weight, gram)[1], wanda_weight(weight, larger)[1])
    louder = x.clone()
    louder[:, 3] *= 1e6
    assert wanda_weight(weight, layer_gram(nn.Linear(12, 5), louder))[1][:, 3].all()


def test_a_network_is_a_new_one_with_masks_by_parameter_name():
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    pruned = wanda(net, [torch.rand(4, 4, 4, 4), torch.rand(2, 4, 4, 4)], (2, 4))
    assert pruned.masks.keys() == {"0.weight", "3.weight"}
    for name, keep in pruned.masks.items():
        weight = dict(pruned.model.named_parameters())[name]
        assert keep.shape == weight.shape
        assert keep.float().mean() == 0.5
        assert torch.equal(weight, before[name] * keep)
    assert (pruned.masks["0.weight"].sum(1) == 2).all()  # of the four channels of every tap
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_bad_input_is_refused():
    gram = layer_gram(nn.Linear(6, 4), drawn(20, 6))
    with pytest.raises(ValueError, match="groups of 4, got 6"):
        wanda_weight(drawn(4, 6), gram, (2, 4))
    with pytest.raises(ValueError, match="does not fit the weight"):
        wanda_weight(drawn(4, 5), gram)
    with pytest.raises(ValueError, match="must be finite"):
        wanda_weight(drawn(4, 6) * torch.nan, gram)
    with pytest.raises(ValueError, match="from 0 to below 1"):
        wanda_weight(drawn(4, 6), gram, 1.0)
    with pytest.raises(ValueError, match="within must be 'row' or 'layer', got 'net'"):
        wanda_weight(drawn(4, 6), gram, within="net")


# ---- magnitude, Wanda and SparseGPT on four kinds of inputs ----------------------------------------------------------


def features(kind, seed):
    """512 rows of 64 inputs: independent and alike, of different scales, moving together, or both."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(512, 64, generator=rng, dtype=torch.float64)
    if kind in ("correlated", "both"):
        causes = torch.randn(512, 16, generator=rng, dtype=torch.float64)
        x = 0.5 * x + causes @ torch.randn(16, 64, generator=rng, dtype=torch.float64) / 4
    if kind in ("scales", "both"):
        x = x * torch.exp(torch.randn(64, generator=rng, dtype=torch.float64))
    return x


def lost(kind, pattern):
    """‖X (W' - W)ᵀ‖² / ‖X Wᵀ‖², the mean of five seeds, of each method."""
    found = {"magnitude": 0.0, "wanda": 0.0, "sparsegpt": 0.0}
    for seed in range(5):
        x, weight = features(kind, seed), drawn(32, 64, seed=100 + seed)
        gram, whole = layer_gram(nn.Linear(64, 32), x), (x @ weight.T).square().sum()
        by_size = two_four_mask(weight) if pattern == (2, 4) else keep_largest(weight.abs(), pattern)
        news = {
            "magnitude": weight * by_size,
            "wanda": wanda_weight(weight, gram, pattern)[0],
            "sparsegpt": sparsegpt_weight(weight, gram, pattern)[0],
        }
        for name, new in news.items():
            found[name] += float((x @ (new - weight).T).square().sum() / whole) / 5
    return found


@pytest.mark.parametrize("pattern", [0.5, (2, 4)])
def test_wanda_repairs_scale_and_sparsegpt_repairs_correlation_too(pattern):
    table = {kind: lost(kind, pattern) for kind in ("iid", "scales", "correlated", "both")}
    iid, scales, correlated, both = table.values()
    assert iid["wanda"] == pytest.approx(iid["magnitude"], rel=0.1)  # nothing to know about the inputs
    assert 0.8 * iid["wanda"] < iid["sparsegpt"] < iid["wanda"]
    assert scales["wanda"] < 0.5 * scales["magnitude"]
    assert correlated["wanda"] > 0.75 * correlated["magnitude"]  # their norms are nearly equal
    assert correlated["sparsegpt"] < 0.6 * correlated["wanda"]
    assert both["wanda"] < 0.5 * both["magnitude"]
    assert both["sparsegpt"] < 0.6 * both["wanda"]
