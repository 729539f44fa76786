"""OMSE: the scale whose codes err least in squares; where one tensor of codes is too coarse, the sum of several.

Paper:   [10] Choukroun, Kravchik, Yang and Kisilev, ICCV Workshops 2019, sections 3 and 4.
Formula: α* = argmin over α of |x - α · clamp(round(x / α))|²
         x ≈ Σ α_i q_i        greedily on what is left, then each pair again with the others held fixed
Lesson:  the largest value is a bad ruler; two 4-bit tensors say almost what an 8-bit one does.
Learn:   course/4_quantization/4_5_post_training.ipynb; lab 4.4

The error is no convex function of α: a grid of ratios finds the valley, golden section its floor. The paper's text was
not at hand for the alternating step and the choice of layers; both are as described here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.core.check import check_finite, check_num_bits
from frugal.quant.affine import QParams, dequantize, qparams_from_range, quantize
from frugal.quant.granularity import Granularity, PerTensor

GOLDEN = (math.sqrt(5) - 1) / 2


def choose_qparams(
    x: Tensor,
    num_bits: int = 4,
    *,
    granularity: Granularity | None = None,
    symmetric: bool = True,
    signed: bool = True,
    candidates: int = 100,
) -> QParams:
    """Choose for each block the fraction of its range whose codes err least in squares, never more than the range.

    Args:
        x: any shape, finite reals.
        num_bits, granularity, symmetric, signed: as in ``affine.choose_qparams``.
        candidates: ratios tried before the best one is refined; the whole range is one of them.
    """
    check_num_bits(num_bits)
    check_finite(x, "x")
    if candidates < 2:
        raise ValueError(f"candidates must be at least 2, got {candidates}")
    granularity = granularity or PerTensor()
    search = _Search(x, num_bits, granularity, symmetric, signed)
    ratios = torch.linspace(1, 0, candidates + 1, dtype=torch.float64)[:-1]
    best, least = search.shaped(1.0), search.error(search.shaped(1.0))
    for ratio in ratios[1:].tolist():
        error = search.error(search.shaped(ratio))
        best, least = torch.where(error < least, ratio, best), torch.minimum(error, least)
    best = _golden_section(search, best, 1 / candidates)
    return search.qparams(best)


@dataclass
class _Search:
    """Squared error of each block as a function of the ratio by which its range shrinks."""

    x: Tensor
    num_bits: int
    granularity: Granularity
    symmetric: bool
    signed: bool

    def __post_init__(self) -> None:
        self.x = self.x.detach()
        self.low, self.high = self.granularity.blocks(self.x).aminmax(dim=-1)

    def shaped(self, ratio: float) -> Tensor:
        return torch.full_like(self.low, ratio, dtype=torch.float64)

    def qparams(self, ratio: Tensor) -> QParams:
        low, high = (self.low * ratio).to(self.low.dtype), (self.high * ratio).to(self.high.dtype)
        return qparams_from_range(
            low, high, self.num_bits, symmetric=self.symmetric, granularity=self.granularity, signed=self.signed
        )

    def error(self, ratio: Tensor) -> Tensor:
        qparams = self.qparams(ratio)
        rounded = dequantize(quantize(self.x, qparams), qparams)
        return self.granularity.blocks((rounded - self.x).double().pow(2)).sum(-1)


def _golden_section(search: _Search, best: Tensor, width: float, steps: int = 12) -> Tensor:
    """Narrow [best - width, best + width], each step around the better of two points; never worse than ``best``."""
    start, least = best, search.error(best)
    low, high = (best - width).clamp(min=width / 2), (best + width).clamp(max=1)
    for _ in range(steps):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        go_left = search.error(left) < search.error(right)
        low, high = torch.where(go_left, low, left), torch.where(go_left, right, high)
    middle = (low + high) / 2
    return torch.where(search.error(middle) < least, middle, start)


@dataclass(frozen=True, eq=False)
class CodeSum:
    """A tensor as a sum of tensors of codes: x ≈ Σ scale_i · codes_i.

    codes:   int8 tensors of one shape.
    qparams: what each of them stands for.
    """

    codes: tuple[Tensor, ...]
    qparams: tuple[QParams, ...]

    def dequantize(self) -> Tensor:
        """The reals that the sum stands for."""
        parts = [dequantize(q, qparams) for q, qparams in zip(self.codes, self.qparams, strict=True)]
        return torch.stack(parts).sum(0)


def sum_of_codes(
    x: Tensor, num_bits: int, count: int, *, granularity: Granularity | None = None, rounds: int = 3
) -> CodeSum:
    """Write ``x`` as a sum of ``count`` tensors of codes.

    Args:
        x: any shape, finite reals.
        num_bits: of each part.
        count: parts, one or more. A layer pays one product for each.
        rounds: how often each part is fitted again to what the others leave.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    check_finite(x, "x")
    parts: list[Tensor] = []
    chosen: list[tuple[Tensor, QParams]] = []
    for _ in range(count):
        rest = x - _total(parts, x)
        chosen.append(_fit(rest, num_bits, granularity))
        parts.append(dequantize(*chosen[-1]))
    for _ in range(rounds if count > 1 else 0):
        for i in range(count):
            rest = x - _total(parts[:i] + parts[i + 1 :], x)
            again = _fit(rest, num_bits, granularity)
            if (rest - dequantize(*again)).pow(2).sum() < (rest - parts[i]).pow(2).sum():
                chosen[i], parts[i] = again, dequantize(*again)
    return CodeSum(tuple(codes for codes, _ in chosen), tuple(qparams for _, qparams in chosen))


def _fit(x: Tensor, num_bits: int, granularity: Granularity | None) -> tuple[Tensor, QParams]:
    qparams = choose_qparams(x, num_bits, granularity=granularity)
    return quantize(x, qparams), qparams


def _total(parts: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(parts).sum(0) if parts else torch.zeros_like(like)
