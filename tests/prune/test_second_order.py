"""XᵀX: what a layer multiplies its weight with, added up batch by batch, and masks with exact counts."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from frugal.prune.second_order import (
    Gram,
    check_amount,
    choose_layers,
    damped,
    invert,
    keep_in_rows,
    layer_gram,
    prune_layers,
    watch_grams,
    weight_of_rows,
    weight_rows,
)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CONVS = [
    nn.Conv2d(4, 6, 3, padding=1),
    nn.Conv2d(4, 6, 1, bias=False),
    nn.Conv2d(4, 8, (3, 2), stride=2, padding=(1, 0), groups=2),
    nn.Conv2d(4, 4, 3, groups=4, dilation=2),
]


@pytest.mark.parametrize("conv", CONVS)
def test_the_gram_tells_what_any_change_of_the_weight_does_to_the_output(conv):
    """‖conv(x; W + δ) - conv(x; W)‖² = Σ_o δ_o XᵀX δ_o."""
    conv = conv.double()
    x, change = drawn(3, 4, 7, 6), drawn(*conv.weight.shape, seed=1)
    gram = layer_gram(conv, x)
    moved = F.conv2d(x, change, None, conv.stride, conv.padding, conv.dilation, conv.groups)
    rows = weight_rows(change)
    expected = sum((rows[part] @ sums * rows[part]).sum() for part, sums in gram.parts(change))
    torch.testing.assert_close(moved.square().sum(), expected, rtol=1e-12, atol=0)
    assert gram.rows == moved.numel() // moved.shape[1]


def test_of_a_linear_layer_all_but_the_last_axis_are_rows():
    x = drawn(2, 5, 3)
    gram = layer_gram(nn.Linear(3, 4), x)
    flat = x.reshape(10, 3)
    torch.testing.assert_close(gram.sums[0], flat.T @ flat, rtol=0, atol=1e-12)
    torch.testing.assert_close(gram.norms[0], flat.norm(dim=0), rtol=0, atol=1e-12)
    assert gram.rows == 10


def test_rows_and_weight_turn_into_each_other_and_neighbours_are_channels_of_one_tap():
    weight = drawn(5, 4, 3, 2)
    rows = weight_rows(weight)
    assert torch.equal(rows[2, :4], weight[2, :, 0, 0])
    assert torch.equal(weight_of_rows(rows, weight), weight)


def test_batches_add_up_and_the_network_stays_as_it_was():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).double()
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    x = drawn(12, 3)
    whole, parts = (watch_grams(net, batches, ["0", "3"]) for batches in (x, [x[:5], x[5:]]))
    for name in whole:
        torch.testing.assert_close(whole[name].sums, parts[name].sums, rtol=1e-12, atol=1e-12)
        assert whole[name].rows == parts[name].rows == 12
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_each_layer_sees_what_the_pruned_layers_before_it_produce():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    x = drawn(6, 3)
    seen = []

    def drop_all(weight, gram, amount):
        seen.append(gram.sums[0])
        return torch.zeros_like(weight), torch.zeros_like(weight, dtype=torch.bool)

    pruned = prune_layers(net, drop_all, x)
    assert pruned.masks.keys() == {"0.weight", "1.weight"}
    bias = net[0].bias.detach()
    torch.testing.assert_close(seen[1], 6 * torch.outer(bias, bias), rtol=1e-12, atol=1e-12)
    assert (pruned.model[0].weight == 0).all()
    assert (net[0].weight != 0).all()


def test_an_input_that_is_always_zero_gets_a_one_so_that_h_has_an_inverse():
    sums = torch.diag(torch.tensor([4.0, 0.0, 2.0], dtype=torch.float64))
    hessian = damped(sums, 0.5)
    assert hessian.diagonal().tolist() == [5.0, 2.0, 3.0]  # mean 2, half of it is 1; and 1 for the dead one
    torch.testing.assert_close(invert(hessian) @ hessian, torch.eye(3, dtype=torch.float64))
    assert sums[1, 1] == 0


@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("sparsity", [0, 0.1, 0.5, 0.77, 0.999])
def test_every_row_loses_exactly_its_share_and_never_all(size, sparsity):
    scores = drawn(5, size)
    keep = keep_in_rows(scores, sparsity)
    assert ((~keep).sum(1) == min(round(sparsity * size), size - 1)).all()
    for row, kept in zip(scores, keep, strict=True):
        assert not kept.all() or sparsity * size < 1
        assert kept.all() or row[kept].min() >= row[~kept].max()


def test_of_equal_scores_the_earlier_stays():
    assert keep_in_rows(torch.ones(1, 4), 0.5).tolist() == [[True, True, False, False]]


def test_layers_whose_inputs_the_pattern_does_not_fit_stay_dense_unless_named():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(6, 2))
    assert list(choose_layers(net, None, (2, 4))) == ["1"]
    assert list(choose_layers(net, None, 0.5)) == ["0", "1", "3"]
    assert list(choose_layers(net, ["3"], 0.5)) == ["3"]
    with pytest.raises(ValueError, match="could be pruned"):
        choose_layers(nn.Sequential(nn.Linear(6, 2)), None, (2, 4))
    with pytest.raises(ValueError, match="there is no layer 9; the layers are 0, 1, 3"):
        choose_layers(net, ["9"], 0.5)


@pytest.mark.parametrize(
    "amount, said",
    [
        (1, "from 0 to below 1"),
        (-0.1, "from 0 to below 1"),
        ((5, 4), "n of m"),
        ((2, 3), "groups of 3"),
        ((0, 4), "n of m"),
    ],
)
def test_amounts_that_are_none_are_refused(amount, said):
    with pytest.raises(ValueError, match=said):
        check_amount(amount, torch.ones(2, 8))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="does not fit the weight"):
        list(layer_gram(nn.Linear(3, 4), drawn(2, 3)).parts(torch.ones(4, 5)))
    with pytest.raises(TypeError, match="other layers have no rows"):
        layer_gram(nn.ReLU(), drawn(2, 3))
    with pytest.raises(ValueError, match="pad with zeros"):
        layer_gram(nn.Conv2d(1, 1, 3, padding_mode="reflect", padding=1), drawn(1, 1, 5, 5))
    with pytest.raises(ValueError, match="must be finite"):
        layer_gram(nn.Linear(1, 1), torch.tensor([[float("nan")]]))
    with pytest.raises(ValueError, match=r"\[groups, depth, depth\]"):
        Gram(torch.ones(2, 3), 1)
    with pytest.raises(ValueError, match="damping must be 0 or more"):
        damped(torch.eye(2), -1)
    with pytest.raises(ValueError, match="not positive definite"):
        invert(torch.ones(2, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match="no batch reached 1"):
        watch_grams(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), [], ["1"])
