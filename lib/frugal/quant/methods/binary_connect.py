"""BinaryConnect: multiply with -1 and +1, update the real weight behind them.

Paper:   [11] Courbariaux, Bengio and David, NeurIPS 2015, sections 2.2 to 2.4. Lecture: slide 25.
Formula: deterministic   w_b = +1 if w ≥ 0, else -1
         stochastic      w_b = +1 with probability p = clip((w + 1) / 2, 0, 1), else -1;   E[w_b] = w on [-1, 1]
         step            w ← clip(w - lr · dL/dw_b, -1, 1)
Learn:   course/4_quantization/4_7_straight_through.ipynb, lab 4.5

The clip matters: a weight that wandered to 20 would need many steps to change its sign, and no longer listens.
``torch.sign`` gives 0 for 0, a third weight; here 0 counts as positive.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from frugal.core.check import check_finite, describe
from frugal.quant.affine import QParams
from frugal.quant.layers import weight_of
from frugal.quant.ste import replace_through, sign, sign_through
from frugal.quant.trainable import SignOfWeights


def binarize(w: Tensor) -> Tensor:
    """Return +1 where ``w ≥ 0``, else -1; the gradient of the result is passed on to ``w`` unchanged.

    >>> binarize(torch.tensor([-0.2, 0.0, 0.7])).tolist()
    [-1.0, 1.0, 1.0]
    """
    return sign_through(w, "identity")


def probability_of_plus(w: Tensor) -> Tensor:
    """The hard sigmoid: clip((w + 1) / 2, 0, 1)."""
    return ((w + 1) / 2).clamp(0, 1)


def binarize_stochastic(w: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Draw +1 or -1 for every weight so that the mean over many draws is ``w`` clipped to [-1, 1].

    The gradient of the result is passed on to ``w`` unchanged.

    >>> binarize_stochastic(torch.tensor([-1.0, 1.0])).tolist()  # at the ends nothing is left to chance
    [-1.0, 1.0]
    """
    check_finite(w, "w")
    plus = torch.rand(w.shape, generator=rng, dtype=w.dtype) < probability_of_plus(w.detach())
    return replace_through(w, torch.where(plus, 1.0, -1.0).to(w.dtype))


def learning_rate_scale(layer: nn.Module) -> float:
    """What the paper's code multiplies a layer's learning rate with: 1 / sqrt(1.5 / (fan_in + fan_out)).

    >>> round(learning_rate_scale(nn.Linear(100, 50)), 4)
    10.0
    """
    weight = weight_of(layer)
    positions = weight[0, 0].numel() if weight.ndim > 2 else 1
    return math.sqrt((weight.shape[0] + weight.shape[1]) * positions / 1.5)


def squared_hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """The paper's loss: mean of max(0, 1 - t · logit)², t = +1 for the label's class and -1 for the others.

    >>> squared_hinge(torch.tensor([[2.0, -3.0]]), torch.tensor([0])).item()
    0.0
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits must be [n, classes] with n labels, got {describe(logits)} and {describe(labels)}")
    target = 2 * one_hot(labels, logits.shape[1]).to(logits.dtype) - 1
    return (1 - target * logits).clamp(min=0).square().mean()


class BinaryConnect(SignOfWeights):
    """The weight quantizer.

    Trained with chance it draws anew in every forward pass, and in eval mode uses the real weight, as the authors do;
    trained without, it always uses the sign.

    Args:
        stochastic: draw rather than take the sign.
        rng: where the chance comes from.
    """

    def __init__(self, stochastic: bool = False, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.stochastic, self.rng = stochastic, rng

    def forward(self, w: Tensor) -> Tensor:
        if not self.stochastic:
            return super().forward(w)
        return binarize_stochastic(w, self.rng) if self.training else w

    def qparams(self) -> QParams | None:
        """Codes -1 and +1 with step 1; None where eval mode uses real weights."""
        return None if self.stochastic else super().qparams()


def flips(before: Tensor, after: Tensor) -> float:
    """The share of weights whose sign changed between two states.

    >>> flips(torch.tensor([0.1, -0.1]), torch.tensor([-0.1, -0.2]))
    0.5
    """
    return (sign(before) != sign(after)).double().mean().item()
