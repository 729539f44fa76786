"""What a quantizer may ask of the loop that trains a network through it.

Papers:  [19] section 3.1 and [20] section 3: moving averages of the ranges, frozen late in training.
Learn:   course/4_quantization/4_7_straight_through.ipynb

    forward(x)         the quantized values, with a gradient
    penalty()          what it adds to the loss
    settle_(latent)    after each step of the optimizer: bring parameters, or the float weight behind, back into bounds
    freeze()           late in training: what was observed stays as it is
    qparams()          afterwards: what its integer codes stand for; None where they lie on no affine grid

Every paper of ``quant.methods`` that trains defines one; ``quant.train`` is the loop.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, check_num_bits
from frugal.quant.affine import QParams, choose_qparams, qparams_from_range
from frugal.quant.fake import fake_quantize
from frugal.quant.granularity import Granularity, PerTensor
from frugal.quant.ste import sign_through


class Trainable(nn.Module):
    """Base: quantizes what passes; asks for nothing more unless a paper says so."""

    def penalty(self) -> Tensor | None:
        """Return what to add to the loss of the last forward pass, or None."""
        return None

    def settle_(self, latent: Tensor | None) -> None:
        """Restore what must hold between steps; ``latent`` is the float weight, or None for an activation."""

    def freeze(self) -> None:
        """Keep ranges as they are from now on."""

    def qparams(self) -> QParams | None:
        """Return what the codes stand for, or None."""
        return None


class RangeOfWeights(Trainable):
    """Fake-quantize a weight over the range of its present values: it has no memory, so nothing is frozen.

    Args:
        num_bits: 2 to 8.
        granularity: which weights share one scale.
    """

    def __init__(self, num_bits: int, granularity: Granularity | None = None) -> None:
        super().__init__()
        check_num_bits(num_bits)
        self.num_bits, self.granularity = num_bits, granularity or PerTensor()
        self.last: QParams | None = None

    def forward(self, w: Tensor) -> Tensor:
        self.last = choose_qparams(w, self.num_bits, symmetric=True, granularity=self.granularity)
        return fake_quantize(w, self.last)

    def qparams(self) -> QParams | None:
        return self.last


class SignOfWeights(Trainable):
    """Multiply with -1 and +1; the float weight behind them takes the gradient as it is and stays in [-1, 1]."""

    def forward(self, w: Tensor) -> Tensor:
        return sign_through(w, "identity")

    def settle_(self, latent: Tensor | None) -> None:
        if latent is not None:
            with torch.no_grad():
                latent.clamp_(-1, 1)

    def qparams(self) -> QParams | None:
        return QParams(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32), -1, 1)


class FollowedRange(Trainable):
    """Fake-quantize activations over a range that follows the batches slowly, and stays once frozen or in eval mode.

    The first batch sets the range, so that it does not start from 0. Later ones move each end by
    ``averaging_constant`` times its distance.

    Args:
        num_bits: 2 to 8.
        averaging_constant: above 0, at most 1.
    """

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, num_bits: int, averaging_constant: float = 0.01) -> None:
        super().__init__()
        check_num_bits(num_bits)
        if not 0 < averaging_constant <= 1:
            raise ValueError(f"averaging_constant must be above 0 and at most 1, got {averaging_constant}")
        self.num_bits, self.averaging_constant, self.frozen = num_bits, averaging_constant, False
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("seen", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.frozen:
            self._follow(x.detach())
        if not self.seen:
            raise RuntimeError("this quantizer has seen no batch; run the network once in training mode")
        return fake_quantize(x, self.qparams())

    def _follow(self, x: Tensor) -> None:
        check_finite(x, "x")
        low, high = x.aminmax()
        step = self.averaging_constant if self.seen else 1.0
        self.low.lerp_(low.to(self.low), step)
        self.high.lerp_(high.to(self.high), step)
        self.seen.fill_(True)

    def freeze(self) -> None:
        self.frozen = True

    def qparams(self) -> QParams:
        return qparams_from_range(self.low, self.high, self.num_bits)
