"""Folding keeps the function, in float64 to 1e-9, and refuses where it would not."""

import copy
import warnings

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from frugal.core.errors import UnsupportedModel
from frugal.graph.fold import NORMS, fold_batchnorm, plan_folds
from frugal.nets.mobilenet_v2 import mobilenet_v2_small
from frugal.nets.resnet import resnet8_cifar, resnet50

EXACT = 1e-9  # the project's bound for rewrites that keep the function, in float64


def with_statistics(model, seed=0):
    """Give every batch norm statistics and parameters that are far from its first ones; some gammas are negative."""
    rng = torch.Generator().manual_seed(seed)
    for norm in (m for m in model.modules() if isinstance(m, NORMS)):
        if norm.running_mean is not None:
            norm.running_mean.normal_(generator=rng)
            norm.running_var.uniform_(0.2, 3, generator=rng)
        if norm.affine:
            norm.weight.data.normal_(generator=rng)
            norm.bias.data.normal_(generator=rng)
    return model.double().eval()


def worst_error(model, folded, x):
    with torch.no_grad():
        y, z = model(x), folded(x)
    return ((y - z).abs().max() / y.abs().max().clamp(min=1)).item()


def count_norms(model):
    return sum(isinstance(m, NORMS) for m in model.modules())


@pytest.mark.parametrize(
    "build, size",
    [
        (torchvision.models.resnet18, 64),
        (torchvision.models.mobilenet_v2, 64),
        (torchvision.models.mobilenet_v3_small, 64),
        (resnet8_cifar, 32),
        (mobilenet_v2_small, 32),
        (resnet50, 64),
    ],
)
def test_whole_networks_compute_the_same_without_any_batch_norm(build, size):
    torch.manual_seed(0)
    model = with_statistics(build())
    folded = fold_batchnorm(model, strict=True)
    assert count_norms(model) > 0
    assert count_norms(folded) == 0
    assert worst_error(model, folded, torch.randn(2, 3, size, size).double()) < EXACT


LAYERS = {
    "conv1d": (nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), (2, 4, 9)),
    "conv1d without bias": (nn.Conv1d(4, 6, 3, bias=False), nn.BatchNorm1d(6), (2, 4, 9)),
    "conv2d": (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), (2, 4, 7, 7)),
    "conv2d without bias": (nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), (2, 4, 7, 7)),
    "conv2d in groups": (nn.Conv2d(4, 6, 3, groups=2, stride=2), nn.BatchNorm2d(6), (2, 4, 7, 7)),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.BatchNorm2d(4), (2, 4, 7, 7)),
    "depthwise with two outputs per input": (nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8), (2, 4, 7, 7)),
    "reflecting padding": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(6), (2, 4, 7, 7)),
    "conv3d": (nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), (2, 2, 4, 4, 4)),
    "transposed 1d": (nn.ConvTranspose1d(4, 6, 3), nn.BatchNorm1d(6), (2, 4, 5)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2), nn.BatchNorm2d(6), (2, 4, 5, 5)),
    "transposed, as many in as out": (nn.ConvTranspose2d(5, 5, 3, bias=False), nn.BatchNorm2d(5), (2, 5, 5, 5)),
    "transposed in groups": (nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), (2, 4, 5, 5)),
    "transposed depthwise": (nn.ConvTranspose2d(4, 4, 3, groups=4, bias=False), nn.BatchNorm2d(4), (2, 4, 5, 5)),
    "linear": (nn.Linear(4, 6), nn.BatchNorm1d(6), (5, 4)),
    "linear without bias": (nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), (5, 4)),
    "another eps": (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, eps=0.5), (2, 4, 7, 7)),
    "no gamma and beta": (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, affine=False), (2, 4, 7, 7)),
}


@pytest.mark.parametrize("layer, norm, shape", LAYERS.values(), ids=LAYERS)
def test_every_kind_of_layer_takes_its_batch_norm_in(layer, norm, shape):
    torch.manual_seed(0)
    model = with_statistics(copy.deepcopy(nn.Sequential(layer, norm)))
    folded = fold_batchnorm(model, strict=True)
    assert isinstance(folded[1], nn.Identity)
    assert worst_error(model, folded, torch.randn(shape).double()) < EXACT


@pytest.mark.parametrize("gamma", [-1.5, 0.0, 1e-30])
def test_a_negative_or_zero_gamma_folds_as_any_other(gamma):
    model = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    model[1].weight.data.fill_(gamma)
    x = torch.randn(2, 3, 6, 6).double()
    folded = fold_batchnorm(model)
    assert worst_error(model, folded, x) < EXACT
    if gamma == 0:
        assert not folded[0].weight.any()


