"""What prepared layers share: the choice of a path, and the way in for compilers and counters.

A layer is prepared once (weights packed, zero-point folded into the bias, everything checked) and called often. A call
goes straight to the native library. Where torch is watching (torch.compile, torch.export, FlopCounterMode, fake
tensors) it goes through an operator of torch.library, which they can see.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from frugal.kernels import dispatch


def is_watched(x: object) -> bool:
    """Whether torch traces or counts what is done to this tensor."""
    if torch.compiler.is_compiling():
        return True
    return isinstance(x, Tensor) and (type(x) is not Tensor or is_in_torch_dispatch_mode())


def check_x_dtype(x_dtype: torch.dtype) -> None:
    """Refuse activations that are no 8-bit codes."""
    if x_dtype not in (torch.uint8, torch.int8):
        raise ValueError(f"x_dtype must be torch.uint8 or torch.int8, got {x_dtype}")


class Plan:
    """Base of the prepared layers."""

    def __init__(self) -> None:
        self._path = dispatch.choose()

    def path(self, isa: str | None = None) -> int | None:
        """The native path of a call; None for the reference."""
        return self._path if isa is None else dispatch.choose(isa)


def copy_to(out: Tensor | None, y: Tensor) -> Tensor:
    """Return y, in ``out`` where that was given."""
    return y if out is None else out.copy_(y)
