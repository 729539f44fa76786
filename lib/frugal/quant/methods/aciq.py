"""ACIQ: clip where theory says, give wide channels more bits, and repair the moments that rounding bends.

Paper:   [2] Banner, Nahshan and Soudry, NeurIPS 2019, sections 3 to 5.
Formula: clipping       MSE(α) = 2 b² exp(-α / b) + α² / (3 · 4^M)           Laplace(0, b) on 2^M bins over [-α, α]
                        smallest at α = b · W(3 · 4^M)                        W: Lambert's, W(x) exp(W(x)) = x
         bits           bins_i = B · α_i^(2/3) / Σ α_j^(2/3)                  B = channels · 2^M bins in all
         weights        w ← (ŵ - mean ŵ) · |w - mean w| / |ŵ - mean ŵ| + mean w
Lesson:  rounding and clipping pull in opposite directions, and the best compromise has a closed form.
Learn:   course/4_quantization/4_5_post_training.ipynb; lab 4.4

The last line centres first. Equation 13 as printed, ξ (ŵ + mean w - mean ŵ), makes the mean ξ · mean w. The constants
hold for 2^M bins: with the 3 symmetric codes of 2 bits they clip too little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.core.check import check_finite, check_num_bits, describe
from frugal.quant.affine import QParams, dequantize, qparams_from_range, quantize
from frugal.quant.granularity import Granularity, PerChannel, PerTensor

DISTRIBUTIONS = ("laplace", "gauss", "best")


def lambert_w(x: float) -> float:
    """Solve w · exp(w) = x for x ≥ 0, by Newton's method.

    >>> round(lambert_w(3 * 4**4), 5)  # 4 bits: clip a Laplace distribution at 5.03 b
    5.02864
    """
    if not 0 <= x < math.inf:
        raise ValueError(f"lambert_w is for x from 0 on, got {x}")
    w = math.log1p(x)  # above the solution, from where Newton descends
    for _ in range(100):
        step = (w - x * math.exp(-w)) / (w + 1)
        w -= step
        if abs(step) <= 1e-15 * abs(w):
            break
    return w


def laplace_clip(num_bits: int) -> float:
    """Where to clip Laplace(0, b) for 2^num_bits bins, in units of b = E|x - E x|."""
    return lambert_w(3 * 4.0**num_bits)


def gauss_clip(num_bits: int) -> float:
    """Where to clip N(0, σ²) for 2^num_bits bins, in units of σ: the root of dMSE/dα, which has no closed form.

    >>> round(gauss_clip(4), 5)
    2.55914
    """
    low, high = 0.0, 10.0
    while high - low > 1e-13:
        middle = (low + high) / 2
        low, high = (middle, high) if _gauss_slope(middle, num_bits) < 0 else (low, middle)
    return (low + high) / 2


def _gauss_slope(alpha: float, num_bits: int) -> float:
    """Half of dMSE/dα for σ = 1; it rises with α."""
    density = math.exp(-(alpha**2) / 2) / math.sqrt(2 * math.pi)
    return alpha * math.erfc(alpha / math.sqrt(2)) - 2 * density + alpha / (3 * 4.0**num_bits)


def laplace_error(alpha: float, num_bits: int) -> float:
    """Mean squared error of Laplace(0, 1) clipped at ``alpha`` on 2^num_bits bins: what is cut, and what is rounded."""
    return 2 * math.exp(-alpha) + alpha**2 / (3 * 4.0**num_bits)


def gauss_error(alpha: float, num_bits: int) -> float:
    """The same for N(0, 1)."""
    cut = (alpha**2 + 1) * math.erfc(alpha / math.sqrt(2)) - math.sqrt(2 / math.pi) * alpha * math.exp(-(alpha**2) / 2)
    return cut + alpha**2 / (3 * 4.0**num_bits)


def choose_qparams(
    x: Tensor,
    num_bits: int = 4,
    *,
    granularity: Granularity | None = None,
    symmetric: bool = False,
    signed: bool = True,
    distribution: str = "laplace",
    relu: bool | None = None,
) -> QParams:
    """Choose the range that ACIQ clips to; it never reaches past the values seen.

    Args:
        x: any shape, finite reals.
        num_bits, granularity, symmetric, signed: as in ``affine.choose_qparams``.
        distribution: ``"laplace"``, ``"gauss"``, or ``"best"``: whichever errs less on ``x``.
        relu: whether ``x`` is what ReLU let through of a distribution around 0; by default, whether nothing is below 0.
            Then all codes go to one side, which is worth one bit.
    """
    check_num_bits(num_bits)
    check_finite(x, "x")
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"distribution must be one of {', '.join(DISTRIBUTIONS)}; got {distribution!r}")
    granularity = granularity or PerTensor()
    if distribution == "best":
        options = (
            choose_qparams(x, num_bits, granularity=granularity, symmetric=symmetric, signed=signed,
                           distribution=each, relu=relu)
            for each in ("laplace", "gauss")
        )  # fmt: skip
        return min(options, key=lambda q: (dequantize(quantize(x, q), q) - x).pow(2).mean().item())
    blocks = granularity.blocks(x.detach()).double()
    seen_low, seen_high = blocks.aminmax(dim=-1)
    if relu is None:
        relu = bool((seen_low >= 0).all())
    if relu:  # the half that was cut mirrors this one: E|x| and E x² of the whole are twice those of the half
        spread = 2 * blocks.mean(-1) if distribution == "laplace" else (2 * blocks.pow(2).mean(-1)).sqrt()
        low, high = torch.zeros_like(spread), clip_at(distribution, num_bits + 1) * spread
    else:
        mean = blocks.mean(-1)
        centred = blocks - mean[..., None]
        spread = centred.abs().mean(-1) if distribution == "laplace" else centred.pow(2).mean(-1).sqrt()
        alpha = clip_at(distribution, num_bits) * spread
        low, high = mean - alpha, mean + alpha
    low, high = torch.maximum(low, seen_low.clamp(max=0)), torch.minimum(high, seen_high)
    low, high = (end.to(x.dtype) for end in (torch.minimum(low, high), high))
    return qparams_from_range(low, high, num_bits, symmetric=symmetric, granularity=granularity, signed=signed)


def clip_at(distribution: str, num_bits: int) -> float:
    """The clipping point in units of the distribution's own spread."""
    return laplace_clip(num_bits) if distribution == "laplace" else gauss_clip(num_bits)


