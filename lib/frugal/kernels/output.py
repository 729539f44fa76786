"""What becomes of an int32 sum: the second half of every int8 layer.

Paper:   [19] Jacob et al., CVPR 2018, sections 2.2 and 2.4.
Formula: acc = Σ (x - x_zero_point) · w + bias                                              int32
         sums          y = acc
         reals         y = float32(acc) · scale
         codes         r = float32(acc) · scale  [+ float32(residual - its zero_point) · its scale]
                       y = clamp(round(r) + zero_point, low, high)                          halves to even
         fixed point   y = clamp(round(acc · multiplier / 2^(31 + shift)) + zero_point, low, high)   halves up, int64

Every product and every sum of reals is rounded to float32 once; nothing is fused. ``scale`` is per output channel and
costs nothing: it is applied to the finished sum. ``low`` and ``high`` are ReLU, ReLU6 or any other clamp.
csrc/format.h says the same to the C++ side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from frugal.core.check import describe

CODES = {torch.uint8: (0, 255), torch.int8: (-128, 127)}
LOWEST_SHIFT, HIGHEST_SHIFT = -30, 31  # so that 64 bits hold acc · multiplier and its rounding term


@dataclass(frozen=True)
class Residual:
    """A tensor of codes that is added before the result is rounded: the shortcut of a residual block.

    scale:      steps of the output per step of the residual, float32.
    zero_point: the residual's code of real 0.
    """

    scale: float
    zero_point: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.scale < math.inf:
            raise ValueError(f"residual scale must be finite and not negative, got {self.scale}")


@dataclass(frozen=True, eq=False)
class Output:
    """What becomes of a sum. Made by ``sums``, ``reals``, ``codes`` or ``fixed_point``.

    dtype:             of the result: int32, float32, uint8 or int8.
    scale:             float32 [out] or [1]; None where there is none.
    multiplier, shift: int32 [out] or [1] each; None unless fixed point.
    zero_point:        the code of real 0.
    low, high:         the smallest and the largest code.
    residual:          how a second tensor of codes is added, or None.
    """

    dtype: torch.dtype
    scale: Tensor | None = None
    multiplier: Tensor | None = None
    shift: Tensor | None = None
    zero_point: int = 0
    low: int = 0
    high: int = 0
    residual: Residual | None = None

    def __post_init__(self) -> None:
        if self.scale is not None:
            _check_scale(self.scale)
        if self.dtype in CODES:
            _check_codes(self)

    def expanded(self, out: int) -> Output:
        """The same with one value per output channel."""
        return replace(
            self,
            scale=_per_channel(self.scale, out, "scale"),
            multiplier=_per_channel(self.multiplier, out, "multiplier"),
            shift=_per_channel(self.shift, out, "shift"),
        )


def sums() -> Output:
    """The int32 sums themselves."""
    return Output(torch.int32)


def reals(scale: Tensor | float) -> Output:
    """Real numbers, float32: sum · scale.

    Args:
        scale: real units per step of the sum, one number or [out].
    """
    return Output(torch.float32, _float_tensor(scale))


def codes(
    scale: Tensor | float,
    *,
    dtype: torch.dtype = torch.uint8,
    zero_point: int = 0,
    low: int | None = None,
    high: int | None = None,
    residual: Residual | None = None,
) -> Output:
    """8-bit codes, by a float32 scale.

    Args:
        scale: steps of the output per step of the sum (x_scale · w_scale / y_scale), one number or [out].
        dtype: uint8 or int8.
        zero_point: the output's code of real 0.
        low, high: clamp the codes; ``low=zero_point`` is ReLU. None: the ends of dtype.
        residual: how a second tensor of the same dtype is added.
    """
    low, high = _clamp(dtype, low, high)
    return Output(dtype, _float_tensor(scale), None, None, zero_point, low, high, residual)


def fixed_point(
    multiplier: Tensor,
    shift: Tensor,
    *,
    dtype: torch.dtype = torch.uint8,
    zero_point: int = 0,
    low: int | None = None,
    high: int | None = None,
) -> Output:
    """8-bit codes by integer arithmetic alone, [19] equation (6): the scale is multiplier / 2^(31 + shift).

    Args:
        multiplier, shift: int32, one value or [out] each; ``to_fixed_point`` makes them.
        dtype, zero_point, low, high: as for ``codes``.
    """
    low, high = _clamp(dtype, low, high)
    _check_int32(multiplier, "multiplier", 0, 2**31 - 1)
    _check_int32(shift, "shift", LOWEST_SHIFT, HIGHEST_SHIFT)
    return Output(dtype, None, multiplier, shift, zero_point, low, high)


def to_fixed_point(scale: Tensor | float) -> tuple[Tensor, Tensor]:
    """Write scales as multiplier / 2^(31 + shift), the multiplier with 31 bits where the scale is above 2^-32.

    Args:
        scale: from 0 up to 2^30, one number or [out].

    Returns:
        multiplier, shift: int32, of the same shape.

    >>> multiplier, shift = to_fixed_point(0.375)
    >>> multiplier.item() / 2 ** (31 + shift.item())
    0.375
    """
    exact = torch.as_tensor(scale, dtype=torch.float64)
    if not ((exact >= 0) & (exact < 2.0**30)).all():
        raise ValueError(f"scale must be from 0 to 2^30 to fit a multiplier and a shift, got {describe(exact)}")
    mantissa, exponent = torch.frexp(exact)  # scale = mantissa · 2^exponent, mantissa from 0.5 to 1
    shift = (-exponent).clamp(LOWEST_SHIFT, HIGHEST_SHIFT)
    multiplier = torch.round(torch.ldexp(mantissa, exponent + 31 + shift)).clamp(max=2**31 - 1)
    return multiplier.to(torch.int32), shift.to(torch.int32)


def _clamp(dtype: torch.dtype, low: int | None, high: int | None) -> tuple[int, int]:
    if dtype not in CODES:
        raise ValueError(f"codes have dtype torch.uint8 or torch.int8, got {dtype}")
    first, last = CODES[dtype]
    return first if low is None else low, last if high is None else high


def _check_codes(output: Output) -> None:
    first, last = CODES[output.dtype]
    if not first <= output.zero_point <= last:
        raise ValueError(f"zero_point must be a code of {output.dtype}, {first} to {last}, got {output.zero_point}")
    if not first <= output.low <= output.high <= last:
        raise ValueError(
            f"low and high must be codes, {first} <= low <= high <= {last}, got {output.low}, {output.high}"
        )
    if output.residual is not None and not first <= output.residual.zero_point <= last:
        raise ValueError(
            f"the residual's zero_point must be a code of {output.dtype}, {first} to {last}, "
            f"got {output.residual.zero_point}"
        )


def _check_scale(scale: Tensor) -> None:
    if not (torch.isfinite(scale) & (scale >= 0)).all():
        raise ValueError(f"scale must be finite and not negative, got {describe(scale)}, lowest {scale.min():g}")


def _check_int32(x: Tensor, name: str, low: int, high: int) -> None:
    if not isinstance(x, Tensor) or x.dtype != torch.int32 or x.ndim > 1 or x.numel() == 0:
        raise TypeError(f"{name} must be int32 [out] or a single value, got {describe(x)}; to_fixed_point makes it")
    if not ((x >= low) & (x <= high)).all():
        raise ValueError(f"{name} must be from {low} to {high}, got {x.min().item()} to {x.max().item()}")


def _float_tensor(scale: Tensor | float) -> Tensor:
    x = torch.as_tensor(scale, dtype=torch.float32).detach()
    if x.ndim > 1 or x.numel() == 0:
        raise ValueError(f"scale must be one number or [out], got {describe(x)}")
    return x.reshape(-1)


def _per_channel(x: Tensor | None, out: int, name: str) -> Tensor | None:
    if x is None:
        return None
    if x.numel() not in (1, out):
        raise ValueError(f"{name} has {x.numel()} values but there are {out} outputs; give one value or {out}")
    return x.reshape(-1).expand(out).contiguous()
