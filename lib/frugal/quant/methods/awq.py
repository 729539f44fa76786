"""AWQ: make the weights that meet large activations larger before rounding, and divide it out in the input.

Paper:   Lin, Tang, Tang, Yang, Dang, Han, "AWQ", MLSys 2024, 2306.00978, section 3.
Formula: s = mean|x|^r, r from {0, 0.05, …, 0.95}, normalised by sqrt(max s · min s)
         take the r that is best for    ‖ f(x; w) - f(x; Q(w · s) / s) ‖²
         then shrink each group's range, at most by half, where that lowers the error of its products
Learn:   course/4_quantization/4_10_language_models.ipynb

One weight in a hundred matters most, and it is the activations that tell which. A weight that is doubled before
rounding keeps one bit more; its group's step hardly grows as long as it is not the largest there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, check_num_bits, describe
from frugal.nets.llama import Llama, blocks_of, norms_and_readers
from frugal.quant.affine import QParams, choose_qparams, dequantize, qparams_from_range, quantize
from frugal.quant.granularity import PerGroup
from frugal.quant.statistics import watch_inputs

RATIOS = tuple(step / 20 for step in range(20))
SHRINKS = tuple(1 - step / 40 for step in range(20))  # of a group's range: 1 down to 0.525
LOWEST = 1e-4  # of a mean |activation|: a feature that is never used does not ask for an infinite factor

RoundWeight = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Choice:
    """What a search found.

    factors: what the weights are multiplied by.  [in]
    ratio:   r.
    losses:  one for each ratio that was tried; the first, r = 0, is rounding to nearest.
    """

    factors: Tensor
    ratio: float
    losses: tuple[float, ...]


def search_factors(
    weights: list[Tensor], x: Tensor, round_weight: RoundWeight, ratios: Iterable[float] = RATIOS
) -> Choice:
    """Try each ratio on the layers that read one input, and keep the best.

    Args:
        weights: [out, in] each.
        x: their input.  [rows, in]
        round_weight: what quantization will do to a weight, [out, in] to [out, in].
        ratios: r of the formula.

    Raises:
        ValueError: nothing to try, or the shapes do not fit.
    """
    check_finite(x, "x")
    if not weights or any(weight.shape[1:] != x.shape[1:] for weight in weights):
        raise ValueError(f"weights must be [out, {x.shape[-1]}] to fit x, got {[describe(w) for w in weights]}")
    mean = x.abs().mean(dim=0).clamp(min=LOWEST)
    tried = tuple(ratios)
    losses, choices = [], []
    for ratio in tried:
        factors = mean.pow(ratio)
        factors = factors / (factors.max() * factors.min()).sqrt()
        errors = [x @ (round_weight(weight * factors) / factors - weight).T for weight in weights]
        losses.append(sum(error.double().square().sum().item() for error in errors))
        choices.append(factors)
    if not losses:
        raise ValueError("ratios must hold at least one number; 0 is rounding to nearest")
    best = min(range(len(losses)), key=losses.__getitem__)
    return Choice(choices[best], tried[best], tuple(losses))


def shrunken_qparams(weight: Tensor, x: Tensor, num_bits: int = 4, *, group_size: int = 128) -> QParams:
    """Choose each group's range: all of it, or as little as 0.525 of it where that lowers the error of its products.

    Args:
        weight: [out, in]; ``group_size`` divides ``in``.
        x: the layer's input.  [rows, in]
        num_bits: 2 to 8.

    Returns:
        Affine parameters, ``PerGroup(group_size)``.
    """
    check_num_bits(num_bits)
    granularity = PerGroup(group_size)
    blocks = granularity.blocks(weight.detach())  # [out, groups, group_size]
    rows = granularity.blocks(x)  # [rows, groups, group_size]
    gram = torch.einsum("rgi,rgj->gij", rows, rows)  # the error of a group's products is eᵀ gram e
    low, high = blocks.aminmax(dim=-1)
    best = torch.full_like(low, torch.inf)
    best_low, best_high = low, high
    for shrink in SHRINKS:
        qparams = qparams_from_range(low * shrink, high * shrink, num_bits, granularity=granularity)
        error = granularity.blocks(dequantize(quantize(weight.detach(), qparams), qparams)) - blocks
        loss = torch.einsum("ogi,gij,ogj->og", error, gram, error)
        better = loss < best
        best = torch.where(better, loss, best)
        best_low = torch.where(better, low * shrink, best_low)
        best_high = torch.where(better, high * shrink, best_high)
    return qparams_from_range(best_low, best_high, num_bits, granularity=granularity)


def round_groups(num_bits: int, group_size: int) -> RoundWeight:
    """The quantization that AWQ prepares for: affine codes in groups, rounded to nearest."""

    def rounded(weight: Tensor) -> Tensor:
        qparams = choose_qparams(weight, num_bits, granularity=PerGroup(group_size))
        return dequantize(quantize(weight, qparams), qparams)

    return rounded


@torch.no_grad()
def scale_salient(model: Llama, batches: Iterable[Tensor], num_bits: int = 4, *, group_size: int = 16) -> Llama:
    """Return a copy that computes the same and whose important weights round better.

    Behind each norm the factors go into the norm; those of a feed-forward layer's last matrix go into ``w3``, which
    writes what it reads. Attention's ``wo`` is left alone: with shared heads its input is written by fewer rows.

    Args:
        model: stays as it was.
        batches: tokens [n, t].
        num_bits, group_size: the quantization that will follow.
    """
    scaled = copy.deepcopy(model)
    names = {id(module): name for name, module in scaled.named_modules()}
    pairs = norms_and_readers(scaled)
    lasts = [block.ffn for block in blocks_of(scaled)]
    watched = [readers[0] for _, readers in pairs] + [ffn.w2 for ffn in lasts]
    inputs = watch_inputs(scaled, batches, [names[id(linear)] for linear in watched])
    for norm, readers in pairs:
        choice = _search(readers, inputs[names[id(readers[0])]], num_bits, group_size)
        norm.weight.div_(choice.factors)
        _multiply_(readers, choice.factors)
    for ffn in lasts:
        choice = _search([ffn.w2], inputs[names[id(ffn.w2)]], num_bits, group_size)
        ffn.w3.weight.div_(choice.factors[:, None])
        _multiply_([ffn.w2], choice.factors)
    return scaled


def _search(readers: list[nn.Linear], x: Tensor, num_bits: int, group_size: int) -> Choice:
    weights = [reader.weight.detach() for reader in readers]
    return search_factors(weights, x.flatten(0, -2), round_groups(num_bits, group_size))


def _multiply_(readers: list[nn.Linear], factors: Tensor) -> None:
    for reader in readers:
        reader.weight.mul_(factors)