def allocate_bins(spread: Tensor, mean_bits: float) -> Tensor:
    """Share n · 2^mean_bits bins among n channels so that the total squared error is least: bins ∝ spread^(2/3).

    Args:
        spread: how wide each channel is, such as its standard deviation, [n]; at least one above 0.

    Returns:
        Real numbers, [n], float64, whose sum is n · 2^mean_bits.
    """
    check_finite(spread, "spread")
    if spread.ndim != 1 or (spread < 0).any() or not (spread > 0).any():
        raise ValueError(f"spread must be [channels], none negative and one above 0, got {describe(spread)}")
    share = spread.double().pow(2 / 3)
    return len(spread) * 2.0**mean_bits * share / share.sum()


def allocate_bits(spread: Tensor, mean_bits: float, *, low: int = 2, high: int = 8) -> Tensor:
    """Round log2 of the bins to whole bits, and scale all bins until the mean is at most ``mean_bits``.

    Returns:
        int64 [channels], from ``low`` to ``high``; a channel 8 times as wide gets 2 bits more, where there is room.

    >>> allocate_bits(torch.tensor([1.0, 1.0, 8.0, 8.0]), 4.0)
    tensor([3, 3, 5, 5])
    """
    if not low <= mean_bits <= high:
        raise ValueError(f"mean_bits must be from {low} to {high}, got {mean_bits}")
    wanted = torch.log2(allocate_bins(spread, mean_bits).clamp(min=2.0**-40))
    lower, upper = -50.0, 50.0  # bits that all channels gain or lose
    for _ in range(60):
        shift = (lower + upper) / 2
        fits = torch.round(wanted + shift).clamp(low, high).mean() <= mean_bits
        lower, upper = (shift, upper) if fits else (lower, shift)
    return torch.round(wanted + lower).clamp(low, high).long()


def correct_weight(weight: Tensor, quantized: Tensor, granularity: Granularity | None = None) -> Tensor:
    """Give every output channel of a quantized weight the mean and the norm around it that the float one had.

    The result lies on a grid again: its step is ξ times wider, and it is shifted by a constant for each channel.

    Args:
        weight, quantized: the same shape; ``quantized`` is in reals.
        granularity: which values share their moments; ``PerChannel(0)`` by default.
    """
    check_finite(weight, "weight")
    if weight.shape != quantized.shape:
        raise ValueError(f"quantized must have the shape of weight, got {describe(quantized)} and {describe(weight)}")
    granularity = granularity or PerChannel(0)
    blocks, rounded = granularity.blocks(weight), granularity.blocks(quantized)
    mean, mean_rounded = blocks.mean(-1), rounded.mean(-1)
    norm = (blocks - mean[..., None]).norm(dim=-1)
    norm_rounded = (rounded - mean_rounded[..., None]).norm(dim=-1)
    ratio = torch.where(norm_rounded > 0, norm / norm_rounded, torch.ones_like(norm))
    mean, mean_rounded, ratio = (granularity.spread(value, weight) for value in (mean, mean_rounded, ratio))
    return (quantized - mean_rounded) * ratio + mean


@dataclass(frozen=True)
class Aciq:
    """The paper's treatment of a weight, whole: bits for each channel, clipping, correction of the moments.

    mean_bits:    of the channels.
    per_channel_bits: whether wide channels get more of them.
    clip, correct: whether to clip, whether to repair the moments.
    """

    mean_bits: int = 4
    per_channel_bits: bool = True
    clip: bool = False
    correct: bool = True

    def quantize(self, weight: Tensor) -> Tensor:
        """Return the weight that takes the float one's place, [out, ...]: for ``layers.map_tensors``."""
        check_finite(weight, "weight")
        rows = weight.detach().flatten(1)
        bits = torch.full((len(rows),), self.mean_bits)
        if self.per_channel_bits and len(rows) > 1 and rows.shape[1] > 1 and (rows.std(dim=1) > 0).any():
            bits = allocate_bits(rows.std(dim=1), self.mean_bits)
        result = torch.empty_like(rows)
        for width in bits.unique().tolist():
            chosen = bits == width
            low, high = rows[chosen].aminmax(dim=1)
            if self.clip:
                qparams = choose_qparams(rows[chosen], width, granularity=PerChannel(0), relu=False)
            else:
                qparams = qparams_from_range(low, high, width, granularity=PerChannel(0))
            result[chosen] = dequantize(quantize(rows[chosen], qparams), qparams).to(rows.dtype)
        corrected = correct_weight(rows, result) if self.correct else result
        return corrected.view_as(weight)
