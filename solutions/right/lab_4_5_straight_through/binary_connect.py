"""Right answers to exercise 4.5.6, each written differently."""

from collections.abc import Callable

import torch
from torch import Tensor

Gradient = Callable[[Tensor], Tensor]


def in_a_copy_of_its_own(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    real = w.detach().clone()
    for _ in range(steps):
        real.sub_(lr * gradient_of((real >= 0).float() * 2 - 1)).clamp_(-1, 1)
    return real


def by_recursion(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    if steps == 0:
        return w.clone()
    stepped = w - lr * gradient_of(torch.where(w < 0, -1.0, 1.0))
    return by_recursion(stepped.clamp(-1, 1), gradient_of, lr, steps - 1)


def with_copysign(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    real = w + 0.0
    while steps > 0:
        signs = torch.copysign(torch.ones_like(real), real + 0.0 * real.abs())
        signs = torch.where(real == 0, torch.ones_like(real), signs)
        real = torch.minimum(
            torch.maximum(real - gradient_of(signs) * lr, -torch.ones_like(real)), torch.ones_like(real)
        )
        steps -= 1
    return real


def with_an_optimizer(w: Tensor, gradient_of: Gradient, lr: float, steps: int) -> Tensor:
    real = torch.nn.Parameter(w.detach().clone())
    stepper = torch.optim.SGD([real], lr=lr)
    for _ in range(steps):
        real.grad = gradient_of(torch.where(real.detach() >= 0, 1.0, -1.0)).expand(real.shape).clone()
        stepper.step()
        with torch.no_grad():
            real.clamp_(-1, 1)
    return real.detach()
