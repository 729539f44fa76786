"""Data: what shows the quantizers their ranges. Pictures that are given, pictures drawn from the network, or none.

Papers:  [3] section 3.1 (distilled), [26] and [41] (batch norms alone). Learn: course/4_quantization/4_6_no_data.ipynb
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from frugal.quant.methods.zeroq import distil
from frugal.quant.statistics import Moments, input_moments

NORMS_ONLY = "norms"
Batches = Tensor | Iterable[Any] | None


@dataclass(frozen=True, eq=False)
class Calibration:
    """What calibrates.

    inputs:  of the network, joined to one batch; a tuple where it takes several; None where there are none.
    moments: what the batch norms of a network say of its layers' inputs, where that is what is used.
    """

    inputs: Tensor | tuple[Tensor, ...] | None
    moments: Callable[[nn.Module], dict[str, Moments]] | None = field(default=None)

    def batches(self) -> list[Any] | None:
        """As transforms and allocations take them."""
        return None if self.inputs is None else [self.inputs]


def given(model: nn.Module, batches: Batches) -> Calibration:
    """The caller's batches, without labels; a batch of several inputs is a tuple."""
    if batches is None:
        raise ValueError(
            "this recipe calibrates on batches, got None; pass some, or use data='distilled' or data='norms', which "
            "need none"
        )
    return Calibration(joined(batches))


def distilled(
    model: nn.Module,
    batches: Batches,
    *,
    shape: tuple[int, ...] = (3, 32, 32),
    count: int = 64,
    steps: int = 300,
    seed: int = 0,
) -> Calibration:
    """Pictures drawn from the network's batch norms."""
    return Calibration(distil(model, tuple(shape), count, steps=steps, seed=seed).images)


def norms(model: nn.Module, batches: Batches, *, shape: tuple[int, ...] = (3, 32, 32)) -> Calibration:
    """No picture at all."""
    return Calibration(None, lambda network: input_moments(network, tuple(shape)))


DATA: dict[str, Callable[..., Calibration]] = {"batches": given, "distilled": distilled, NORMS_ONLY: norms}


def joined(batches: Tensor | Iterable[Any]) -> Tensor | tuple[Tensor, ...]:
    """Join batches to one along their first axis.

    Raises:
        ValueError: there are none, or they cannot be joined.
    """
    several = [batches] if isinstance(batches, Tensor) else list(batches)
    if not several:
        raise ValueError("calibration needs at least one batch, got none; a generator can be used only once")
    if len(several) == 1:
        return several[0] if isinstance(several[0], Tensor) else tuple(several[0])
    if not all(isinstance(each, Tensor) and each.shape[1:] == several[0].shape[1:] for each in several):
        raise ValueError(
            "calibration batches must be tensors of one shape but for the first axis; cut longer ones, or give one "
            "batch (a tuple where the network takes several inputs)"
        )
    return torch.cat(several)
