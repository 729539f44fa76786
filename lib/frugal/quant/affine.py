"""Affine quantization: reals to b-bit integer codes, and back.

Paper:   [19] Jacob et al., CVPR 2018, section 2.1; [20] Krishnamoorthi 2018. Lecture: equations (1) and (4).
Formula: q = clamp(round(x / scale) + zero_point, quant_min, quant_max)
         x ≈ scale · (q - zero_point)
         symmetric (eq. 1):  scale = alpha / (2^(b-1) - 1),     zero_point = 0
         affine (eq. 4):     scale = (high - low) / (2^b - 1),  zero_point = quant_min - round(low / scale)
Learn:   course/4_quantization/4_1_the_operator.ipynb and 4_2_zero_point.ipynb

``round`` takes halves to the even neighbour, as torch and IEEE 754 do. Slide 20 prints the smallest symmetric code
as -2^(b-1) - 1, which is -129 for 8 bits and no int8; it is -(2^(b-1) - 1), see ERRATA.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from frugal.core.check import check_finite, check_num_bits, describe
from frugal.quant.granularity import Granularity, PerTensor


@dataclass(frozen=True)
class QParams:
    """Which real number each integer code stands for.

    scale:                real units per integer step, above zero.  [] per tensor, [out] per channel, see granularity
    zero_point:           the code that stands for real 0.          int32, same shape as scale
    quant_min, quant_max: the smallest and the largest code; both fit int8, or both fit uint8.
    granularity:          which values share one scale.
    """

    scale: Tensor
    zero_point: Tensor
    quant_min: int
    quant_max: int
    granularity: Granularity = field(default_factory=PerTensor)

    def __post_init__(self) -> None:
        check_finite(self.scale, "scale")
        if not (self.scale > 0).all():
            raise ValueError(
                f"scale must be above zero, got {self.scale.min().item():g}; a step of size 0 has no codes"
            )
        if self.zero_point.dtype != torch.int32 or self.zero_point.shape != self.scale.shape:
            raise ValueError(
                f"zero_point must be int32 with the shape of scale, {list(self.scale.shape)}, "
                f"got {describe(self.zero_point)}"
            )
        signed, unsigned = (-128, 127), (0, 255)
        low, high = signed if self.quant_min < 0 else unsigned
        if not low <= self.quant_min < self.quant_max <= high:
            raise ValueError(
                f"codes from quant_min to quant_max must fit int8 {signed} or uint8 {unsigned}, "
                f"got {self.quant_min} to {self.quant_max}"
            )
        if ((self.zero_point < self.quant_min) | (self.zero_point > self.quant_max)).any():
            lowest, highest = self.zero_point.min().item(), self.zero_point.max().item()
            raise ValueError(
                f"zero_point must be a code from {self.quant_min} to {self.quant_max}, so that real 0 is exact, "
                f"got {lowest if lowest == highest else f'{lowest} to {highest}'}"
            )

    @property
    def dtype(self) -> torch.dtype:
        """The integer type that stores the codes: int8, or uint8 where no code is negative."""
        return torch.int8 if self.quant_min < 0 else torch.uint8

    @property
    def low(self) -> Tensor:
        """The smallest real number that has a code.  Shape of scale."""
        return self.scale * (self.quant_min - self.zero_point)

    @property
    def high(self) -> Tensor:
        """The largest real number that has a code.  Shape of scale."""
        return self.scale * (self.quant_max - self.zero_point)


def choose_qparams(
    x: Tensor,
    num_bits: int = 8,
    *,
    symmetric: bool = False,
    granularity: Granularity | None = None,
    signed: bool = True,
) -> QParams:
    """Choose parameters that cover every value of ``x`` and represent 0 exactly.

    Args:
        x: any shape, finite reals.
        num_bits: integer width, 2 to 8.
        symmetric: put real 0 at code 0 and give both signs the same reach (eq. 1); otherwise fit both ends (eq. 4).
        granularity: which values share one scale; ``PerTensor()`` by default.
        signed: int8 codes; otherwise uint8, which symmetric parameters allow for ``x >= 0`` only.

    Returns:
        Parameters whose rounding error on ``x`` is at most ``scale / 2``.

    Raises:
        ValueError: ``x`` is empty or holds nan or infinity, or ``num_bits`` is not from 2 to 8.

    >>> qparams = choose_qparams(torch.tensor([1.0, 6.0]))  # all positive: 0 still gets a code
    >>> round(qparams.scale.item(), 4), qparams.zero_point.item()
    (0.0235, -128)
    >>> choose_qparams(torch.tensor([-2.0, 1.27]), num_bits=3, symmetric=True).quant_min
    -3
    """
    check_finite(x, "x")
    granularity = granularity or PerTensor()
    low, high = granularity.blocks(x.detach()).aminmax(dim=-1)
    return qparams_from_range(low, high, num_bits, symmetric=symmetric, granularity=granularity, signed=signed)


def qparams_from_range(
    low: Tensor,
    high: Tensor,
    num_bits: int = 8,
    *,
    symmetric: bool = False,
    granularity: Granularity | None = None,
    signed: bool = True,
) -> QParams:
    """Choose parameters for the real range from ``low`` to ``high``, widened so that it holds 0.

    Args:
        low, high: the ends of the range, one pair for each scale.  [] per tensor, [out] per channel.
        num_bits, symmetric, granularity, signed: as in ``choose_qparams``.

    Raises:
        ValueError: an end is not finite, ``low`` exceeds ``high``, or unsigned symmetric codes meet a negative ``low``.
    """
    check_num_bits(num_bits)
    check_finite(low, "low")
    check_finite(high, "high")
    if low.shape != high.shape or (low > high).any():
        raise ValueError(f"low must not exceed high, got {low.tolist()} and {high.tolist()}")
    dtype = torch.promote_types(low.dtype, torch.float32)  # half precision is too coarse for a scale
    low = low.double().clamp(max=0)  # [...]: 0 lies in the range, so zero padding and ReLU cost nothing
    high = high.double().clamp(min=0)
    if symmetric and not signed and (low < 0).any():
        raise ValueError(f"unsigned symmetric codes need values >= 0, got {low.min().item():g}; use signed=True")

    if symmetric and signed:
        quant_max = (1 << num_bits - 1) - 1
        quant_min = -quant_max
        scale = torch.maximum(-low, high) / quant_max
    else:
        quant_min, quant_max = (-(1 << num_bits - 1), (1 << num_bits - 1) - 1) if signed else (0, (1 << num_bits) - 1)
        scale = (high - low) / (quant_max - quant_min)
    scale = scale.clamp(min=torch.finfo(dtype).tiny).to(dtype)  # a denormal range would round to a step of 0
    scale = torch.where(low == high, torch.ones_like(scale), scale)  # all zeros: any step will do

    if symmetric:
        zero_point = torch.zeros_like(scale, dtype=torch.int32)
    else:
        zero_point = (quant_min - torch.round(low / scale)).clamp(quant_min, quant_max).to(torch.int32)
    return QParams(scale, zero_point, quant_min, quant_max, granularity or PerTensor())


def quantize(x: Tensor, qparams: QParams) -> Tensor:
    """Round reals to their nearest codes; what lies outside the range gets the nearest end.

    Args:
        x: any shape that the granularity of ``qparams`` fits, finite reals.
        qparams: what each code stands for.

    Returns:
        Codes of dtype ``qparams.dtype``, the shape of ``x``.

    Raises:
        ValueError: ``x`` is empty or holds nan or infinity, or its shape does not fit ``qparams``.

    >>> qparams = QParams(torch.tensor(0.5), torch.tensor(3, dtype=torch.int32), -8, 7)
    >>> quantize(torch.tensor([0.0, 0.25, 0.75, 99.0, -99.0]), qparams)  # 0.5 and 1.5 steps go to the even 0 and 2
    tensor([ 3,  3,  5,  7, -8], dtype=torch.int8)
    """
    check_finite(x, "x")
    scale = qparams.granularity.spread(qparams.scale, x)
    zero_point = qparams.granularity.spread(qparams.zero_point, x)
    x = x.to(torch.promote_types(x.dtype, scale.dtype))  # half precision cannot hold x / scale
    q = (x / scale).round_().add_(zero_point)  # in place: a whole network passes through here
    return q.clamp_(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def dequantize(q: Tensor, qparams: QParams) -> Tensor:
    """Give each code the real number that it stands for.

    Args:
        q: codes of dtype ``qparams.dtype``.
        qparams: what each code stands for.

    Returns:
        Reals of the dtype of ``qparams.scale``, the shape of ``q``.

    >>> qparams = QParams(torch.tensor(0.5), torch.tensor(3, dtype=torch.int32), -8, 7)
    >>> dequantize(torch.tensor([3, 5, -8], dtype=torch.int8), qparams)
    tensor([ 0.0000,  1.0000, -5.5000])
    """
    if not isinstance(q, Tensor) or q.dtype != qparams.dtype:
        raise TypeError(f"q must hold codes of dtype {qparams.dtype}, got {describe(q)}")
    scale = qparams.granularity.spread(qparams.scale, q)
    zero_point = qparams.granularity.spread(qparams.zero_point, q)
    return q.to(scale.dtype).sub_(zero_point).mul_(scale)  # int8 - int8 would wrap: 127 - (-128) needs 9 bits
