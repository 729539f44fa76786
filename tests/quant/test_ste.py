"""Straight-through estimators: the staircase forward, exactly the stated gradient backward."""

import pytest
import torch

from frugal.quant import ste

X = torch.tensor([-1.7, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 1.5, 2.5], dtype=torch.float64)
G = torch.arange(1.0, len(X) + 1, dtype=torch.float64)


def gradient(function):
    x = X.clone().requires_grad_()
    (function(x) * G).sum().backward()
    return x.grad


def test_rounding_takes_halves_to_even_and_passes_the_gradient():
    assert torch.equal(ste.round_through(X), torch.round(X))
    assert torch.equal(gradient(ste.round_through), G)


def test_0_is_positive_unlike_in_torch():
    assert ste.sign(torch.tensor([0.0, -0.0])).tolist() == [1.0, 1.0]
    assert set(ste.sign(X).tolist()) == {-1.0, 1.0}


def test_the_sign_passes_everything_or_only_what_lies_within_1():
    assert torch.equal(gradient(lambda x: ste.sign_through(x, "identity")), G)
    assert torch.equal(gradient(ste.sign_through), G * (X.abs() <= 1))


def test_the_hard_tanh_is_the_integral_of_the_gradient_of_the_sign():
    inside = X[(X.abs() != 1)]  # at the corners any slope from 0 to 1 will do
    x = inside.clone().requires_grad_()
    torch.nn.functional.hardtanh(x).sum().backward()
    y = inside.clone().requires_grad_()
    ste.sign_through(y).sum().backward()
    assert torch.equal(x.grad, y.grad)


def test_a_clamp_passes_gradients_strictly_between_its_ends():
    assert torch.equal(ste.clamp_through(X, -1, 1), X.clamp(-1, 1))
    assert torch.equal(gradient(lambda x: ste.clamp_through(x, -1, 1)), G * (X.abs() < 1))


def test_a_scaled_gradient_changes_nothing_forward():
    assert torch.equal(ste.scale_gradient(X, 0.25), X)
    assert torch.equal(gradient(lambda x: ste.scale_gradient(x, 0.25)), G / 4)


def test_replaced_values_send_their_gradient_to_the_original():
    assert torch.equal(ste.replace_through(X, X * 0 + 7), torch.full_like(X, 7))
    assert torch.equal(gradient(lambda x: ste.replace_through(x, x.detach() * 0 + 7)), G)
    with pytest.raises(ValueError, match=r"shape of x, \[9\], got \[1\]"):
        ste.replace_through(X, X[:1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_dtype_is_kept(dtype):
    assert ste.sign(X.to(dtype)).dtype == ste.round_through(X.to(dtype)).dtype == dtype


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="finite"):
        ste.sign(torch.tensor([1.0, float("nan")]))
    with pytest.raises(TypeError, match="float dtype"):
        ste.sign(torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="hardtanh, identity; got 'tanh'"):
        ste.sign_through(X, "tanh")
