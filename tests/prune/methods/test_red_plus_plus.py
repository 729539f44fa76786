"""RED++: a split layer equals its layer, and multiplies as often as the formula says, by torch's own count."""

import pytest
import torch
from torch import nn

from frugal.data import drawn
from frugal.measure.accuracy import accuracy
from frugal.nets import pretrained
from frugal.prune.hashing import hash_network, range_over
from frugal.prune.methods import red_plus_plus
from frugal.prune.methods.red_plus_plus import SplitLayer, count_products, split, split_network
from frugal.prune.redundancy import merge_outputs

GRANULARITIES = ("kernel", "scalar")


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coarse(layer, levels=3, seed=0):
    """Few distinct weights: whole numbers from -levels to levels."""
    layer = layer.double()
    with torch.no_grad():
        layer.weight.copy_(chance(*layer.weight.shape, seed=seed).mul(levels / 2).round().clamp(-levels, levels))
        if layer.bias is not None:
            layer.bias.copy_(chance(*layer.bias.shape, seed=seed + 1))
    return layer


CONVS = [
    {},
    {"padding": 1},
    {"stride": 2, "padding": 1},
    {"stride": (2, 1), "padding": (0, 2)},
    {"dilation": 2, "padding": 2},
    {"padding": "same", "bias": False, "dilation": 2},
]


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("arguments", CONVS)
@pytest.mark.parametrize("kernel", [1, 3, (2, 3)])
def test_a_split_convolution_equals_the_convolution(kernel, arguments, granularity):
    layer = coarse(nn.Conv2d(4, 7, kernel, **arguments))
    x = chance(2, 4, 10, 9)
    made = split(layer, granularity)
    torch.testing.assert_close(made(x), layer(x), rtol=0, atol=1e-12)
    assert torch.equal(made.dense_weight(), layer.weight)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_a_split_linear_layer_equals_the_linear_layer(shape, granularity):
    layer = coarse(nn.Linear(5, 9))
    x = chance(*shape)
    made = split(layer, granularity)
    torch.testing.assert_close(made(x), layer(x), rtol=0, atol=1e-12)
    assert torch.equal(made.dense_weight(), layer.weight)


def test_products_are_counted_by_the_formula_and_by_torch():
    layer = coarse(nn.Conv2d(4, 7, 3, padding=1), levels=1)
    x = chance(2, 4, 10, 9)
    pixels = 2 * 10 * 9
    kernels = sum(len(layer.weight[:, c].unique(dim=0)) for c in range(4))
    scalars = sum(len(layer.weight[:, c].unique()) for c in range(4))
    by_kernel, by_scalar = split(layer, "kernel"), split(layer, "scalar")
    assert by_kernel.products_per_pixel == 9 * kernels
    assert by_scalar.products_per_pixel == scalars
    assert by_kernel.dense_products_per_pixel == by_scalar.dense_products_per_pixel == 4 * 7 * 9
    assert count_products(layer, x) == pixels * 4 * 7 * 9
    assert count_products(by_kernel, x) == pixels * 9 * kernels
    assert count_products(by_scalar, x) == pixels * scalars


def test_a_linear_layer_multiplies_once_per_distinct_weight_of_an_input():
    layer = coarse(nn.Linear(5, 40))
    distinct = sum(len(layer.weight[:, c].unique()) for c in range(5))
    x = chance(3, 5)
    assert count_products(layer, x) == 3 * 5 * 40
    assert count_products(split(layer), x) == 3 * distinct


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_binary_weights_need_two_products_for_each_input(granularity):
    layer = nn.Linear(6, 50).double()
    with torch.no_grad():
        layer.weight.copy_(torch.where(chance(50, 6) > 0, 0.3, -0.3))
    assert split(layer, granularity).multiplicity.tolist() == [2] * 6


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_distinct_weights_save_nothing_and_cost_no_accuracy(granularity):
    layer = nn.Conv2d(3, 5, 3, padding=1).double()
    with torch.no_grad():
        layer.weight.copy_(chance(5, 3, 3, 3))
    made = split(layer, granularity)
    assert made.products_per_pixel == made.dense_products_per_pixel
    x = chance(2, 3, 6, 6)
    torch.testing.assert_close(made(x), layer(x), rtol=0, atol=1e-12)


