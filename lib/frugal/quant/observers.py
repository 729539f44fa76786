"""Observers: watch tensors go by, then say which real range the codes should cover.

Papers:  [19] section 3.1 (moving average), [20] section 2 (min-max), TensorRT's entropy calibration (KL), [10] (MSE).
Lecture: slides 20 and 24. Learn: course/4_quantization/4_1_the_operator.ipynb

    MinMax           every value seen                     never clips; one outlier spoils the step
    MovingAverage    smoothed ends of each batch          for training, where ranges drift
    Percentile       all but the rarest values            clips a stated share at each end
    KL               the range whose codes keep the shape of the distribution
    MSE              the range whose codes err least in squares

The last three keep a histogram, not the data: their memory does not grow with the calibration set.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from frugal.core.check import check_finite, check_num_bits, describe
from frugal.quant.affine import QParams, qparams_from_range
from frugal.quant.granularity import Granularity, PerTensor


class Observer:
    """Base: ``observe`` tensors, then ask for the ``range`` or for the ``qparams`` that cover it.

    Args:
        num_bits, symmetric, granularity, signed: what the codes will be, as in ``choose_qparams``.
    """

    def __init__(
        self,
        num_bits: int = 8,
        *,
        symmetric: bool = False,
        granularity: Granularity | None = None,
        signed: bool = True,
    ) -> None:
        check_num_bits(num_bits)
        self.num_bits = num_bits
        self.symmetric = symmetric
        self.granularity = granularity or PerTensor()
        self.signed = signed

    def observe(self, x: Tensor) -> None:
        """Take one more tensor into account; every tensor has the same number of blocks."""
        check_finite(x, "x")
        self._update(self.granularity.blocks(x.detach()))

    def range(self) -> tuple[Tensor, Tensor]:
        """Return the low and the high end, one pair for each block."""
        raise NotImplementedError

    def qparams(self) -> QParams:
        """Return the parameters that cover the range."""
        return self._qparams(*self.range())

    def _update(self, blocks: Tensor) -> None:
        raise NotImplementedError

    def _qparams(self, low: Tensor, high: Tensor, granularity: Granularity | None = None) -> QParams:
        granularity = granularity or self.granularity
        return qparams_from_range(
            low, high, self.num_bits, symmetric=self.symmetric, granularity=granularity, signed=self.signed
        )


class MinMax(Observer):
    """Cover every value seen."""

    low: Tensor | None = None
    high: Tensor | None = None

    def _update(self, blocks: Tensor) -> None:
        low, high = blocks.aminmax(dim=-1)
        if self.low is None or self.high is None:
            self.low, self.high = low, high
            return
        if low.shape != self.low.shape:
            raise ValueError(
                f"this observer has seen tensors of {list(self.low.shape)} blocks, now {list(low.shape)}; "
                f"{self.granularity} needs the same number every time"
            )
        self.low, self.high = self._merge(low, high)

    def _merge(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        seen_low, seen_high = self.seen()
        return torch.minimum(seen_low, low), torch.maximum(seen_high, high)

    def seen(self) -> tuple[Tensor, Tensor]:
        """Return the smallest and the largest value so far (or their moving averages), one pair for each block."""
        if self.low is None or self.high is None:
            raise ValueError("this observer has seen nothing yet; call observe(x) before asking for a range")
        return self.low, self.high

    def range(self) -> tuple[Tensor, Tensor]:
        return self.seen()


class MovingAverage(MinMax):
    """Follow the ends of each batch slowly: end ← end + averaging_constant · (end of this batch - end).

    The first batch sets the ends, so that they do not start from 0.
    """

    def __init__(self, num_bits: int = 8, *, averaging_constant: float = 0.01, **codes: Any) -> None:
        super().__init__(num_bits, **codes)
        if not 0 < averaging_constant <= 1:
            raise ValueError(f"averaging_constant must be above 0 and at most 1, got {averaging_constant}")
        self.averaging_constant = averaging_constant

    def _merge(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        seen_low, seen_high = self.seen()
        return torch.lerp(seen_low, low, self.averaging_constant), torch.lerp(seen_high, high, self.averaging_constant)


class Histogram(MinMax):
    """Base of the observers that need to know how the values are distributed.

    Each block has ``bins`` equal bins over [-edge, edge], where ``edge`` is the power of two just above its largest
    magnitude. When a larger value comes, edge doubles and two bins become one, exactly:

        edge 1   |0|1|2|3|4|5|6|7|
        edge 2   |. . 0+1 2+3 4+5 6+7 . .|

    So the order and the batching of what is observed cannot matter.
    """

    NO_EDGE = -1000  # the exponent of a block that has seen nothing but zeros
    counts: Tensor | None = None  # float64 [blocks, bins]
    exponent: Tensor  # int64 [blocks]: edge = 2^exponent

    def __init__(self, num_bits: int = 8, *, bins: int = 4096, **codes: Any) -> None:
        super().__init__(num_bits, **codes)
        if bins % 4 or bins < 4 << num_bits:
            raise ValueError(f"bins for {num_bits} bits must be a multiple of 4 from {4 << num_bits} on, got {bins}")
        self.bins = bins

    def _update(self, blocks: Tensor) -> None:
        super()._update(blocks)
        values = blocks.reshape(-1, blocks.shape[-1]).double()  # [blocks, values]
        largest = values.abs().amax(dim=-1)
        exponent = torch.where(largest > 0, torch.frexp(largest).exponent.long(), self.NO_EDGE)  # largest < 2^exponent
        if self.counts is None:
            self.counts = torch.zeros(len(values), self.bins, dtype=torch.float64)
            self.exponent = exponent
        only_zeros = self.exponent == self.NO_EDGE  # they sit in the middle bin, whatever the edge
        self.exponent = torch.where(only_zeros, exponent, self.exponent)
        while (exponent > self.exponent).any():
            self._double_edge(exponent > self.exponent)
        index = ((values / self._edge()[:, None] + 1) * (self.bins / 2)).long().clamp(0, self.bins - 1)
        self.counts.scatter_add_(1, index, torch.ones_like(values))

    def _edge(self) -> Tensor:
        return torch.exp2(self.exponent.double())  # [blocks]

    def _double_edge(self, grow: Tensor) -> None:
        assert self.counts is not None
        quarter = self.bins // 4
        merged = torch.zeros_like(self.counts)
        merged[:, quarter:-quarter] = self.counts.unflatten(1, (-1, 2)).sum(-1)
        self.counts = torch.where(grow[:, None], merged, self.counts)
        self.exponent = self.exponent + grow.long()

    def _centers(self) -> Tensor:
        """Return the middle of each bin, held inside the values seen.  [blocks, bins]"""
        low, high = self._ends()
        middle = (torch.arange(self.bins).double() + 0.5) * (2 / self.bins) - 1  # [bins], from -1 to 1
        return (middle * self._edge()[:, None]).clamp(low[:, None], high[:, None])

    def _ends(self) -> tuple[Tensor, Tensor]:
        low, high = self.seen()
        return low.double().reshape(-1), high.double().reshape(-1)

    def _shaped(self, ends: Tensor) -> Tensor:
        """Give per-block numbers the shape and dtype that the granularity expects."""
        low, _ = self.seen()
        return ends.reshape(low.shape).to(low.dtype)


class Percentile(Histogram):
    """Cover all but the rarest values: ``100 - percentile`` per cent are clipped at each end that is not 0 anyway."""

    def __init__(self, num_bits: int = 8, *, percentile: float = 99.9, **codes: Any) -> None:
        super().__init__(num_bits, **codes)
        if not 50 < percentile <= 100:
            raise ValueError(f"percentile must be above 50 and at most 100, got {percentile}")
        self.percentile = percentile

    def range(self) -> tuple[Tensor, Tensor]:
        low, high = self._ends()
        assert self.counts is not None
        share = self.counts.cumsum(1) / self.counts.sum(1, keepdim=True)  # [blocks, bins]: at or below this bin
        edge = self._edge()
        width = 2 * edge / self.bins
        tail = 1 - self.percentile / 100
        at_low = (share <= tail).sum(1) * width - edge  # left end of the first bin to keep
        at_high = ((share < 1 - tail).sum(1) + 1) * width - edge  # right end of the last
        return self._shaped(torch.maximum(low, at_low)), self._shaped(torch.minimum(high, at_high))


class _Search(Histogram):
    """Try shrinking the range of all values seen, and keep the one with the smallest loss."""

    def __init__(self, num_bits: int = 8, *, candidates: int = 100, **codes: Any) -> None:
        super().__init__(num_bits, **codes)
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {candidates}")
        self.candidates = candidates

    def range(self) -> tuple[Tensor, Tensor]:
        low, high = self._ends()
        centers = self._centers()
        best_low, best_high = low, high
        best_loss = self._loss(centers, low, high)
        for ratio in torch.linspace(1, 0, self.candidates + 1)[1:-1].tolist():
            loss = self._loss(centers, ratio * low, ratio * high)
            better = loss < best_loss
            best_loss = torch.where(better, loss, best_loss)
            best_low = torch.where(better, ratio * low, best_low)
            best_high = torch.where(better, ratio * high, best_high)
        return self._shaped(best_low), self._shaped(best_high)

    def _codes(self, centers: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, QParams]:
        """Return the unclamped code of each bin, and the parameters.  [blocks, bins]"""
        qparams = self._qparams(low, high, PerTensor())
        return torch.round(centers / qparams.scale[:, None]) + qparams.zero_point[:, None], qparams

    def _loss(self, centers: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return how bad the range is for each block.  [blocks]"""
        raise NotImplementedError


