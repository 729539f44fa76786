"""Rounding: which whole number a real becomes, and which of its two neighbours a weight should take.

Papers:  [19] section 2 (nearest), [11][23] (stochastic); AdaRound, Nagel et al., ICML 2020, equations 21 to 25.
Formula: half_even    0.5 → 0   1.5 → 2   2.5 → 2     torch, IEEE 754: no bias on ties
         half_up      0.5 → 1   1.5 → 2   2.5 → 3     the only one under which [42] can split a weight
         half_away   -0.5 → -1  as half_up above 0    [14], gemmlowp
         stochastic   floor(x + u), u uniform in [0, 1): the mean over many draws is x
Learn:   course/4_quantization/4_5_post_training.ipynb

A *rounding* of a weight is a function ``(weight, qparams, layer_inputs) -> weight on the grid``. ``round_nearest``
looks at each weight alone; ``methods.adaround`` and ``methods.gptq`` look at what the layer multiplies it with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frugal.core.check import check_finite, check_float, describe
from frugal.quant.affine import QParams, dequantize, quantize

ZETA, GAMMA = 1.1, -0.1  # the sigmoid is stretched to (GAMMA, ZETA) and cut to [0, 1], so that it reaches both ends
BETA_FIRST, BETA_LAST = 20.0, 2.0


def half_even(x: Tensor) -> Tensor:
    """Round to the nearest whole number, halves to the even one."""
    return torch.round(x)


def half_up(x: Tensor) -> Tensor:
    """Round to the nearest whole number, halves upwards.

    >>> half_up(torch.tensor([-0.5, 0.5, 1.5, 2.5]))
    tensor([0., 1., 2., 3.])
    """
    below = torch.floor(x)
    return below + (x - below >= 0.5)  # floor(x + 0.5) would round the number just below 0.5 up


def half_away(x: Tensor) -> Tensor:
    """Round to the nearest whole number, halves away from 0.

    >>> half_away(torch.tensor([-0.5, 0.5, 1.5, 2.5]))
    tensor([-1.,  1.,  2.,  3.])
    """
    return torch.sign(x) * half_up(x.abs())


def stochastic(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Round down or up at random, up with the probability that makes the mean ``x``.

    >>> stochastic(torch.tensor([2.0, -3.0]))  # whole numbers stay
    tensor([ 2., -3.])
    """
    return torch.floor(x + torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device))


ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "half_even": half_even,
    "half_up": half_up,
    "half_away": half_away,
    "stochastic": stochastic,
}


@dataclass(frozen=True, eq=False)
class LayerInputs:
    """What a layer multiplies its weight with: one row for each output pixel of each picture.

    x:       [groups, rows, in / groups · kh · kw]: as the layer will see it, after what lies before was quantized.
    x_float: the same rows of the float network, whose outputs are the target; ``x`` where nothing before changed.
    """

    x: Tensor
    x_float: Tensor

    def __post_init__(self) -> None:
        check_finite(self.x, "x")
        check_finite(self.x_float, "x_float")
        if self.x.ndim != 3 or self.x.shape != self.x_float.shape:
            raise ValueError(
                "x and x_float must have one shape [groups, rows, in / groups · kh · kw], got "
                f"{describe(self.x)} and {describe(self.x_float)}; layer_inputs(layer, x) makes them"
            )


def layer_inputs(
    layer: nn.Module, x: Tensor, x_float: Tensor | None = None, *, rows: int | None = None, seed: int = 0
) -> LayerInputs:
    """Lay out the inputs of a layer as rows: its output is rows @ weight.flatten(1).T, for each group.

    Args:
        layer: ``nn.Linear`` or an untransposed ``nn.Conv2d``.
        x: what reaches the layer, [n, in, h, w] or [..., in].
        x_float: what reaches it in the float network; ``x`` by default.
        rows: keep at most so many, drawn at random, the same from both.
        seed: of the draw.

    >>> layer_inputs(nn.Conv2d(3, 8, 3), torch.rand(2, 3, 6, 6)).x.shape
    torch.Size([1, 32, 27])
    """
    laid = _rows(layer, x)
    laid_float = laid if x_float is None else _rows(layer, x_float)
    if rows is not None and rows < laid.shape[1]:
        pick = torch.randperm(laid.shape[1], generator=torch.Generator().manual_seed(seed))[:rows]
        laid, laid_float = laid[:, pick], laid_float[:, pick]
    return LayerInputs(laid, laid_float)


