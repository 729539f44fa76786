"""Arithmetic by shifts: where a factor is a power of two, a product is a shift of bits.

Paper:   [18] Hubara et al. 2016, shift-based batch normalization and shift-based AdaMax, as the authors' code has them.
Formula: AP2(x) = sign(x) · 2^round(log2|x|)                 the nearest power of two on a logarithmic scale
         C = x - mean(x),  v = mean(C · AP2(C)),  y = C · AP2(1 / sqrt(v + ε)) · AP2(γ) + β
         AdaMax: m ← β1 m + (1 - β1) g,  u ← max(β2 u, |g|),  θ ← θ - AP2(lr / (1 - β1^t)) · m · AP2(1 / (u + ε))
Learn:   course/4_quantization/4_7_straight_through.ipynb
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, describe
from frugal.quant.ste import replace_through


def ap2(x: Tensor) -> Tensor:
    """Return the power of two that is nearest on a logarithmic scale, with the sign of ``x``; 0 for 0.

    The decision between 1 and 2 falls at sqrt(2), not at 1.5.

    >>> ap2(torch.tensor([1.4, 1.45, -6.0, 0.0])).tolist()
    [1.0, 2.0, -8.0, 0.0]
    """
    check_finite(x, "x")
    power = torch.exp2(torch.round(torch.log2(x.abs())))
    return torch.where(x == 0, torch.zeros_like(x), torch.sign(x) * power)


class ShiftBatchNorm(nn.Module):
    """Batch norm whose factors are powers of two; [n, channels] or [n, channels, h, w].

    The gradient takes the same powers as the forward pass, and passes through AP2 itself unchanged.

    Args:
        channels: how many.
        momentum: how fast the running statistics follow, 1/8 in the authors' code.
        eps: added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float = 0.125, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels, self.momentum, self.eps = channels, momentum, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in (2, 4) or x.shape[1] != self.channels:
            raise ValueError(f"x must be [n, {self.channels}] or [n, {self.channels}, h, w], got {describe(x)}")
        shape = [1, -1] + [1] * (x.ndim - 2)
        mean, var = self.running_mean, self.running_var
        if self.training:
            dims = [dim for dim in range(x.ndim) if dim != 1]
            mean = x.mean(dims)
            centred = x - mean.view(shape)
            var = (centred * _ap2_through(centred)).mean(dims)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var, self.momentum)
        factor = _ap2_through(torch.rsqrt(var + self.eps)) * _ap2_through(self.weight)
        return (x - mean.view(shape)) * factor.view(shape) + self.bias.view(shape)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Factor and shift per channel in eval mode, float64."""
        spread = torch.rsqrt(self.running_var.double() + self.eps)
        factor = ap2(spread) * ap2(self.weight.detach().double())
        return factor, self.bias.detach().double() - self.running_mean.double() * factor


def _ap2_through(x: Tensor) -> Tensor:
    return replace_through(x, ap2(x.detach()))


class ShiftAdaMax(torch.optim.Optimizer):
    """AdaMax whose two factors are powers of two, so that an update of a weight is a shift of its momentum.

    Args:
        params: what to train.
        lr: a power of two, such as 2^-10.
        betas: how slowly momentum and largest gradient forget.
        eps: added to the largest gradient, 2^-27 in the authors' code.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2.0**-10,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 2.0**-27,
    ) -> None:
        if not lr > 0 or not eps > 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"lr and eps must be above 0, betas from 0 to below 1, got {lr}, {eps} and {betas}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state["step"], state["momentum"] = 0, torch.zeros_like(parameter)
            state["largest"] = torch.zeros_like(parameter)
        state["step"] += 1
        state["momentum"].lerp_(grad, 1 - beta1)
        torch.maximum(state["largest"] * beta2, grad.abs(), out=state["largest"])
        rate = ap2(torch.tensor(group["lr"] / (1 - beta1 ** state["step"]), dtype=parameter.dtype))
        parameter.sub_(rate * state["momentum"] * ap2(1 / (state["largest"] + group["eps"])))