class MSE(_Search):
    """Choose the range whose codes have the smallest mean squared error."""

    def _loss(self, centers: Tensor, low: Tensor, high: Tensor) -> Tensor:
        codes, qparams = self._codes(centers, low, high)
        codes = codes.clamp(qparams.quant_min, qparams.quant_max)
        error = (codes - qparams.zero_point[:, None]) * qparams.scale[:, None] - centers
        assert self.counts is not None
        return (self.counts * error**2).sum(1)


class KL(_Search):
    """Choose the range whose codes keep the distribution, measured by the Kullback-Leibler divergence.

    P is the histogram with what is clipped piled on the outermost bins kept; Q spreads the count that each code
    received evenly over its occupied bins, without the clipped values. A range that clips much has a P that Q lacks.
    """

    SMOOTHING = 1e-4  # of a count: Q must be above 0 wherever P is

    def _loss(self, centers: Tensor, low: Tensor, high: Tensor) -> Tensor:
        counts = self._counts_without_spike()
        codes, qparams = self._codes(centers, low, high)
        inside = (codes >= qparams.quant_min) & (codes <= qparams.quant_max)
        kept = torch.where(inside, counts, 0.0)
        occupied = (kept > 0).double()
        slot = (codes.clamp(qparams.quant_min, qparams.quant_max) - qparams.quant_min).long()  # [blocks, bins]
        levels = qparams.quant_max - qparams.quant_min + 1
        zeros = torch.zeros(len(centers), levels, dtype=torch.float64)
        mass = zeros.scatter_add(1, slot, kept)
        width = zeros.scatter_add(1, slot, occupied).clamp(min=1)
        q = (mass / width).gather(1, slot) * occupied

        p = kept.clone()
        index = torch.arange(self.bins)
        first = torch.where(inside, index, self.bins).amin(1).clamp(max=self.bins - 1)
        last = torch.where(inside, index, -1).amax(1).clamp(min=0)
        below, above = index < first[:, None], index > last[:, None]
        p.scatter_add_(1, first[:, None], (counts * below).sum(1, keepdim=True))
        p.scatter_add_(1, last[:, None], (counts * above).sum(1, keepdim=True))

        p = p / p.sum(1, keepdim=True)
        q = (q + self.SMOOTHING) / (q + self.SMOOTHING).sum(1, keepdim=True)
        return torch.where(p > 0, p * torch.log(p / q), 0.0).sum(1)

    def _counts_without_spike(self) -> Tensor:
        """Level the bin of the exact zeros with its neighbours: 0 always has a code, so ReLU's zeros say nothing."""
        assert self.counts is not None
        counts, middle = self.counts.clone(), self.bins // 2
        counts[:, middle] = torch.maximum(counts[:, middle - 1], counts[:, middle + 1])
        return counts


def observer_named(name: str) -> type[Observer]:
    """Return the observer class for a word: minmax, moving_average, percentile, kl, mse."""
    classes = {"minmax": MinMax, "moving_average": MovingAverage, "percentile": Percentile, "kl": KL, "mse": MSE}
    if name not in classes:
        raise ValueError(f"observer must be one of {', '.join(classes)}; got {describe(name)}")
    return classes[name]
