"""Granularity: which values of a tensor share one scale.

Lecture: slide 22 (per-tensor, per-channel). Words: torchao's granularity objects.
Learn:   course/4_quantization/4_3_per_channel.ipynb

A weight [out, in] = [2, 4], one letter per scale:

    PerTensor()      PerChannel(axis=0)     PerGroup(group_size=2)     PerToken()
    a a a a          a a a a                a a b b                    a a a a
    a a a a          b b b b                c c d d                    b b b b
    scale []         scale [2]              scale [2, 2]               scale [2]

``PerChannel`` counts along one axis and shares over all others; ``PerToken`` shares over the last axis alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from frugal.core.check import check_axis

if TYPE_CHECKING:
    from torch import Tensor


class Granularity:
    """Base of the four granularities: how to cut a tensor into blocks, and how to lay one number per block over it."""

    def blocks(self, x: Tensor) -> Tensor:
        """Reshape ``x`` to [blocks..., values of one block]."""
        raise NotImplementedError

    def spread(self, parameter: Tensor, x: Tensor) -> Tensor:
        """Give one number per block, [blocks...], a shape that broadcasts against ``x``."""
        raise NotImplementedError

    def _refuse_shape(self, parameter: Tensor, expected: tuple[int, ...], x: Tensor) -> None:
        if tuple(parameter.shape) != expected:
            raise ValueError(
                f"{self} needs parameters of shape {list(expected)} for a tensor {list(x.shape)}, "
                f"got {list(parameter.shape)}; choose them from a tensor of the same shape"
            )


@dataclass(frozen=True)
class PerTensor(Granularity):
    """One scale for all values: [] for any shape."""

    def blocks(self, x: Tensor) -> Tensor:
        return x.reshape(-1)

    def spread(self, parameter: Tensor, x: Tensor) -> Tensor:
        self._refuse_shape(parameter, (), x)
        return parameter


@dataclass(frozen=True)
class PerChannel(Granularity):
    """One scale for each index along ``axis``: [out] for a weight [out, in, kh, kw] and axis 0."""

    axis: int = 0

    def blocks(self, x: Tensor) -> Tensor:
        axis = check_axis(self.axis, x.ndim, "x")
        return x.movedim(axis, 0).reshape(x.shape[axis], -1)

    def spread(self, parameter: Tensor, x: Tensor) -> Tensor:
        axis = check_axis(self.axis, x.ndim, "x")
        self._refuse_shape(parameter, (x.shape[axis],), x)
        return parameter.reshape([-1 if dim == axis else 1 for dim in range(x.ndim)])


@dataclass(frozen=True)
class PerGroup(Granularity):
    """One scale for each run of ``group_size`` values along ``axis``: [out, in / group_size] for [out, in]."""

    group_size: int
    axis: int = -1

    def __post_init__(self) -> None:
        if isinstance(self.group_size, bool) or not isinstance(self.group_size, int) or self.group_size < 1:
            raise ValueError(f"group_size must be a whole number of at least 1, got {self.group_size!r}")

    def blocks(self, x: Tensor) -> Tensor:
        axis = check_axis(self.axis, x.ndim, "x")
        if x.shape[axis] % self.group_size:
            raise ValueError(
                f"group_size {self.group_size} does not divide axis {self.axis} of {list(x.shape)}; "
                f"choose a divisor of {x.shape[axis]}"
            )
        return x.movedim(axis, -1).unflatten(-1, (-1, self.group_size))

    def spread(self, parameter: Tensor, x: Tensor) -> Tensor:
        self._refuse_shape(parameter, tuple(self.blocks(x).shape[:-1]), x)
        return parameter.repeat_interleave(self.group_size, dim=-1).movedim(-1, self.axis)


@dataclass(frozen=True)
class PerToken(Granularity):
    """One scale for each vector along the last axis: [batch, tokens] for activations [batch, tokens, features]."""

    def blocks(self, x: Tensor) -> Tensor:
        if x.ndim == 0:
            raise ValueError("PerToken needs at least one axis, got a tensor without any; use PerTensor()")
        return x

    def spread(self, parameter: Tensor, x: Tensor) -> Tensor:
        self._refuse_shape(parameter, tuple(x.shape[:-1]), x)
        return parameter.unsqueeze(-1)
