"""DFQ: equalisation keeps the function, the formulas survive a negative gamma, and the twin is rescued."""

import pytest
import torch
from torch import nn

from frugal.data import drawn
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.nets import pretrained
from frugal.quant.config import weights_and_activations
from frugal.quant.convert import quantize_model
from frugal.quant.methods import dfq
from frugal.quant.statistics import clipped_normal, normal
from frugal.quant.transforms import by_input, by_output, links, unequalise, without_relu6

PIXELS = normal(torch.full((3,), 0.45), torch.full((3,), 0.25))  # of drawn pictures, roughly


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def chain(padding=0):
    """A convolution, a depthwise one and a pointwise one, with batch norms that have learned something."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False, padding=padding), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8, padding=padding), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 5, 1), nn.BatchNorm2d(5),
    )  # fmt: skip
    for i, module in enumerate(net):
        if isinstance(module, nn.BatchNorm2d):
            n = module.num_features
            module.weight.data.copy_(chance(n, seed=i))
            module.bias.data.copy_(3 * chance(n, seed=i + 50))
            module.running_mean.copy_(chance(n, seed=i + 60))
            module.running_var.copy_(chance(n, seed=i + 70).exp())
    return net.double().eval()


def ranges(model):
    return [
        (by_output(model, link).abs().amax(1), by_input(model.get_submodule(link.second)).abs().amax(1))
        for link in links(model)
    ]


@pytest.mark.parametrize("folded", [False, True])
def test_equalising_keeps_the_function_and_makes_ranges_equal(folded):
    model = fold_batchnorm(chain()) if folded else chain()
    equal = dfq.equalise(model, tolerance=1e-12, rounds=500)
    x = chance(4, 3, 12, 12)
    assert (equal(x) - model(x)).abs().max() < 1e-12 * model(x).abs().max()
    for r1, r2 in ranges(equal):
        assert torch.allclose(r1, r2, rtol=1e-6)


def test_one_step_makes_both_ranges_the_geometric_mean():
    first, second = chance(6, 9), chance(6, 4, seed=1)
    factors = dfq.equalising_factors(first, second)
    r1, r2 = first.abs().amax(1), second.abs().amax(1)
    assert torch.allclose(r1 / factors, (r1 * r2).sqrt())
    assert torch.allclose(r2 * factors, (r1 * r2).sqrt())


def test_a_channel_of_zeros_stays():
    assert dfq.equalising_factors(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [0.0]])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("spoil", [0.0, 1.5])
def test_precision_does_not_fall(spoil):
    model = unequalise(chain(), strength=spoil)
    assert dfq.precision(dfq.equalise(model)) >= dfq.precision(model)


def test_relu6_is_not_homogeneous():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.Conv2d(4, 2, 1)).double()
    assert torch.equal(dfq.equalise(net)[0].weight, net[0].weight)  # left alone
    x = 10 * chance(2, 3, 5, 5)
    pushed = dfq.equalise(without_relu6(net))
    pushed[1] = nn.ReLU6()
    assert (pushed(x) - net(x)).abs().max() > 0.01


@pytest.mark.parametrize("name", ["resnet8_drawn", "mobilenet_drawn"])
def test_the_twin_is_rescued(name):
    """Per-tensor 8 bits: the twin guesses; equalised, it is as good as the float network."""
    model = without_relu6(pretrained.load(name))
    twin = unequalise(model)
    images, labels = drawn.draw(400, split="test")
    config = weights_and_activations(8, None, per_channel=False)

    def score(net):
        return accuracy(quantize_model(fold_batchnorm(net), config, images[:32]), images, labels)

    full, spoilt, rescued = accuracy(twin, images, labels), score(twin), score(dfq.equalise(twin))
    assert spoilt < 25
    assert rescued > full - 2


def test_absorbing_is_exact_where_relu_passes_everything():
    model = chain()
    with torch.no_grad():
        for norm in (1, 4):  # far above 0, and nothing further than 3 deviations from it: no value is cut
            model[norm].bias.copy_(40 + chance(8).abs())
            model[norm].running_var.fill_(1e6)
    absorbed = dfq.absorb_biases(model)
    x = chance(4, 3, 12, 12)
    assert (absorbed(x) - model(x)).abs().max() < 1e-10 * model(x).abs().max()
    for norm in (1, 4):
        assert (absorbed[norm].bias < model[norm].bias).all()
        assert torch.allclose(absorbed[norm].bias, 3 * model[norm].weight.abs())


def test_what_relu_cuts_is_not_absorbed():
    model = chain()
    with torch.no_grad():
        model[1].bias.copy_(2.9 * model[1].weight.abs())
    assert torch.equal(dfq.absorb_biases(model)[1].bias, model[1].bias)


def test_the_mean_after_relu_needs_the_size_of_gamma():
    """β = 2, γ = -1.5: the mean is 2.13, but the raw gamma in the formula makes it negative, which ReLU cannot be."""
    beta, gamma = torch.tensor(2.0).double(), torch.tensor(-1.5).double()
    samples = (beta + gamma * chance(1_000_000)).relu()
    mean, _ = clipped_normal(beta, gamma)
    assert mean.item() == pytest.approx(samples.mean().item(), abs=5 * samples.std().item() / 1000)
    unit = torch.distributions.Normal(0.0, 1.0)
    raw = gamma * unit.log_prob(-beta / gamma).exp() + beta * (1 - unit.cdf(-beta / gamma))
    assert raw < 0 < mean


@pytest.mark.parametrize("num_bits", [3, 4])
def test_corrected_biases_give_every_layer_its_float_mean(num_bits):
    """On data: after the correction, each layer on float inputs has the mean output of the float layer."""
    model = chain()
    x = 1 + chance(4, 3, 40, 40).relu()  # far from 0 on average, so that the mean error shows
    quantized = quantize_model(fold_batchnorm(model), weights_and_activations(num_bits, None), x)
    corrected = dfq.correct_biases(model, quantized, [x])
    folded = fold_batchnorm(model)

    def error_of_mean(net):
        return (net[0](x) - folded[0](x)).mean((0, 2, 3)).abs().max()

    # The correction takes the mean over all pixels, each output meets a window of them: the rim, 1/20, is counted less.
    assert error_of_mean(corrected) < 0.05 * error_of_mean(quantized)


def test_without_data_the_correction_is_that_of_normal_inputs():
    """One layer behind a ReLU of N(β, γ²): means over a million normal inputs, γ of both signs."""
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).double().eval()
    with torch.no_grad():
        model[1].weight.copy_(chance(6))
        model[1].bias.copy_(chance(6, seed=1))
    quantized = quantize_model(fold_batchnorm(model), weights_and_activations(3, None), chance(8, 6))
    corrected = dfq.correct_biases(model, quantized, shape=(6,), pixels=normal(torch.zeros(6), 1.0))
    h = (model[1].bias + model[1].weight * chance(300_000, 6, seed=2)).relu()
    error = (corrected[3](h) - model[3](h)).mean(0)
    before = (quantized[3](h) - model[3](h)).mean(0)
    assert error.abs().max() < 5e-3 < before.abs().max()


@pytest.mark.parametrize("spoil", [False, True])
def test_eight_bits_per_tensor_without_one_picture(spoil):
    model = without_relu6(pretrained.load("mobilenet_drawn"))
    images, labels = drawn.draw(400, split="test")
    quantized = dfq.quantize_without_data(unequalise(model) if spoil else model, pixels=PIXELS)
    assert accuracy(quantized, images, labels) > accuracy(model, images, labels) - 2


def test_correcting_four_bits_wins_accuracy_back():
    model = pretrained.load("resnet8_drawn")
    images, labels = drawn.draw(400, split="test")
    quantized = quantize_model(fold_batchnorm(model), weights_and_activations(4, None), images[:8])
    plain = accuracy(quantized, images, labels)
    without_data = accuracy(dfq.correct_biases(model, quantized, pixels=PIXELS), images, labels)
    with_data = accuracy(dfq.correct_biases(model, quantized, [drawn.draw(64, split="val").images]), images, labels)
    assert without_data > plain + 3
    assert with_data > plain + 3


def test_ranges_without_data_hold_zero_and_six_deviations():
    ranges_found = dfq.input_ranges(chain(), (3, 12, 12))
    assert list(ranges_found) == ["0", "3", "6"]
    norm = chain()[1]
    reach = (norm.bias + 6 * norm.weight.abs()).max().item()
    assert ranges_found["3"].high.item() == pytest.approx(reach, rel=0.01)
    assert ranges_found["3"].low.item() == 0


def test_networks_that_do_not_match_are_refused():
    one, other = chain(), nn.Sequential(nn.Conv2d(3, 8, 3))
    quantized = quantize_model(other.double(), weights_and_activations(8, None), chance(2, 3, 8, 8))
    with pytest.raises(ValueError, match="different layers"):
        dfq.correct_biases(one, quantized)
    with pytest.raises(ValueError, match="same channels"):
        dfq.equalising_factors(torch.ones(2, 3), torch.ones(3, 3))