def _rows(layer: nn.Module, x: Tensor) -> Tensor:
    check_float(x, "x")
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, layer.in_features)
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"layer must be nn.Linear or nn.Conv2d, got {type(layer).__name__}; other layers have no rows")
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise ValueError(
            f"the convolution must pad with zeros by numbers, got {layer.padding_mode!r}, {layer.padding!r}"
        )
    patches = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # [n, in·kh·kw, pixels]
    return patches.unflatten(1, (layer.groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)


def round_nearest(weight: Tensor, qparams: QParams, inputs: LayerInputs | None = None) -> Tensor:
    """Round each weight to its nearest code, whatever it is multiplied with.

    Returns:
        The weight that the codes stand for, in the shape and dtype of ``weight``.
    """
    return dequantize(quantize(weight, qparams), qparams).to(weight.dtype)


class SoftRounding(nn.Module):
    """A weight whose codes hang between down (0) and up (1): the variable that AdaRound and BRECQ learn.

    Formula: w ≈ scale · (clamp(floor(w / scale) + z + h, quant_min, quant_max) - z)
             h = clamp(sigmoid(v) · (ZETA - GAMMA) + GAMMA, 0, 1)

    It starts at h = the fraction of w / scale: at the float weight itself, where no code saturates.
    """

    def __init__(self, weight: Tensor, qparams: QParams) -> None:
        super().__init__()
        check_finite(weight, "weight")
        self.qparams = qparams
        self.scale = qparams.granularity.spread(qparams.scale, weight).to(weight.dtype)
        self.zero_point = qparams.granularity.spread(qparams.zero_point, weight)
        steps = weight.detach() / self.scale
        self.down = torch.floor(steps)
        fraction = (steps - self.down).clamp(1e-4, 1 - 1e-4)
        self.v = nn.Parameter(-torch.log((ZETA - GAMMA) / (fraction - GAMMA) - 1))

    def up(self) -> Tensor:
        """How far each weight is on its way up, h in [0, 1]."""
        return (torch.sigmoid(self.v) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)

    def forward(self) -> Tensor:
        """The weight with soft codes, differentiable in ``v``."""
        return self.at(self.up())

    def hard(self) -> Tensor:
        """The weight with whole codes: up where v ≥ 0."""
        return self.at((self.v.detach() >= 0).to(self.down.dtype))

    def indecision(self, beta: float) -> Tensor:
        """Σ 1 - |2h - 1|^beta: zero where every weight has chosen a side. A large beta leaves the middle alone."""
        return (1 - (2 * self.up() - 1).abs().pow(beta)).sum()

    def at(self, up: Tensor) -> Tensor:
        """The weight whose codes are ``up`` steps above the lower one, cut at the ends."""
        qparams = self.qparams
        codes = (self.down + up + self.zero_point).clamp(qparams.quant_min, qparams.quant_max)
        return (codes - self.zero_point) * self.scale


def beta_at(step: int, steps: int, warm_up: float = 0.2) -> float | None:
    """The exponent of ``SoftRounding.indecision`` at a step: None in the warm-up, then from 20 down to 2 along a line.

    >>> beta_at(0, 100), beta_at(20, 100), beta_at(60, 100)
    (None, 20.0, 11.0)
    """
    start = warm_up * steps
    if step < start:
        return None
    return BETA_LAST + (BETA_FIRST - BETA_LAST) * (1 - (step - start) / (steps - start))
