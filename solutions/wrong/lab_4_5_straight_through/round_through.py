"""Wrong answers to exercise 4.5.1: round through."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _through(x: Tensor, forward: Callable[[Tensor], Tensor], backward: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Value and way back as two functions; ``backward`` gets the incoming gradient and x."""

    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return forward(x)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return backward(grads[0], ctx.saved_tensors[0])

    return Through.apply(x)


def torch_alone(x: Tensor) -> Tensor:
    """You call torch.round and leave its gradient, which is 0 everywhere."""
    return torch.round(x)


def detached(x: Tensor) -> Tensor:
    """Your result does not depend on x for autograd: the detached term stands alone."""
    return torch.round(x).detach()


def not_rounded(x: Tensor) -> Tensor:
    """Your values are those of x: nothing is rounded on the way forward."""
    return _through(x, torch.clone, lambda grad, x: grad)


def rounds_down(x: Tensor) -> Tensor:
    """You round down; the nearest whole number is asked for."""
    return _through(x, torch.floor, lambda grad, x: grad)


def cuts_towards_zero(x: Tensor) -> Tensor:
    """You cut the digits behind the point; the nearest whole number is asked for."""
    return _through(x, torch.trunc, lambda grad, x: grad)


def halves_up(x: Tensor) -> Tensor:
    """Your halves go up; they go to the even neighbour."""
    return _through(x, lambda x: torch.floor(x + 0.5), lambda grad, x: grad)


def halves_away_from_zero(x: Tensor) -> Tensor:
    """Your halves go away from zero; they go to the even neighbour."""
    return _through(x, lambda x: torch.sign(x) * torch.floor(x.abs() + 0.5), lambda grad, x: grad)


def ones_go_out(x: Tensor) -> Tensor:
    """Your way back returns ones; the gradient that comes in has to go out."""
    return _through(x, torch.round, lambda grad, x: torch.ones_like(grad))


def only_near_zero(x: Tensor) -> Tensor:
    """Your gradient stops where |x| is above 1: that is the estimator of a sign."""
    return _through(x, torch.round, lambda grad, x: grad * (x.abs() <= 1))


def clipped_gradient(x: Tensor) -> Tensor:
    """You clip the gradient to [-1, 1]; it should pass unchanged, whatever its size."""
    return _through(x, torch.round, lambda grad, x: grad.clamp(-1, 1))


def sign_of_the_gradient(x: Tensor) -> Tensor:
    """You pass on only the sign of the gradient."""
    return _through(x, torch.round, lambda grad, x: torch.sign(grad))


def counted_twice(x: Tensor) -> Tensor:
    """Your gradient is twice what comes in: x reaches the result on two ways."""
    return _through(x, torch.round, lambda grad, x: 2 * grad)


def turned_round(x: Tensor) -> Tensor:
    """Your gradient has the wrong sign: the wrong one of the two terms is detached."""
    return torch.round(x).detach() - (x - x.detach())


def slope_of_the_value(x: Tensor) -> Tensor:
    """Your gradient is multiplied by the rounded value."""
    return _through(x, torch.round, lambda grad, x: grad * torch.round(x))


def overwrites_its_input(x: Tensor) -> Tensor:
    """Your function rounds the caller's tensor in place."""
    y = _through(x, torch.round, lambda grad, x: grad)
    x.data.round_()
    return y


def through_whole_numbers(x: Tensor) -> Tensor:
    """Your result is float32 also where x is float64."""
    return _through(x.float(), torch.round, lambda grad, x: grad)
