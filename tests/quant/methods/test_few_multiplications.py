"""Few multiplications: chance is unbiased, gradients are sums of shifts, and a layer of it learns."""

import pytest
import torch
from torch.nn import functional as F

from frugal.quant.methods import few_multiplications as few

SAMPLES = 200_000


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


@pytest.mark.parametrize("w", [-0.4, -0.1, 0.0, 0.25, 0.4])
def test_ternary_chance_is_unbiased_within_the_limit(w):
    limit = 0.4
    drawn = few.ternary_connect(torch.full((SAMPLES,), w, dtype=torch.float64), limit, rng())
    assert torch.isin(drawn, torch.tensor([-limit, 0.0, limit], dtype=torch.float64)).all()
    spread = (abs(w) * limit - w**2) ** 0.5 if abs(w) < limit else 0.0
    assert abs(drawn.mean().item() - w) <= 5 * spread / SAMPLES**0.5 + 1e-12


@pytest.mark.parametrize("h", [1.0, 1.5, -0.3, 5.9, 1e-20, -7.0])
def test_random_powers_of_two_are_unbiased_and_next_to_the_value(h):
    drawn = few.power_of_two(torch.full((SAMPLES,), h, dtype=torch.float64), rng())
    mantissa, _ = torch.frexp(drawn)
    assert (mantissa.abs() == 0.5).all()
    ratio = drawn / h
    assert ((ratio > 0.5) & (ratio <= 2)).all()
    spread = drawn.std().item()
    assert abs(drawn.mean().item() - h) <= 5 * spread / SAMPLES**0.5 + 1e-12 * abs(h)


def test_zero_stays_zero_and_powers_of_two_stay_themselves():
    exact = torch.tensor([0.0, -0.0, 1.0, -2.0, 0.125])
    assert torch.equal(few.power_of_two(exact, rng()), exact)


def test_a_gradient_of_shifts_is_the_product_of_matrices():
    h = few.power_of_two(chance(9, 5), rng())
    h[0, 0] = 0.0
    delta = torch.round(chance(9, 4, seed=1) * 64) / 64  # sums are exact, so order does not matter
    assert torch.equal(few.gradient_by_shifts(delta, h), delta.T @ h)


def test_the_weight_gradient_is_right_on_average_and_the_input_gradient_exactly():
    x, weight = chance(6, 5), chance(3, 5, seed=1).requires_grad_()
    delta = chance(6, 3, seed=2)
    leaf = x.clone().requires_grad_()
    total = torch.zeros(3, 5, dtype=torch.float64)
    generator = rng()
    rounds = 2000
    for _ in range(rounds):
        weight.grad = leaf.grad = None
        few.linear(leaf, weight, None, generator).backward(delta)
        total += weight.grad
    exact = delta.T @ x
    largest = (delta.abs().T @ x.abs()).max()  # a power of two is off by at most a factor of 2
    assert ((total / rounds - exact).abs() < 5 * largest / rounds**0.5).all()
    assert torch.allclose(leaf.grad, delta @ weight)
    assert torch.allclose(few.linear(x, weight), F.linear(x, weight))


def test_the_nearest_ternary_value_uses_the_scale_of_the_weights():
    limit = few.weight_limit(100, 100)
    w = torch.linspace(-limit, limit, 101)
    assert few.ternary_nearest(w, limit).unique().numel() == 3
    assert not (w.abs() > 0.5).any()  # a fixed threshold of 0.5 would make all of them 0
    error = (few.ternary_nearest(w, limit) - w).abs()
    assert error.max() <= limit / 2 + 1e-7


def test_in_training_the_weight_is_drawn_and_the_gradient_reaches_the_float_one():
    quantizer = few.TernaryConnect(0.5, rng())
    w = torch.tensor([0.1, -0.4, 0.5], requires_grad=True)
    y = quantizer(w)
    (y * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert torch.isin(y.detach(), torch.tensor([-0.5, 0.0, 0.5])).all()
    assert w.grad.tolist() == [1.0, 2.0, 3.0]
    latent = torch.tensor([0.9, -0.7, 0.2])
    quantizer.settle_(latent)
    assert latent.tolist() == pytest.approx([0.5, -0.5, 0.2])
    assert torch.equal(quantizer.eval()(w), few.ternary_nearest(w, 0.5))


def test_two_layers_learn_to_tell_apart_what_no_line_can():
    x = chance(512, 2).float()
    labels = ((x[:, 0] > 0) ^ (x[:, 1] > 0)).long()
    net = torch.nn.Sequential(
        few.FewMultiplicationsLinear(2, 64), torch.nn.BatchNorm1d(64), torch.nn.ReLU(),
        few.FewMultiplicationsLinear(64, 2, seed=1), torch.nn.BatchNorm1d(2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(100):
        loss = F.cross_entropy(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for layer in (net[0], net[3]):
            layer.settle_()
            assert (layer.weight.abs() <= layer.ternary.limit).all()
    assert (net(x).argmax(1) == labels).float().mean() > 0.8


def test_bad_input():
    with pytest.raises(ValueError, match="limit"):
        few.ternary_connect(torch.ones(3), 0.0)
    with pytest.raises(ValueError, match="limit"):
        few.TernaryConnect(-1.0)
    with pytest.raises(ValueError, match="finite"):
        few.power_of_two(torch.tensor([float("inf")]))
    with pytest.raises(ValueError, match="power of two"):
        few.gradient_by_shifts(torch.ones(1, 2), torch.tensor([[3.0]]))
    with pytest.raises(ValueError, match="fan_in"):
        few.weight_limit(0, 3)