def test_the_original_keeps_its_weights_its_modules_and_its_mode():
    model = with_statistics(resnet8_cifar()).train()
    model.layer1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    folded = fold_batchnorm(model)
    assert [m.training for m in model.modules()] == modes
    assert not any(m.training for m in folded.modules())
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert [name for name, _ in folded.named_modules()] == [name for name, _ in model.named_modules()]
    assert type(folded) is type(model)


def test_float32_weights_stay_float32_and_frozen_ones_frozen():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).requires_grad_(False)
    folded = fold_batchnorm(model)
    assert folded[0].weight.dtype == folded[0].bias.dtype == torch.float32
    assert not folded[0].weight.requires_grad


class Wired(nn.Module):
    """A convolution, a batch norm, and a way to wire them."""

    def __init__(self, wiring):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)
        self.other = nn.BatchNorm2d(3)
        self.wiring = wiring

    def forward(self, x):
        return self.wiring(self, x)


def conv_read_twice(m, x):
    y = m.conv(x)
    return m.bn(y) + y


def conv_read_through_an_identity_twice(m, x):
    y = m.conv(x)
    return m.bn(y) * m.other(y)


WIRINGS = {
    "conv read twice": (conv_read_twice, {"bn": "goes elsewhere", "other": "runs 0 times"}),
    "two norms on one conv": (conv_read_through_an_identity_twice, {"bn": "goes elsewhere", "other": "goes elsewhere"}),
    "conv runs twice": (lambda m, x: m.bn(m.conv(m.conv(x))), {"bn": "conv runs 2 times", "other": "runs 0 times"}),
    "norm runs twice": (lambda m, x: m.bn(m.bn(m.conv(x))), {"bn": "runs 2 times", "other": "runs 0 times"}),
    "norm after a sum": (lambda m, x: m.bn(m.conv(x) + x), {"bn": "the function add", "other": "runs 0 times"}),
    "norm before conv": (lambda m, x: m.conv(m.bn(x)), {"bn": "follows the input", "other": "runs 0 times"}),
    "norm after norm": (lambda m, x: m.other(m.bn(m.conv(x))), {"other": "follows bn (BatchNorm2d)"}),
}


@pytest.mark.parametrize("wiring, reasons", WIRINGS.values(), ids=WIRINGS)
def test_a_batch_norm_that_cannot_be_folded_stays_and_says_why(wiring, reasons):
    model = with_statistics(Wired(wiring))
    left = plan_folds(model).left
    assert left.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in left[name]
    folded = fold_batchnorm(model)
    assert worst_error(model, folded, torch.randn(2, 3, 5, 5).double()) < EXACT
    with pytest.raises(UnsupportedModel, match="cannot be folded"):
        fold_batchnorm(model, strict=True)


def test_a_norm_that_uses_batch_statistics_stays():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    assert "statistics of each batch" in plan_folds(model).left["1"]


def test_a_parametrised_weight_and_a_hooked_layer_stay():
    normed = nn.Sequential(weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4))
    assert "other parameters" in plan_folds(normed).left["1"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the older way to write it is still met
        older = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4))
    assert "other parameters" in plan_folds(older).left["1"]
    hooked = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    hooked[0].register_forward_hook(lambda module, args, out: 2 * out)
    assert "hooks" in plan_folds(hooked).left["1"]


def test_an_identity_between_layer_and_norm_is_looked_through():
    model = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity(), nn.BatchNorm2d(4)))
    folded = fold_batchnorm(model, strict=True)
    assert worst_error(model, folded, torch.randn(2, 3, 6, 6).double()) < EXACT


def test_tied_weights_are_untied_where_only_one_is_followed_by_a_norm():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.bn = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.bn(self.first(x)))

    model = with_statistics(Tied())
    assert worst_error(model, fold_batchnorm(model), torch.randn(2, 3, 4, 4).double()) < EXACT


def test_a_linear_layer_folded_for_matrices_refuses_sequences():
    # On [n, length, features] batch norm counts channels along the length: folding cannot be right there.
    model = with_statistics(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5)))
    folded = fold_batchnorm(model)
    folded(torch.randn(2, 4).double())
    with pytest.raises(ValueError, match="folded for inputs of 2 dimensions"):
        folded(torch.randn(2, 5, 4).double())


def test_a_folded_network_can_be_folded_copied_and_traced_again():
    model = with_statistics(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU()))
    folded = fold_batchnorm(model)
    again = fold_batchnorm(copy.deepcopy(folded), strict=True)
    assert worst_error(folded, again, torch.randn(3, 4).double()) == 0
    torch.fx.symbolic_trace(folded)


def test_a_network_that_decides_by_values_is_refused_by_the_name_of_the_module():
    class Decides(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Sequential(nn.ReLU(), Decides()))
    with pytest.raises(UnsupportedModel, match=r"module '2\.1' \(Decides\) cannot be traced"):
        fold_batchnorm(model)


def test_a_network_without_batch_norm_need_not_be_traced():
    class Decides(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    assert isinstance(fold_batchnorm(Decides()), Decides)
