"""Wrong answers to exercise 4.2.9: average codes."""

import torch
from torch import Tensor


def _sum(q: Tensor) -> tuple[Tensor, int]:
    return q.long().sum((2, 3)), q.shape[2] * q.shape[3]


def rounded_down(q: Tensor) -> Tensor:
    """You divide without adding a half: the division rounds down."""
    total, count = _sum(q)
    return (total // count).to(q.dtype)


def cut(q: Tensor) -> Tensor:
    """You cut towards zero; Rules ask for the nearest."""
    total, count = _sum(q)
    return torch.div(total, count, rounding_mode="trunc").to(q.dtype)


def half_added_then_cut(q: Tensor) -> Tensor:
    """You add a half and cut towards zero: right above zero, one too large below."""
    total, count = _sum(q)
    return torch.div(2 * total + count, 2 * count, rounding_mode="trunc").to(q.dtype)


def halves_away(q: Tensor) -> Tensor:
    """Your halves go away from zero; here they go up, also below zero."""
    total, count = _sum(q)
    return (total.sign() * ((2 * total.abs() + count) // (2 * count))).to(q.dtype)


def halves_to_even(q: Tensor) -> Tensor:
    """Your halves go to the even neighbour; here they go up."""
    total, count = _sum(q)
    return torch.round(total.double() / count).to(q.dtype)


def halves_down(q: Tensor) -> Tensor:
    """Your halves go down; here they go up."""
    total, count = _sum(q)
    return ((2 * total + count - 1) // (2 * count)).to(q.dtype)


def odd_counts(q: Tensor) -> Tensor:
    """You halve the count before adding it: with an odd count a half gets lost."""
    total, count = _sum(q)
    return ((total + (count + 1) // 2) // count).to(q.dtype)


def sums_in_8_bits(q: Tensor) -> Tensor:
    """Your sum has 8 bits and wraps around."""
    _, count = _sum(q)
    total = q.sum((2, 3), dtype=q.dtype).long()
    return ((2 * total + count) // (2 * count)).to(q.dtype)


def sums_in_16_bits(q: Tensor) -> Tensor:
    """Your sum has 16 bits; 4096 codes need 20."""
    _, count = _sum(q)
    total = q.sum((2, 3), dtype=torch.int16).long()
    return ((2 * total + count) // (2 * count)).to(q.dtype)


def half_precision(q: Tensor) -> Tensor:
    """You average in bfloat16, which knows 8 bits of a number."""
    return torch.floor(q.bfloat16().mean((2, 3)).float() + 0.5).to(q.dtype)


def rows_only(q: Tensor) -> Tensor:
    """You count the rows only."""
    total, _ = _sum(q)
    count = q.shape[2]
    return ((2 * total + count) // (2 * count)).clamp(torch.iinfo(q.dtype).min, torch.iinfo(q.dtype).max).to(q.dtype)


def always_64(q: Tensor) -> Tensor:
    """You divide by 64, which is the count for 8 rows and 8 columns only."""
    total, _ = _sum(q)
    return ((total + 32) >> 6).to(q.dtype)


def the_median(q: Tensor) -> Tensor:
    """You take the median; the mean was asked for."""
    return q.flatten(2).long().median(-1).values.to(q.dtype)


def the_largest(q: Tensor) -> Tensor:
    """You take the largest code; the mean was asked for."""
    return q.flatten(2).amax(-1)


def always_int8(q: Tensor) -> Tensor:
    """Your codes are int8 also where uint8 came in."""
    total, count = _sum(q)
    return ((2 * total + count) // (2 * count)).clamp(-128, 127).to(torch.int8)


def int64_codes(q: Tensor) -> Tensor:
    """Your codes are int64; Returns asks for the dtype of q."""
    total, count = _sum(q)
    return (2 * total + count) // (2 * count)


def axes_kept(q: Tensor) -> Tensor:
    """Your result is [n, c, 1, 1]; Returns asks for [n, c]."""
    total, count = _sum(q)
    return ((2 * total + count) // (2 * count)).to(q.dtype)[..., None, None]
