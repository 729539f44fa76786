"""Accumulators: what a sum of products becomes when it is kept in few bits.

Paper:   [27] Ni et al., WrapNet: the sums of a network in 8 bits. Lecture: slide 23.
Formula: wrap(z, b)     = (z + 2^(b-1)) mod 2^b - 2^(b-1)      two's complement: b-bit integers lie on a circle
         saturate(z, b) = clamp(z, -2^(b-1), 2^(b-1) - 1)
Learn:   course/4_quantization/4_8_int8_for_real.ipynb

Wrapping is arithmetic modulo 2^b. So it may be done once, at the end, and what happened on the way is forgotten:

    accumulate(x, w, b, "wrap") = wrap(x · w, b)      in whatever order the products are added

Saturating remembers: a sum that has hit the end is wrong from there on, and the order decides which sums do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.core.check import describe

NARROWEST, WIDEST = 2, 62  # bits; int64 does the sums here, and must hold more than what it imitates


def accumulator_range(num_bits: int) -> tuple[int, int]:
    """The smallest and the largest sum that an accumulator holds.

    >>> accumulator_range(8), accumulator_range(16)
    ((-128, 127), (-32768, 32767))
    """
    if isinstance(num_bits, bool) or not isinstance(num_bits, int) or not NARROWEST <= num_bits <= WIDEST:
        raise ValueError(f"an accumulator has {NARROWEST} to {WIDEST} bits, got {num_bits!r}")
    return -(1 << num_bits - 1), (1 << num_bits - 1) - 1


def wrap(x: Tensor, num_bits: int) -> Tensor:
    """Keep the lowest bits of whole numbers, as adding in two's complement does.

    Args:
        x: whole numbers, of any integer or float dtype; a float's gradient passes as it is.
        num_bits: width of the accumulator.

    Returns:
        The same dtype and shape, from -2^(b-1) to 2^(b-1) - 1.

    >>> wrap(torch.tensor([127, 128, 300, -129]), num_bits=8).tolist()
    [127, -128, 44, 127]
    """
    low, _ = accumulator_range(num_bits)
    wide = x if x.is_floating_point() else x.to(torch.int64)  # int8 - (-2^15) would itself overflow
    return (torch.remainder(wide - low, 1 << num_bits) + low).to(x.dtype)


def saturate(x: Tensor, num_bits: int) -> Tensor:
    """Stop whole numbers at the ends of an accumulator.

    >>> saturate(torch.tensor([127, 128, 300, -129]), num_bits=8).tolist()
    [127, 127, 127, -128]
    """
    low, high = accumulator_range(num_bits)
    wide = x if x.is_floating_point() else x.to(torch.int64)
    return wide.clamp(low, high).to(x.dtype)


MODES = {"wrap": wrap, "saturate": saturate}


def accumulate(x: Tensor, w: Tensor, num_bits: int, mode: str = "wrap") -> Tensor:
    """Multiply matrices of codes, adding product after product in an accumulator of few bits.

    Args:
        x: codes of the inputs, integers [rows, k].
        w: codes of the weights, integers [out, k].
        num_bits: width of the accumulator. It must hold a single product, as every processor's does.
        mode: ``"wrap"`` or ``"saturate"``.

    Returns:
        int64 [rows, out]; k is added from first to last.

    >>> x, w = torch.tensor([[100, 100, 100]]), torch.tensor([[1, 1, -1]])
    >>> accumulate(x, w, 8, "wrap").item(), accumulate(x, w, 8, "saturate").item()
    (100, 27)
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    _check_matrices(x, w)
    after = MODES[mode]
    total = torch.zeros(len(x), len(w), dtype=torch.int64)
    for inputs, weights in zip(x.to(torch.int64).T, w.to(torch.int64).T, strict=True):  # [rows], [out]
        total = after(total + inputs[:, None] * weights, num_bits)
    return total


@dataclass(frozen=True, eq=False)
class Excursion:
    """How far exact sums went while they were added up.

    lowest, highest: the ends of the running sum, 0 at the beginning included.   int64 [rows, out]
    final:           where it ended.                                             int64 [rows, out]
    """

    lowest: Tensor
    highest: Tensor
    final: Tensor

    def overflows(self, num_bits: int) -> Tensor:
        """Where the final sum does not fit.  bool [rows, out]"""
        return ~_within(self.final, self.final, num_bits)

    def overflows_on_the_way(self, num_bits: int) -> Tensor:
        """Where some sum on the way, or the final one, does not fit.  bool [rows, out]"""
        return ~_within(self.lowest, self.highest, num_bits)


def excursion(x: Tensor, w: Tensor) -> Excursion:
    """Add up as ``accumulate`` does, with all the bits it takes, and note how far the sums go.

    >>> went = excursion(torch.tensor([[100, 100, 100]]), torch.tensor([[1, 1, -1]]))
    >>> went.overflows(8).item(), went.overflows_on_the_way(8).item()
    (False, True)
    """
    _check_matrices(x, w)
    total = torch.zeros(len(x), len(w), dtype=torch.int64)
    lowest, highest = total.clone(), total.clone()
    for inputs, weights in zip(x.to(torch.int64).T, w.to(torch.int64).T, strict=True):
        total = total + inputs[:, None] * weights
        lowest, highest = torch.minimum(lowest, total), torch.maximum(highest, total)
    return Excursion(lowest, highest, total)


def safe_bits(w: Tensor, x_low: int, x_high: int) -> Tensor:
    """The narrowest accumulator that no input can overflow, not even on the way, for each output.

    Args:
        w: codes of the weights, integers [out, ...].
        x_low, x_high: the smallest and the largest code of an input.

    Returns:
        bits, int64 [out]. The bound is reached: some input needs them.

    >>> safe_bits(torch.tensor([[127, -127], [1, 1]]), 0, 255).tolist()
    [16, 10]
    """
    if not isinstance(w, Tensor) or w.is_floating_point() or w.ndim < 2 or w.numel() == 0:
        raise ValueError(f"w must hold integer codes [out, ...], got {describe(w)}")
    if x_low > x_high:
        raise ValueError(f"x_low must not be above x_high, got {x_low} and {x_high}")
    ends = w.to(torch.int64).flatten(1)[..., None] * torch.tensor([x_low, x_high])  # [out, k, 2]
    high = ends.amax(-1).clamp(min=0).sum(1)  # only products above 0 are added: the worst order puts them first
    low = ends.amin(-1).clamp(max=0).sum(1)
    return torch.maximum(_bits_above(high), _bits_above(-low - 1))


def _bits_above(largest: Tensor) -> Tensor:
    """Bits of a signed integer that holds 0 to ``largest``: 127 takes 8, 128 takes 9."""
    _, exponent = torch.frexp(largest.clamp(min=0).to(torch.float64))  # largest < 2^exponent
    return exponent.to(torch.int64).clamp(min=1) + 1


def _within(lowest: Tensor, highest: Tensor, num_bits: int) -> Tensor:
    low, high = accumulator_range(num_bits)
    return (lowest >= low) & (highest <= high)


def _check_matrices(x: Tensor, w: Tensor) -> None:
    for name, each in (("x", x), ("w", w)):
        if not isinstance(each, Tensor) or each.is_floating_point() or each.ndim != 2 or each.numel() == 0:
            raise ValueError(f"{name} must hold integer codes in two dimensions, got {describe(each)}")
    if x.shape[1] != w.shape[1]:
        raise ValueError(f"x [rows, k] and w [out, k] must have the same k, got {x.shape[1]} and {w.shape[1]}")