def test_reordering_outputs_reorders_them_and_costs_the_same():
    layer = coarse(nn.Conv2d(4, 7, 3))
    order = torch.tensor([6, 1, 3, 0, 5, 2, 4])
    other = coarse(nn.Conv2d(4, 7, 3))
    with torch.no_grad():
        other.weight.copy_(layer.weight[order])
        other.bias.copy_(layer.bias[order])
    x = chance(1, 4, 6, 6)
    for granularity in GRANULARITIES:
        a, b = split(layer, granularity), split(other, granularity)
        assert a.products_per_pixel == b.products_per_pixel
        torch.testing.assert_close(b(x), a(x)[:, order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_split_layer_learns_and_its_weights_stay_shared(granularity):
    layer = coarse(nn.Conv2d(2, 6, 3), levels=1)
    made = split(layer, granularity)
    made(chance(2, 2, 6, 6)).square().sum().backward()
    assert made.distinct.grad.abs().sum() > 0
    with torch.no_grad():
        made.distinct.sub_(0.01 * made.distinct.grad)
    before = layer.weight[:, 0].flatten().unique().numel() if granularity == "scalar" else None
    if before:
        assert made.dense_weight()[:, 0].flatten().unique().numel() <= before


def test_in_a_network_split_layers_equal_the_hashed_ones_and_scalars_save_most():
    hashed = hash_network(pretrained.load("resnet8_drawn"), range_over(64)).double()
    x = chance(1, 3, 32, 32)
    dense = count_products(hashed, x)
    by_kernel, by_scalar = (split_network(hashed, each) for each in GRANULARITIES)
    for made in (by_kernel, by_scalar):
        assert sum(isinstance(m, SplitLayer) for m in made.modules()) == 8
        torch.testing.assert_close(made(x), hashed(x), rtol=1e-9, atol=1e-9)
    assert count_products(by_scalar, x) < dense / 4
    assert count_products(by_scalar, x) < count_products(by_kernel, x) <= dense


def test_grouped_convolutions_stay():
    hashed = hash_network(pretrained.load("mobilenet_drawn"))
    made = split_network(hashed)
    depthwise = [m for m in made.modules() if type(m) is nn.Conv2d]
    assert depthwise
    assert all(m.groups > 1 for m in depthwise)


def test_all_steps_together_leave_a_network_that_classifies():
    model = pretrained.load("resnet8_drawn")
    images, labels = drawn.draw(300, split="test")
    merged = merge_outputs(hash_network(model, range_over(512)), (3, 32, 32), 0.003)
    made = red_plus_plus.compress(model, (3, 32, 32), bandwidth=range_over(512), alpha=0.003)
    few = images[:2]
    torch.testing.assert_close(made(few), merged(few), rtol=1e-4, atol=1e-4)
    assert accuracy(merged, images, labels) > accuracy(model, images, labels) - 5
    assert count_products(made, few) < count_products(model, few) / 2


@pytest.mark.parametrize(
    "layer, words",
    [
        (nn.Conv2d(4, 4, 3, groups=4), "it has 4 groups"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), "its padding is 'circular'"),
        (nn.ConvTranspose2d(3, 3, 3), "neither nn.Conv2d nor nn.Linear"),
    ],
)
def test_other_layers_are_refused(layer, words):
    with pytest.raises(ValueError, match=words):
        split(layer)


def test_bad_input_is_refused():
    for make in (
        lambda: split(nn.Linear(2, 2), "row"),
        lambda: split_network(nn.Linear(2, 2), "row"),
        lambda: red_plus_plus.compress(nn.Linear(2, 2), (2,), granularity="row"),
    ):
        with pytest.raises(ValueError, match="granularity must be 'kernel' or 'scalar', got 'row'"):
            make()
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="weight must be finite"):
        split(layer)
