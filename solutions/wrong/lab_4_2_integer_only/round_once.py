"""Wrong answers to exercise 4.2.5: multiply, round, shift."""

import torch
from torch import Tensor


def rounded_down(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You shift without adding a half: a shift rounds down."""
    return (acc.long() * multiplier) >> shift


def cut(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You cut towards zero; Rules ask for the nearest."""
    product = acc.long() * multiplier
    return product.sign() * (product.abs() >> shift)


def halves_away(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your halves go away from zero; here they go up, also below zero."""
    product = acc.long() * multiplier
    half = torch.ones_like(shift) << (shift - 1)
    return product.sign() * ((product.abs() + half) >> shift)


def halves_down(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your halves go down; Rules send them up."""
    half = torch.ones_like(shift) << (shift - 1)
    return (acc.long() * multiplier + half - 1) >> shift


def halves_to_even(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your halves go to the even neighbour; here they go up."""
    product = acc.long() * multiplier
    half = torch.ones_like(shift) << (shift - 1)
    y = (product + half) >> shift
    tie = ((y << shift) - product) == half
    return y - (tie & (y % 2 == 1)).long()


def whole_one_added(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You add a whole unit of the result; half of one rounds to the nearest."""
    return (acc.long() * multiplier + (torch.ones_like(shift) << shift)) >> shift


def half_of_the_wrong_unit(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You add a half before multiplying, where it is worth something else."""
    return ((acc.long() + 1) * multiplier) >> shift


def one_added(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You add 1; what has to be added is half of 2^shift."""
    return (acc.long() * multiplier + 1) >> shift


def int32_product(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your product has 32 bits and wraps around; widen before you multiply."""
    product = (acc.long() * multiplier).to(torch.int32).long()
    half = torch.ones_like(shift) << (shift - 1)
    return (product + half) >> shift


def half_in_int32(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your half has 32 bits: from a shift of 32 on it is gone."""
    half = (torch.ones_like(shift) << (shift - 1)).to(torch.int32).long()
    return (acc.long() * multiplier + half) >> shift


def in_float64(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You go through float64, which knows 53 bits; a product here has 62."""
    return torch.floor(acc.double() * multiplier.double() / 2.0**shift + 0.5).long()


def in_float32(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You go through float32, which knows 24 bits; a product here has 62."""
    return torch.floor(acc.float() * (multiplier.double() / 2.0**shift).float() + 0.5).long()


def one_shift_for_all(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You use the first shift for every channel."""
    first = shift.flatten()[0]
    return (acc.long() * multiplier + (torch.ones_like(first) << (first - 1))) >> first


def shifted_before(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You shift each factor by half of the shift before multiplying, and lose their low bits."""
    left = shift // 2
    half = torch.ones_like(shift) << (shift - left) >> 1
    return ((acc.long() >> left) * multiplier + half) >> (shift - left)


def int32_result(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your result is int32; Returns asks for int64, which large steps need."""
    half = torch.ones_like(shift) << (shift - 1)
    return ((acc.long() * multiplier + half) >> shift).to(torch.int32)


def twice(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You round twice: first to 2^31, then the rest."""
    right = (shift - 31).clamp(min=0)
    left = shift - right
    high = (acc.long() * multiplier + (torch.ones_like(left) << (left - 1))) >> left
    return (high + ((torch.ones_like(right) << right) >> 1)) >> right


def saturated(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """You saturate at the ends of int32, which the exercise does not ask for."""
    half = torch.ones_like(shift) << (shift - 1)
    return ((acc.long() * multiplier + half) >> shift).clamp(-(2**31), 2**31 - 1)


def numbers_widen_nothing(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Your product is int32: in torch an int64 tensor without axes widens nothing. Widen acc."""
    half = torch.ones_like(shift) << (shift - 1)
    return (acc * multiplier + half) >> shift
