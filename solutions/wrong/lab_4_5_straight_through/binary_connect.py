"""Wrong answers to exercise 4.5.6: signs that learn."""

from collections.abc import Callable

import torch
from torch import Tensor

Gradient = Callable[[Tensor], Tensor]


def _signs(w: Tensor) -> Tensor:
    return torch.where(w >= 0, 1.0, -1.0)


def gradient_at_real_weights(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """You show the real weights to gradient_of; the network multiplies with signs."""
    for _ in range(steps):
        w = (w - lr * gradient_of(w)).clamp(-1, 1)
    return w.clone()


def sign_of_zero_is_zero(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """torch.sign makes 0 of a weight at 0: a third binary weight."""
    for _ in range(steps):
        w = (w - lr * gradient_of(torch.sign(w))).clamp(-1, 1)
    return w.clone()


def zero_is_negative(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """A real weight of 0 counts as negative with you; it is +1."""
    for _ in range(steps):
        w = (w - lr * gradient_of(torch.where(w > 0, 1.0, -1.0))).clamp(-1, 1)
    return w.clone()


def updates_the_signs(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """You update the signs and lose the real weights behind them: small gradients never add up."""
    for _ in range(steps):
        signs = _signs(w)
        w = (signs - lr * gradient_of(signs)).clamp(-1, 1)
    return w.clone()


def never_clipped(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """Your real weights leave [-1, 1]."""
    for _ in range(steps):
        w = w - lr * gradient_of(_signs(w))
    return w.clone()


def clipped_at_the_end(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """You clip once, after the last step; it belongs behind every step."""
    for _ in range(steps):
        w = w - lr * gradient_of(_signs(w))
    return w.clamp(-1, 1)


def clipped_before_the_step(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """You clip before each step, so the last one may end outside."""
    for _ in range(steps):
        w = w.clamp(-1, 1) - lr * gradient_of(_signs(w))
    return w.clone()


def clipped_gradient(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """You clip the gradient; the weights are clipped."""
    for _ in range(steps):
        w = w - lr * gradient_of(_signs(w)).clamp(-1, 1)
    return w.clone()


def uphill(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """You step along the gradient; the loss falls against it."""
    for _ in range(steps):
        w = (w + lr * gradient_of(_signs(w))).clamp(-1, 1)
    return w.clone()


def signs_come_back(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """You return the signs; the real weights behind them are asked for."""
    for _ in range(steps):
        w = (w - lr * gradient_of(_signs(w))).clamp(-1, 1)
    return _signs(w)


def one_step_too_many(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """You take one step too many."""
    for _ in range(steps + 1):
        w = (w - lr * gradient_of(_signs(w))).clamp(-1, 1)
    return w


def signs_of_the_beginning(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """You take the signs once, before the loop; they change with the weights."""
    signs = _signs(w)
    for _ in range(steps):
        w = (w - lr * gradient_of(signs)).clamp(-1, 1)
    return w.clone()


def one_gradient_for_all(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """You ask for the gradient once; it changes with the signs."""
    if steps:
        gradient = gradient_of(_signs(w))
        for _ in range(steps):
            w = (w - lr * gradient).clamp(-1, 1)
    return w.clone()


def stopped_at_the_ends(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """You stop the gradient where the real weight stands at -1 or 1: it never comes back."""
    for _ in range(steps):
        w = (w - lr * gradient_of(_signs(w)) * (w.abs() < 1)).clamp(-1, 1)
    return w.clone()


def without_a_rate(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """You leave the learning rate out."""
    for _ in range(steps):
        w = (w - gradient_of(_signs(w))).clamp(-1, 1)
    return w.clone()


def clipped_at_zero(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """Your real weights stay between 0 and 1, where every sign is +1."""
    for _ in range(steps):
        w = (w - lr * gradient_of(_signs(w))).clamp(0, 1)
    return w.clone()


def overwrites_its_input(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """Your function trains the caller's tensor in place."""
    for _ in range(steps):
        w.sub_(lr * gradient_of(_signs(w))).clamp_(-1, 1)
    return w


def turned_by_the_sign(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    """You multiply the gradient with the sign; it reaches the real weight unchanged."""
    for _ in range(steps):
        signs = _signs(w)
        w = (w - lr * gradient_of(signs) * signs).clamp(-1, 1)
    return w.clone()
