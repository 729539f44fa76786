"""ZeroQ: pictures that meet the statistics, sensitivities that fall with bits, a front that brute force confirms."""

import itertools

import pytest
import torch
from torch import nn

from frugal.data import drawn
from frugal.graph.fold import fold_batchnorm
from frugal.nets import pretrained
from frugal.quant.layers import quantizable_layers, weight_of
from frugal.quant.methods import zeroq
from frugal.quant.statistics import normal, watch_inputs


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model():
    return pretrained.load("resnet8_drawn")


@pytest.fixture(scope="module")
def pictures():
    return drawn.draw(128, split="val").images


@pytest.fixture(scope="module")
def pixels(pictures):
    return normal(pictures.mean((0, 2, 3)), pictures.std((0, 2, 3)))


@pytest.fixture(scope="module")
def distilled(model, pixels):
    return zeroq.distil(model, (3, 32, 32), 8, steps=50, pixels=pixels)


def test_the_pictures_come_to_meet_the_statistics(distilled):
    assert min(distilled.losses) < 0.05 * distilled.losses[0]
    assert distilled.images.shape == (8, 3, 32, 32)


def test_pictures_of_a_batch_that_made_the_statistics_have_no_loss():
    x = chance(32, 3, 8, 8)
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3),
        nn.BatchNorm2d(5, momentum=None),
        nn.ReLU(),
        nn.Conv2d(5, 4, 3),
        nn.BatchNorm2d(4, momentum=None),
    )
    net.train()(x)
    for norm in (net[1], net[4]):  # what was stored is unbiased
        norm.running_var.mul_(1 - 1 / {5: 32 * 36, 4: 32 * 16}[norm.num_features])
    pixels = normal(x.mean((0, 2, 3)), x.std((0, 2, 3), unbiased=False))
    loss = zeroq.statistics_loss(net.eval(), [net[1], net[4]], x, pixels)
    fresh = zeroq.statistics_loss(net, [net[1], net[4]], 3 * chance(32, 3, 8, 8, seed=1), pixels)
    assert loss < 1e-8 < fresh
    found = zeroq.distil(net, (3, 8, 8), 32, steps=3, pixels=pixels, start=x)
    assert min(found.losses) < 1e-8


def test_distilled_pictures_show_the_ranges_of_real_ones(model, distilled, pictures, pixels):
    names = ["layer1.0.conv2", "layer2.0.conv1", "layer3.0.conv1"]
    noise = pixels.mean.float().view(1, 3, 1, 1) + pixels.std.float().view(1, 3, 1, 1) * chance(16, 3, 32, 32)
    real, made, random = (watch_inputs(model, [x], names) for x in (pictures, distilled.images, noise))

    def distance(seen):
        return sum(
            (seen[n].quantile(0.999) / real[n].flatten()[:100_000].quantile(0.999)).log().abs().item() for n in names
        )

    made, random = ({n: x.flatten()[:100_000] for n, x in seen.items()} for seen in (made, random))
    assert distance(made) < distance(random)


def test_the_network_is_left_alone(model, pixels):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    zeroq.distil(model, (3, 32, 32), 2, steps=2, pixels=pixels)
    zeroq.allocate_bits(model, chance(4, 3, 32, 32), 4.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_sensitivities_are_not_negative_and_fall_with_bits(model, pictures):
    found = zeroq.sensitivity(fold_batchnorm(model), [pictures[:32]])
    assert list(found) == list(quantizable_layers(model))
    assert all(value >= 0 for row in found.values() for value in row.values())
    means = [sum(row[bits] for row in found.values()) for bits in (2, 4, 8)]
    assert means[0] > 5 * means[1] > 25 * means[2]


def test_a_layer_on_its_grid_already_is_not_sensitive():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[7.0, -3, 1, 0], [7, 2, 2, -7], [1, 0, -7, 5]]))
    assert zeroq.sensitivity(net, chance(8, 4), (4,))["1"][4] < 1e-12


def front_of(damages, sizes):
    """Every choice that no other beats, by trying them all."""
    every = []
    for bits in itertools.product(*damages):
        size = sum(s * b for s, b in zip(sizes, bits, strict=True))
        every.append((size, sum(d[b] for d, b in zip(damages, bits, strict=True))))
    best = []
    for size, damage in sorted(set(every)):
        if not best or damage < best[-1][1] - 1e-12:
            best.append((size, damage))
    return best


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_that_of_brute_force(seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 50, (6,), generator=generator).tolist()
    damages = []
    for _ in sizes:
        a, b, c = torch.rand(3, generator=generator).tolist()
        damages.append({2: a + b + c, 4: a + b, 8: a})
    found = zeroq.pareto_front(damages, sizes)
    expected = front_of(damages, sizes)
    assert [choice.size for choice in found] == [size for size, _ in expected]
    assert [choice.damage for choice in found] == pytest.approx([damage for _, damage in expected])
    for choice in found:
        assert choice.size == sum(s * b for s, b in zip(sizes, choice.bits, strict=True))


@pytest.mark.parametrize("budget", [2.0, 3.5, 4.0, 8.0])
def test_allocated_bits_fit_the_budget_and_use_it(model, pictures, budget):
    bits = zeroq.allocate_bits(model, pictures[:16], budget)
    sizes = {name: weight_of(layer).numel() for name, layer in quantizable_layers(model).items()}
    mean = sum(sizes[name] * bits[name] for name in sizes) / sum(sizes.values())
    assert mean <= budget
    if budget in (2.0, 8.0):
        assert set(bits.values()) == {budget}


def test_bad_input(model):
    with pytest.raises(ValueError, match="no batch norm"):
        zeroq.distil(fold_batchnorm(model), (3, 32, 32), 4, steps=1)
    with pytest.raises(ValueError, match="at least one step"):
        zeroq.distil(model, (3, 32, 32), 1)
    with pytest.raises(ValueError, match="at least one batch"):
        zeroq.sensitivity(fold_batchnorm(model), [])
    with pytest.raises(ValueError, match="num_bits"):
        zeroq.sensitivity(fold_batchnorm(model), chance(2, 3, 32, 32), (1,))
    with pytest.raises(ValueError, match="smallest choice"):
        zeroq.allocate_bits(model, chance(2, 3, 32, 32), 1.0)
    with pytest.raises(ValueError, match="one size per layer"):
        zeroq.pareto_front([{2: 0.0}], [])
