"""Ternary weight networks: -α, 0 or +α, with the threshold and α that lose the least.

Paper:   Li, Zhang and Liu, "Ternary weight networks", 2016, section 2. Beyond the lecture's list; its ternary rows.
Formula: w_t = sign(w) · 1[|w| > Δ],   Δ = 0.7 · mean|w|,   α = <w, w_t> / <w_t, w_t> = mean of |w| where |w| > Δ
         given Δ, this α minimizes ‖w - α w_t‖²; the best Δ of all maximizes (Σ_{|w|>Δ} |w|)² / #{|w| > Δ}
Learn:   course/4_quantization/4_7_straight_through.ipynb, lab 4.5

For weights drawn from a normal, 0.7 · mean|w| is 0.558 σ, while the best threshold is 0.612 σ: the rule of thumb costs
under one per cent of the squared error (a test measures it).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.core.check import check_finite
from frugal.quant.affine import QParams
from frugal.quant.granularity import Granularity, PerTensor
from frugal.quant.ste import replace_through
from frugal.quant.trainable import Trainable

FACTOR = 0.7


@dataclass(frozen=True, eq=False)
class Ternary:
    """Ternary weights.

    codes: int8, -1, 0 or 1, the shape of the weights.
    scale: α of each block of weights, [] or [out].
    granularity: which weights share one α and one Δ.
    """

    codes: Tensor
    scale: Tensor
    granularity: Granularity

    @property
    def values(self) -> Tensor:
        """α · code, the weights that are multiplied."""
        return self.codes * self.granularity.spread(self.scale, self.codes)

    @property
    def sparsity(self) -> float:
        """The share of weights that are 0."""
        return (self.codes == 0).double().mean().item()


def ternarize(w: Tensor, factor: float = FACTOR, granularity: Granularity | None = None) -> Ternary:
    """Choose ternary weights with the paper's threshold and the best scale for it.

    Args:
        w: real weights, any shape.
        factor: threshold over mean|w|; from 0 to below 1, so that some weight survives.
        granularity: which weights share one threshold and one scale.

    >>> made = ternarize(torch.tensor([0.9, -0.7, 0.1, -0.05]))
    >>> made.codes.tolist(), round(made.scale.item(), 4)
    ([1, -1, 0, 0], 0.8)
    """
    check_finite(w, "w")
    if not 0 <= factor < 1:
        raise ValueError(f"factor must be from 0 to below 1, got {factor}: with 1 or more, equal weights all become 0")
    granularity = granularity or PerTensor()
    threshold = factor * granularity.blocks(w).abs().mean(dim=-1)
    return ternarize_above(w, threshold, granularity)


def ternarize_above(w: Tensor, threshold: Tensor, granularity: Granularity | None = None) -> Ternary:
    """Set weights up to a threshold to 0 and give the others their sign and the scale that loses the least.

    Args:
        w: real weights.
        threshold: Δ of each block, at least 0.
        granularity: which weights make a block.
    """
    check_finite(w, "w")
    granularity = granularity or PerTensor()
    keep = w.abs() > granularity.spread(threshold.to(w.dtype), w)
    count = granularity.blocks(keep).sum(dim=-1)
    total = granularity.blocks(w.abs() * keep).sum(dim=-1)
    scale = torch.where(count > 0, total / count.clamp(min=1), torch.ones_like(total))  # all 0: any scale will do
    return Ternary((torch.sign(w) * keep).to(torch.int8), scale, granularity)


def best_threshold(w: Tensor) -> Tensor:
    """Return the threshold under which no other ternary weights are nearer to ``w``: the one search over all of them.

    Keeping the k largest magnitudes lowers the squared error by (their sum)² / k, so sorting tries every k at once.

    >>> best_threshold(torch.tensor([1.0, -1.0, 0.1, 0.0])) < 1
    tensor(True)
    """
    check_finite(w, "w")
    ordered = w.abs().flatten().double().sort(descending=True).values
    gain = ordered.cumsum(0).square() / torch.arange(1, len(ordered) + 1)
    k = int(gain.argmax())
    below = ordered[k + 1] if k + 1 < len(ordered) else torch.zeros((), dtype=torch.float64)
    return ((ordered[k] + below) / 2).to(w.dtype)


class TernaryWeight(Trainable):
    """The weight quantizer: ternary weights anew in every pass; their gradient is passed on to the real ones.

    Args:
        factor: threshold over mean|w|.
        granularity: which weights share one threshold and one scale.
    """

    def __init__(self, factor: float = FACTOR, granularity: Granularity | None = None) -> None:
        super().__init__()
        self.factor, self.granularity = factor, granularity
        self.last: Ternary | None = None

    def forward(self, w: Tensor) -> Tensor:
        self.last = ternarize(w.detach(), self.factor, self.granularity)
        return replace_through(w, self.last.values)

    def qparams(self) -> QParams | None:
        if self.last is None:
            return None
        scale = self.last.scale.clamp(min=torch.finfo(self.last.scale.dtype).tiny)
        return QParams(scale, torch.zeros_like(scale, dtype=torch.int32), -1, 1, self.last.granularity)
