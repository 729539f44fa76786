"""AdaRound: round each weight up or down, whichever makes the layer's outputs best, not the weight itself.

Paper:   Nagel, Amjad, van Baalen, Louizos and Blankevoort, "Up or down?", ICML 2020, sections 3 and 4. Not in the
         lecture.
Formula: min over h of |W X - Ŵ X̂|² + λ Σ (1 - |2h - 1|^β),   Ŵ = s · clamp(⌊W / s⌋ + h),   h = rectified sigmoid of v
         X: what the float layer sees;  X̂: what the quantized one will see
         β falls from 20 to 2: first the outputs decide, then every h must choose 0 or 1
Lesson:  the nearest code is best for each weight alone. Errors of weights that are multiplied with correlated inputs
         can cancel, and below 4 bits that is worth more than a bit.
Learn:   course/4_quantization/4_5_post_training.ipynb

The objective is a quadratic form: all that it needs of the data are X̂ᵀX̂ and X̂ᵀX. So every step here sees all rows at
once and costs one product of [out, k] with [k, k]; the paper samples batches and has the activation inside. λ is
relative to the error of rounding to nearest, so that it means the same in every layer. The last step, ``settle``, is
ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.core.check import check_finite
from frugal.quant.affine import QParams
from frugal.quant.rounding import LayerInputs, SoftRounding, beta_at, round_nearest


@dataclass(frozen=True, eq=False)
class OutputError:
    """|W X - Ŵ X̂|² per row of the inputs, as a function of Ŵ: a quadratic form, float64.

    weight: the float one, [groups, out / groups, k].
    seen, cross, target: X̂ᵀX̂, X̂ᵀX and XᵀX over the number of rows, [groups, k, k] each.
    """

    weight: Tensor
    seen: Tensor
    cross: Tensor
    target: Tensor

    @classmethod
    def of(cls, weight: Tensor, inputs: LayerInputs) -> OutputError:
        """Collect what the objective needs of the inputs.

        Raises:
            ValueError: the rows do not fit the weight.
        """
        groups, rows, k = inputs.x.shape
        grouped = weight.detach().double().flatten(1).unflatten(0, (groups, -1))
        if grouped.shape[2] != k:
            raise ValueError(f"the weight has {grouped.shape[2]} values per output, the inputs {k} per row")
        x, x_float = inputs.x.double(), inputs.x_float.double()
        turned = x.transpose(1, 2)
        return cls(grouped, turned @ x / rows, turned @ x_float / rows, x_float.transpose(1, 2) @ x_float / rows)

    def __call__(self, rounded: Tensor) -> Tensor:
        """The error of a rounded weight, [out, ...] of the float one's shape."""
        w = rounded.double().flatten(1).view_as(self.weight)
        return (
            (w * (w @ self.seen)).sum() - 2 * ((w @ self.cross) * self.weight).sum()
            + (self.weight * (self.weight @ self.target)).sum()
        )  # fmt: skip

    def slope(self, rounded: Tensor) -> Tensor:
        """Half of the derivative by Ŵ, [groups, out / groups, k]."""
        w = rounded.double().flatten(1).view_as(self.weight)
        return w @ self.seen - self.weight @ self.cross.transpose(1, 2)


def round_weight(
    weight: Tensor,
    qparams: QParams,
    inputs: LayerInputs | None,
    *,
    steps: int = 600,
    learning_rate: float = 0.02,
    strength: float = 0.3,
) -> Tensor:
    """Round a weight so that the layer's outputs err least.

    Args:
        weight: [out, ...] of an untransposed layer.
        qparams: its grid; stays as it is.
        inputs: what the layer sees; ``rounding.layer_inputs`` makes them. Unlabelled data is enough.
        steps, learning_rate: of Adam on v.
        strength: λ; how firmly every weight is asked to choose.

    Returns:
        The weight on its grid, each value one of the two codes around it; never worse on ``inputs`` than the nearest.
    """
    check_finite(weight, "weight")
    if inputs is None:
        raise ValueError("adaround needs the layer's inputs; without data, use rounding.round_nearest")
    error = OutputError.of(weight, inputs)
    nearest = round_nearest(weight, qparams).double()
    unit = error(nearest).item() / weight.numel() or 1.0
    soft = SoftRounding(weight.float(), qparams)
    seen, aim = error.seen.float(), (error.weight @ error.cross.transpose(1, 2)).float()
    optimizer = torch.optim.Adam(soft.parameters(), lr=learning_rate)
    for step in range(steps):
        w = soft().flatten(1).view_as(aim)
        slope = 2 * (w.detach() @ seen - aim) / unit
        loss = (slope * w).sum()  # not the error, but with its gradient, for one product instead of three
        beta = beta_at(step, steps)
        if beta is not None:
            loss = loss + strength * soft.indecision(beta)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    exact = SoftRounding(weight.double(), qparams)
    learned = exact.at((soft.v.detach() >= 0).double())
    candidates = [nearest, *(settle(each, exact, error) for each in (learned, nearest))]
    return min(candidates, key=lambda w: error(w).item()).to(weight.dtype)


@torch.no_grad()
def settle(rounded: Tensor, soft: SoftRounding, error: OutputError, rounds: int = 2000) -> Tensor:
    """Move single weights to the other code beside them, the best one of each output channel at a time, while it helps.

    The change of the error by one move d is exactly 2 d · slope + d² · seen_jj.
    """
    diagonal = error.seen.diagonal(dim1=1, dim2=2).unsqueeze(1)  # [groups, 1, k]
    down, up = (soft.at(torch.full_like(soft.down, end)).flatten(1).view_as(error.weight) for end in (0.0, 1.0))
    w = rounded.double().flatten(1).view_as(error.weight).clone()
    slope = error.slope(w.view_as(rounded))
    for _ in range(rounds):
        other = torch.where((w - down).abs() < (w - up).abs(), up, down)
        move = other - w
        gain = 2 * move * slope + move**2 * diagonal
        best, where = gain.min(dim=2, keepdim=True)
        helps = best < -1e-12 * error.seen.abs().max().clamp(min=1e-300)
        if not helps.any():
            break
        step = torch.where(helps, move.gather(2, where), torch.zeros_like(best))
        w.scatter_add_(2, where, step)
        rows = error.seen.unsqueeze(1).expand(-1, w.shape[1], -1, -1)
        picked = rows.gather(2, where.unsqueeze(3).expand(-1, -1, 1, w.shape[2])).squeeze(
            2
        )  # [groups, out / groups, k]
        slope = slope + step * picked
    return w.view_as(rounded)
