"""Calibration data: a few unlabelled pictures that show a quantizer the ranges it will meet.

Practice: 512 pictures, drawn without replacement, never from the test set.
"""

from __future__ import annotations

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.core.seed import generator


def calibration_batches(images: Tensor, count: int = 512, *, batch_size: int = 128, seed: int = 0) -> list[Tensor]:
    """Pick ``count`` different pictures at random and cut them into batches; the last one may be smaller.

    Args:
        images: training pictures, [n, ...], n at least ``count``.
        count: how many to pick.
        batch_size: pictures per batch.
        seed: the same seed picks the same pictures.

    Raises:
        ValueError: more pictures are asked for than there are, or none.

    >>> [len(batch) for batch in calibration_batches(torch.zeros(100, 3), 20, batch_size=8)]
    [8, 8, 4]
    """
    if not 1 <= count <= len(images):
        raise ValueError(f"count must be from 1 to the {len(images)} pictures given ({describe(images)}), got {count}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
    chosen = torch.randperm(len(images), generator=generator("calibration", seed))[:count]
    return list(images[chosen].split(batch_size))
