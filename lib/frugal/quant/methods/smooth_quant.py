"""SmoothQuant: hand the outliers of the activations over to the weights, which can bear them.

Paper:   Xiao, Lin, Seznec, Wu, Demouth, Han, ICML 2023, 2211.10438, section 4, equation (4).
Formula: s_j = max|x_j|^alpha / max|w_j|^(1 - alpha)        for each input feature j
         x_j / s_j   folded into the norm before;   w_j · s_j   in every linear layer behind it
Learn:   course/4_quantization/4_10_language_models.ipynb

The product does not change. With alpha 0.5 the largest activation and the largest weight of each feature become equal;
with alpha 1 all features have the range 1 and the weights bear everything, which is SPIQ's choice [41].
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.nets.llama import Llama, norms_and_readers
from frugal.quant.statistics import watch_inputs


def smoothing_factors(x_largest: Tensor, w_largest: Tensor, alpha: float = 0.5) -> Tensor:
    """Choose how much of each feature's range moves from the activations to the weights.

    Args:
        x_largest: the largest |activation| of each feature.  [in]
        w_largest: the largest |weight| that it meets.  [in]
        alpha: 0 leaves the activations alone up to a factor, 1 moves all; 0.5 to 0.85 in the paper.

    Returns:
        What the activations are divided by, above 0.  [in]. A feature that is always 0, or meets no weight, keeps 1.

    >>> smoothing_factors(torch.tensor([100.0, 1.0]), torch.tensor([1.0, 1.0]))
    tensor([10.,  1.])
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, got {alpha}; 0.5 is the paper's choice")
    if x_largest.shape != w_largest.shape or (x_largest < 0).any() or (w_largest < 0).any():
        raise ValueError(
            f"both must be sizes of the same features, 0 or more, got {describe(x_largest)} and {describe(w_largest)}"
        )
    factors = x_largest.pow(alpha) / w_largest.pow(1 - alpha)
    return torch.where((x_largest > 0) & (w_largest > 0), factors, torch.ones_like(factors))


@torch.no_grad()
def smooth(model: Llama, batches: Iterable[Tensor], alpha: float = 0.5) -> Llama:
    """Return a copy that computes the same and whose norms give activations of smoother ranges.

    Args:
        model: in eval mode or not; it stays as it was.
        batches: tokens [n, t] that show the activations' ranges.
        alpha: see ``smoothing_factors``.
    """
    smoothed = copy.deepcopy(model)
    pairs = norms_and_readers(smoothed)
    names = {id(module): name for name, module in smoothed.named_modules()}
    inputs = watch_inputs(smoothed, batches, [names[id(readers[0])] for _, readers in pairs])
    for norm, readers in pairs:
        x_largest = inputs[names[id(readers[0])]].abs().flatten(0, -2).amax(dim=0)
        w_largest = torch.stack([reader.weight.abs().amax(dim=0) for reader in readers]).amax(dim=0)
        factors = smoothing_factors(x_largest, w_largest, alpha)
        norm.weight.div_(factors)
        for reader in readers:
            reader.weight.mul_(factors)
    return smoothed
