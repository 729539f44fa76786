"""Ranges: where the codes of a tensor should end. The table that recipes name them from.

Papers:  [2] ACIQ, [10] OMSE, [14] Ristretto; the observers' own in ``quant/observers.py``. Lecture: slides 20 and 24.
Learn:   course/4_quantization/4_5_post_training.ipynb
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from frugal.quant.affine import QParams
from frugal.quant.granularity import Granularity, PerTensor
from frugal.quant.methods import aciq as aciq_method
from frugal.quant.methods import omse as omse_method
from frugal.quant.methods.ristretto import integer_length
from frugal.quant.observers import observer_named

ENOUGH = 1 << 21  # values of an activation that a search looks at: a mean over two million is known to 0.1 %


@dataclass(frozen=True)
class Codes:
    """What the codes will be: width, symmetric or not, signed or not, and which values share a scale."""

    num_bits: int
    symmetric: bool = True
    signed: bool = True
    granularity: Granularity = field(default_factory=PerTensor)

    @property
    def keywords(self) -> dict[str, Any]:
        return {"symmetric": self.symmetric, "signed": self.signed, "granularity": self.granularity}


def minmax(x: Tensor, codes: Codes) -> QParams:
    """All values."""
    return _observed("minmax", x, codes)


def percentile(x: Tensor, codes: Codes, *, percentile: float = 99.9) -> QParams:
    """All but the rarest values."""
    return _observed("percentile", x, codes, percentile=percentile)


def kl(x: Tensor, codes: Codes, *, candidates: int = 100) -> QParams:
    """The range whose codes keep the shape of the distribution."""
    return _observed("kl", x, codes, candidates=candidates)


def mse(x: Tensor, codes: Codes, *, candidates: int = 100) -> QParams:
    """The range whose codes err least in squares, found on a histogram."""
    return _observed("mse", x, codes, candidates=candidates)


def omse(x: Tensor, codes: Codes, *, candidates: int = 100) -> QParams:
    """The same, found on the values themselves and refined."""
    return omse_method.choose_qparams(x, codes.num_bits, candidates=candidates, **codes.keywords)


def aciq(x: Tensor, codes: Codes, *, distribution: str = "best") -> QParams:
    """The clipping point that the closed form gives for a Laplace or a normal distribution."""
    return aciq_method.choose_qparams(x, codes.num_bits, distribution=distribution, **codes.keywords)


def ristretto(x: Tensor, codes: Codes, *, kind: str = "parameters") -> QParams:
    """A scale that is a power of two; every block has its own."""
    blocks = codes.granularity.blocks(x.detach())
    rows = blocks.reshape(-1, blocks.shape[-1])
    length = torch.tensor([integer_length(row, kind) for row in rows])
    scale = torch.exp2((length - codes.num_bits).float()).reshape(blocks.shape[:-1])
    largest = 1 << codes.num_bits - 1
    return QParams(
        scale, torch.zeros_like(scale, dtype=torch.int32), 1 - largest, largest - 1, codes.granularity
    )  # without -2^(b-1): the kernels multiply symmetric weights


RANGES: dict[str, Callable[..., QParams]] = {
    "minmax": minmax,
    "percentile": percentile,
    "kl": kl,
    "mse": mse,
    "omse": omse,
    "aciq": aciq,
    "ristretto": ristretto,
}


def thinned(x: Tensor) -> Tensor:
    """Every so many pictures of a large activation, at most about ``ENOUGH`` values; min-max is better served whole."""
    return x[:: max(x.numel() // ENOUGH, 1)]


def _observed(name: str, x: Tensor, codes: Codes, **options: Any) -> QParams:
    observer = observer_named(name)(codes.num_bits, **codes.keywords, **options)
    observer.observe(x)
    return observer.qparams()
