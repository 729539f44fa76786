"""LLM.int8(): multiply in int8, except the few input features that are too large for it.

Paper:   Dettmers, Lewis, Belkada, Zettlemoyer, NeurIPS 2022, 2208.07339, section 3.
Formula: y = s_x s_wᵀ ⊙ (x_q w_qᵀ)  +  x_O w_Oᵀ
         s_x = max|row of x| / 127,  s_w = max|row of w| / 127,   O = columns of x with any |value| ≥ threshold
Learn:   course/4_quantization/4_10_language_models.ipynb

One feature that is a hundred times the others makes the step of its whole row a hundred times too wide. Taken out, it
is multiplied in float: one column of many costs little, and the others keep their bits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite
from frugal.quant.affine import QParams, choose_qparams, quantize
from frugal.quant.granularity import PerChannel, PerToken

THRESHOLD = 6.0


class LLMInt8Linear(nn.Module):
    """A linear layer with int8 weights that quantizes each input row on arrival.

    Args:
        linear: the float layer. Its weight is kept in int8, and in float as well: any column may turn out to be needed.
        threshold: features that reach it are multiplied in float. 0: all of them; infinity: none.

    >>> layer = LLMInt8Linear(nn.Linear(4, 2), threshold=0.0)
    >>> layer(torch.ones(1, 4)).shape
    torch.Size([1, 2])
    """

    codes: Tensor  # int8 [out, in]
    scale: Tensor  # [out]

    def __init__(self, linear: nn.Linear, threshold: float = THRESHOLD) -> None:
        super().__init__()
        if math.isnan(threshold) or threshold < 0:
            raise ValueError(f"threshold must be 0 or more, got {threshold}; the paper takes {THRESHOLD}")
        self.weight = nn.Parameter(linear.weight.detach().clone(), requires_grad=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone(), requires_grad=False)
        qparams = choose_qparams(self.weight, 8, symmetric=True, granularity=PerChannel(0))
        self.register_buffer("codes", quantize(self.weight, qparams))
        self.register_buffer("scale", qparams.scale)
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """Multiply x, [..., in]; every row gets its own scale."""
        check_finite(x, "x")
        rows = x.reshape(-1, x.shape[-1])
        outlier = self.outliers(rows)
        y = rows[:, outlier] @ self.weight[:, outlier].T
        if not outlier.all():
            y = y + self._multiply_codes(rows[:, ~outlier], self.codes[:, ~outlier])
        if self.bias is not None:
            y = y + self.bias
        return y.reshape(*x.shape[:-1], -1)

    def outliers(self, x: Tensor) -> Tensor:
        """Say which features of x, [..., in], reach the threshold anywhere.  bool [in]"""
        return (x.abs() >= self.threshold).flatten(0, -2).any(dim=0)

    def _multiply_codes(self, x: Tensor, codes: Tensor) -> Tensor:
        qparams: QParams = choose_qparams(x, 8, symmetric=True, granularity=PerToken())
        sums = quantize(x, qparams).to(torch.int32) @ codes.to(torch.int32).T  # exact: |sum| ≤ in · 127²
        return sums * (qparams.scale[:, None] * self.scale)
