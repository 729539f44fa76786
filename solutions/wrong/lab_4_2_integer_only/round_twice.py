"""Wrong answers to exercise 4.2.6: round twice."""

import torch
from torch import Tensor


def _high(acc: Tensor, multiplier: Tensor) -> Tensor:
    return (acc.long() * multiplier + 2**30) >> 31


def _away(high: Tensor, shift: Tensor) -> Tensor:
    one = torch.ones_like(shift) << (shift - 31)
    return high.sign() * ((2 * high.abs() + one) // (2 * one))


def once(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You round once; gemmlowp rounds the high half and then the rest."""
    half = torch.ones_like(shift) << (shift - 1)
    return (acc.long() * multiplier + half) >> shift


def once_away(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You round once, away from zero; gemmlowp rounds the high half and then the rest."""
    product = acc.long() * multiplier
    half = torch.ones_like(shift) << (shift - 1)
    return product.sign() * ((product.abs() + half) >> shift)


def first_rounded_down(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your high half is rounded down."""
    return _away((acc.long() * multiplier) >> 31, shift)


def first_cut(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your high half is cut towards zero."""
    product = acc.long() * multiplier
    return _away(product.sign() * (product.abs() >> 31), shift)


def first_away(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """The halves of your first rounding go away from zero; they go up."""
    product = acc.long() * multiplier
    return _away(product.sign() * ((product.abs() + 2**30) >> 31), shift)


def second_up(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """The halves of your second rounding go up; they go away from zero."""
    right = shift - 31
    half = (torch.ones_like(right) << right) >> 1
    return (_high(acc, multiplier) + half) >> right


def second_rounded_down(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your second rounding is a bare shift, which rounds down."""
    return _high(acc, multiplier) >> (shift - 31)


def second_cut(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your second rounding cuts towards zero."""
    high = _high(acc, multiplier)
    return high.sign() * (high.abs() >> (shift - 31))


def second_to_even(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """The halves of your second rounding go to the even neighbour; they go away from zero."""
    return torch.round(_high(acc, multiplier).double() / 2.0 ** (shift - 31)).long()


def swapped(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your halves go away from zero first and then up; it is the other way round."""
    product = acc.long() * multiplier
    high = product.sign() * ((product.abs() + 2**30) >> 31)
    right = shift - 31
    return (high + ((torch.ones_like(right) << right) >> 1)) >> right


def a_half_at_shift_31(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """At a shift of 31 nothing is left to round, and you add 1 all the same."""
    high, right = _high(acc, multiplier), shift - 31
    half = torch.ones_like(right) << (right - 1).clamp(min=0)
    return high.sign() * ((high.abs() + half) >> right)


def second_forgotten(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You stop after the high half."""
    return _high(acc, multiplier) + 0 * shift


def int32_product(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your product has 32 bits and wraps around; widen before you multiply."""
    product = (acc.long() * multiplier).to(torch.int32).long()
    return _away((product + 2**30) >> 31, shift)


def in_float64(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You go through float64, which knows 53 bits; a product here has 62."""
    return _away(torch.floor(acc.double() * multiplier.double() / 2.0**31 + 0.5).long(), shift)


def high_of_32(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your high half is product / 2^32; it is that of the doubled product, product / 2^31."""
    return _away((acc.long() * multiplier + 2**31) >> 32, shift)


def one_shift_for_all(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You use the first shift for every channel."""
    return _away(_high(acc, multiplier), shift.flatten()[0])


def int32_result(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your result is int32; Returns asks for int64."""
    return _away(_high(acc, multiplier), shift).to(torch.int32)
