"""How many images of a batch go through a network at once, layer by layer.

Learn:   course/4_quantization

A layer is fast where what it reads was written a moment ago and still lies in the processor's cache. Early layers have
large pictures and few weights: one image after the other goes through all of them. Late layers have small pictures and
many weights: all images together, so that weights are read once.

    images     1   2   3   4     1 2 3 4
    layers     |   |   |   |     =======
    1 to 10    v   v   v   v     =======  11 to 20
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from frugal.quant.integer.operator import Operator

CACHE_BYTES = 1 << 20  # what operands may take of a second-level cache of 1 to 2 MiB; weights need the rest


@dataclass(frozen=True)
class Phase:
    """Steps [first, last), run for ``images`` images at once."""

    first: int
    last: int
    images: int


def choose_phases(batch: int, image_bytes: Sequence[int], weight_bytes: Sequence[int], threads: int = 1) -> list[Phase]:
    """Group the steps of a network.

    Args:
        batch: images.
        image_bytes: what each step reads and writes per image.
        weight_bytes: the weights of each step.
        threads: they share the images, and each brings a cache.

    >>> choose_phases(8, [800_000, 800_000, 100_000, 50_000], [4_000, 40_000, 50_000, 2_000_000])
    [Phase(first=0, last=2, images=1), Phase(first=2, last=4, images=8)]
    """
    wanted = []
    for n, image in enumerate(image_bytes):
        near = slice(max(n - 1, 0), n + 2)  # a step and its neighbours: blocks mix small and large ones
        weights_per_image = sum(weight_bytes[near]) / max(sum(image_bytes[near]), 1)
        wanted.append(max(threads * CACHE_BYTES // max(image, 1), math.ceil(weights_per_image)))
    for n in reversed(range(len(wanted) - 1)):
        wanted[n] = min(wanted[n], wanted[n + 1])  # never fewer images later on: phases stay few
    phases: list[Phase] = []
    for n, images in enumerate(largest_divisor(batch, most) for most in wanted):
        if phases and phases[-1].images == images:
            phases[-1] = Phase(phases[-1].first, n + 1, images)
        else:
            phases.append(Phase(n, n + 1, images))
    return phases


def largest_divisor(batch: int, most: int) -> int:
    """The largest number up to ``most`` that divides the batch; 1 at least."""
    return next(n for n in range(max(1, min(batch, most)), 0, -1) if batch % n == 0)


def weight_bytes_of(operator: Operator) -> int:
    """The bytes of an operator's largest constant: its weights, if it has any."""
    return max((b.numel() * b.element_size() for b in operator.buffers()), default=0)
