"""Checks of arguments: each refuses a bad value with what was asked, what came, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def describe(x: object) -> str:
    """Say in a few words what an argument is: ``float32 [3, 4], 2 of 12 values not finite``."""
    import torch

    if not isinstance(x, torch.Tensor):
        return f"{type(x).__name__} {x!r}"
    words = f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
    if x.numel() == 0:
        return f"{words}, empty"
    if x.is_floating_point():
        bad = x.numel() - int(torch.isfinite(x).sum())
        if bad:
            return f"{words}, {bad} of {x.numel()} values not finite"
    return words


def check_num_bits(num_bits: int, low: int = 2, high: int = 8) -> None:
    """Refuse a bit width that is not a whole number from ``low`` to ``high``."""
    if isinstance(num_bits, bool) or not isinstance(num_bits, int):
        raise TypeError(f"num_bits must be an int from {low} to {high}, got {describe(num_bits)}")
    if not low <= num_bits <= high:
        raise ValueError(f"num_bits must be from {low} to {high}, got {num_bits}")


def check_float(x: Tensor, name: str) -> None:
    """Refuse anything but a floating point tensor."""
    import torch

    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {describe(x)}; torch.as_tensor makes one")
    if not x.is_floating_point():
        raise TypeError(f"{name} must hold real numbers (a float dtype), got {describe(x)}; {name}.float() converts it")


def check_finite(x: Tensor, name: str) -> None:
    """Refuse a tensor that is empty, is not of a float dtype, or holds nan or infinity."""
    import torch

    check_float(x, name)
    if x.numel() == 0:
        raise ValueError(f"{name} must hold at least one value, got {describe(x)}")
    if not torch.stack(x.detach().aminmax()).isfinite().all():  # nan and infinity both reach the ends
        raise ValueError(f"{name} must be finite, got {describe(x)}; find the layer that made it before quantizing")


def check_axis(axis: int, ndim: int, name: str) -> int:
    """Return ``axis`` counted from the front, or refuse one that a tensor of ``ndim`` dimensions does not have."""
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise TypeError(f"axis must be an int, got {describe(axis)}")
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis {axis} does not exist: {name} has {ndim} dimensions, so {-ndim} to {ndim - 1} do")
    return axis % ndim
