"""PWLQ: a fine ruler for the many small weights, a coarse one for the few large ones.

Paper:   [12] Fang et al., ECCV 2020, sections 3 and 4; supplement for the one-shot breakpoint.
Formula: |x| ≤ p   sign(x) · step_1 · round(|x| / step_1)                   step_1 = p / (2^(b-1) - 1)
         |x| > p   sign(x) · (p + step_2 · round((|x| - p) / step_2))       step_2 = (m - p) / (2^(b-1) - 1)
         error     C · ((m - p)² · 2 (1 - F(p)) + p² · (2 F(p) - 1))         C = 1 / (12 (2^(b-1) - 1)²)

            -m          -p    0    p           m
             |---|---|---||||||||||---|---|---|           2^(b-1) levels in each of the four pieces

Lesson:  bell-shaped weights waste a uniform grid; one breakpoint brings the error below 9/16 of it, at b bits and one
         more that says which piece.
Learn:   course/4_quantization/4_5_post_training.ipynb; lab 4.4

The one-shot rule gives p / σ. The paper prints p / m; its own optimum at m = 4 σ is p = 1.39 σ, which the rule meets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.core.check import check_finite, check_num_bits, describe
from frugal.quant.granularity import Granularity, PerChannel, PerTensor
from frugal.quant.statistics import normal_density, normal_share_below


@dataclass(frozen=True, eq=False)
class PiecewiseGrid:
    """Two steps in place of one.

    num_bits:          b; each piece has 2^(b-1) levels.
    breakpoint, limit: p and m, 0 < p < m; one for each block of ``granularity``.
    granularity:       which values share them.
    """

    num_bits: int
    breakpoint: Tensor
    limit: Tensor
    granularity: Granularity

    def __post_init__(self) -> None:
        check_num_bits(self.num_bits)
        if (
            self.breakpoint.shape != self.limit.shape
            or not ((self.breakpoint > 0) & (self.breakpoint < self.limit)).all()
        ):
            raise ValueError(
                "breakpoint must lie between 0 and limit, "
                f"got {self.breakpoint.flatten()[:4].tolist()} and {self.limit.flatten()[:4].tolist()}"
            )

    @property
    def steps(self) -> int:
        """Steps in one piece: its 2^(b-1) levels have one less between them."""
        return (1 << self.num_bits - 1) - 1

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the region (0 centre, 1 tails) and the signed code inside it, int8, of each value.

        A tail's code says how many steps it is past the breakpoint; at the breakpoint itself it is 0, and the sign
        would be lost: that value is the centre's last code.
        """
        check_finite(x, "x")
        p, m = (self.granularity.spread(value, x).to(x.dtype) for value in (self.breakpoint, self.limit))
        size = x.abs()
        centre = torch.round(size / p * self.steps)
        tail = torch.round((size - p) / (m - p) * self.steps).clamp(max=self.steps)
        region = (size > p) & (tail > 0)
        code = torch.where(region, tail, centre.clamp(max=self.steps))
        return region.to(torch.int8), (torch.sign(x) * code).to(torch.int8)

    def dequantize(self, region: Tensor, code: Tensor) -> Tensor:
        """Return the reals that the codes stand for."""
        p, m = (self.granularity.spread(value, code) for value in (self.breakpoint, self.limit))
        centre = code * (p / self.steps)
        tail = torch.sign(code) * p + code * ((m - p) / self.steps)
        return torch.where(region > 0, tail, centre)

    def quantize(self, x: Tensor) -> Tensor:
        return self.dequantize(*self.codes(x)).to(x.dtype)

    def dot(self, x_codes: Tensor, x_scale: float, weight: Tensor) -> Tensor:
        """Multiply integer inputs [..., in] with a weight [out, in] by three integer sums, as hardware would.

        y = x_scale · (step_1 · Σ_centre q_w q_x + step_2 · Σ_tails q_w q_x + p · Σ_tails sign(q_w) q_x)
        """
        if weight.ndim != 2 or self.breakpoint.shape not in ((), (len(weight),)):
            raise ValueError(
                f"dot takes a weight [out, in], one breakpoint for each row or one in all, got {describe(weight)}"
            )
        region, code = self.codes(weight)
        exact, q = x_codes.to(torch.int64), code.to(torch.int64)
        inside, outside = q * (1 - region), q * region  # int64 [out, in]
        sums = [exact @ part.T for part in (inside, outside, torch.sign(outside))]  # three accumulators, int64
        steps = (self.breakpoint / self.steps, (self.limit - self.breakpoint) / self.steps, self.breakpoint)
        return x_scale * torch.stack([s * step for s, step in zip(sums, steps, strict=True)]).sum(0)


def uniform_error_bound(num_bits: int) -> float:
    """Lemma 2: at the best breakpoint the error is less than this share of the uniform grid's; 9/16 at most.

    >>> uniform_error_bound(2), round(uniform_error_bound(4), 3)
    (0.5625, 0.287)
    """
    check_num_bits(num_bits)
    return (2**num_bits - 1) ** 2 / (16 * (2 ** (num_bits - 1) - 1) ** 2)


def normal_breakpoint(reach: float | Tensor) -> Tensor:
    """The one-shot rule for a normal distribution, in σ: ln(0.8614 · m/σ + 0.6079), fitted for m/σ from 3 to 10."""
    return torch.log(0.8614 * torch.as_tensor(reach, dtype=torch.float64) + 0.6079)


def laplace_breakpoint(reach: float | Tensor) -> Tensor:
    """The same for a Laplace distribution: 0.8030 · sqrt(m/σ) - 0.3167."""
    return 0.8030 * torch.as_tensor(reach, dtype=torch.float64).sqrt() - 0.3167


def normal_error_slope(p: Tensor, reach: Tensor) -> Tensor:
    """dE/dp of N(0, 1) up to a positive factor: p - 2m + 2m F(p) + m f(p) (2p - m)."""
    return p - 2 * reach + 2 * reach * normal_share_below(p) + reach * normal_density(p) * (2 * p - reach)


def best_normal_breakpoint(reach: float | Tensor) -> Tensor:
    """The root of ``normal_error_slope`` in (0, m/2), by bisection: the definition that the one-shot rule fits."""
    m = torch.as_tensor(reach, dtype=torch.float64)
    low, high = torch.zeros_like(m), m / 2
    for _ in range(80):
        middle = (low + high) / 2
        falling = normal_error_slope(middle, m) < 0
        low, high = torch.where(falling, middle, low), torch.where(falling, high, middle)
    return (low + high) / 2


def choose_grid(
    x: Tensor, num_bits: int = 4, *, granularity: Granularity | None = None, rule: str = "normal", candidates: int = 99
) -> PiecewiseGrid:
    """Choose limit and breakpoint for each block.

    Args:
        x: a weight, [out, ...], finite.
        num_bits: 2 to 8.
        granularity: which values share a breakpoint; ``PerChannel(0)`` by default.
        rule: ``"normal"`` or ``"laplace"``, the one-shot rules; ``"search"`` tries p = m/200 … m/2 on the values.
        candidates: of the search.
    """
    check_num_bits(num_bits)
    check_finite(x, "x")
    granularity = granularity or (PerChannel(0) if x.ndim > 1 else PerTensor())
    blocks = granularity.blocks(x.detach()).double()
    limit = blocks.abs().amax(-1)
    limit = torch.where(limit > 0, limit, torch.ones_like(limit))
    if rule == "search":
        return _searched(x, num_bits, granularity, limit, candidates)
    if rule not in ("normal", "laplace"):
        raise ValueError(f"rule must be normal, laplace or search; got {rule!r}")
    sigma = blocks.pow(2).mean(-1).sqrt()
    sigma = torch.where(sigma > 0, sigma, limit)
    reach = limit / sigma
    ratio = normal_breakpoint(reach) if rule == "normal" else laplace_breakpoint(reach)
    p = torch.minimum((ratio * sigma).clamp(min=0), limit / 2).clamp(min=1e-3 * limit)
    return PiecewiseGrid(num_bits, p.to(x.dtype), limit.to(x.dtype), granularity)


def _searched(x: Tensor, num_bits: int, granularity: Granularity, limit: Tensor, candidates: int) -> PiecewiseGrid:
    best, least = limit / 2, torch.full_like(limit, math.inf)
    for ratio in torch.linspace(0.5, 0, candidates + 2, dtype=torch.float64)[:-1].tolist():
        grid = PiecewiseGrid(num_bits, (ratio * limit).to(x.dtype), limit.to(x.dtype), granularity)
        error = granularity.blocks((grid.quantize(x) - x).double().pow(2)).sum(-1)
        best, least = torch.where(error < least, ratio * limit, best), torch.minimum(error, least)
    return PiecewiseGrid(num_bits, best.to(x.dtype), limit.to(x.dtype), granularity)


def quantize_weight(weight: Tensor, num_bits: int = 4, *, rule: str = "normal") -> Tensor:
    """Return the weight on its piecewise grid, one breakpoint per output channel: for ``layers.map_tensors``."""
    return choose_grid(weight, num_bits, rule=rule).quantize(weight.detach())


def top_median(x: Tensor, count: int = 10) -> tuple[Tensor, Tensor]:
    """The paper's range for activations: the medians of the ``count`` smallest and of the ``count`` largest values."""
    check_finite(x, "x")
    flat = x.detach().flatten()
    count = min(count, flat.numel())
    return flat.topk(count, largest=False).values.median(), flat.topk(count).values.median()
