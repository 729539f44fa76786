"""Wrong answers to exercise 4.2.8: add codes of two scales."""

import torch
from torch import Tensor

from frugal.quant.affine import QParams

BITS = 20


def _factor(x: QParams, y: QParams, bits: int = BITS) -> int:
    return round(float(x.scale) / float(y.scale) * 2**bits)


def _centred(q: Tensor, x: QParams) -> Tensor:
    return q.long() - int(x.zero_point)


def _halved(total: Tensor, bits: int = BITS) -> Tensor:
    return (total + (1 << bits - 1)) >> bits


def rounded_one_by_one(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You round each side by itself, and then add: two roundings instead of one."""
    return _halved(_centred(q_a, a) * _factor(a, y)) + _halved(_centred(q_b, b) * _factor(b, y))


def codes_added(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You add the codes as if they had one scale."""
    return _centred(q_a, a) + _centred(q_b, b)


def codes_added_in_8_bits(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You add in 8 bits, which wrap around."""
    left = (_centred(q_a, a) * _factor(a, y)).to(torch.int64)
    total = left + (q_b - int(b.zero_point)).to(q_b.dtype).long() * _factor(b, y)
    return _halved(total)


def one_factor_for_both(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You use the factor of the first side for both."""
    return _halved((_centred(q_a, a) + _centred(q_b, b)) * _factor(a, y))


def factors_swapped(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """Your factors are swapped."""
    return _halved(_centred(q_a, a) * _factor(b, y) + _centred(q_b, b) * _factor(a, y))


def zero_points_forgotten(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """Your zero-points are missing: every sum is shifted."""
    return _halved(q_a.long() * _factor(a, y) + q_b.long() * _factor(b, y))


def zero_points_added(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You add the zero-points; centred codes have them taken away."""
    left, right = q_a.long() + int(a.zero_point), q_b.long() + int(b.zero_point)
    return _halved(left * _factor(a, y) + right * _factor(b, y))


def one_zero_point(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You centre the second side with the zero-point of the first."""
    return _halved(_centred(q_a, a) * _factor(a, y) + _centred(q_b, a) * _factor(b, y))


def output_zero_point_added(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You add the zero-point of the result; that comes later."""
    return _halved(_centred(q_a, a) * _factor(a, y) + _centred(q_b, b) * _factor(b, y)) + int(y.zero_point)


def output_scale_forgotten(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """Your steps are those of real 1; they should be those of y.scale."""
    left, right = round(float(a.scale) * 2**BITS), round(float(b.scale) * 2**BITS)
    return _halved(_centred(q_a, a) * left + _centred(q_b, b) * right)


def rounded_down(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You shift without adding a half: a shift rounds down."""
    return (_centred(q_a, a) * _factor(a, y) + _centred(q_b, b) * _factor(b, y)) >> BITS


def cut(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You cut towards zero; Rules ask for the nearest."""
    total = _centred(q_a, a) * _factor(a, y) + _centred(q_b, b) * _factor(b, y)
    return total.sign() * (total.abs() >> BITS)


def halves_away(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """Your halves go away from zero; here they go up, also below zero."""
    total = _centred(q_a, a) * _factor(a, y) + _centred(q_b, b) * _factor(b, y)
    return total.sign() * _halved(total.abs())


def in_float32(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You add float32 numbers, which rounds on the way."""
    left = _centred(q_a, a).float() * (a.scale / y.scale)
    right = _centred(q_b, b).float() * (b.scale / y.scale)
    return torch.floor(left + right + 0.5).long()


def eight_bits_of_factor(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """Your factors have 8 bits behind the point; Rules ask for 20."""
    return _halved(_centred(q_a, a) * _factor(a, y, 8) + _centred(q_b, b) * _factor(b, y, 8), 8)


def factors_cut(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You cut the factors; Rules ask for the nearest whole number."""
    left, right = (int(float(x.scale) / float(y.scale) * 2**BITS) for x in (a, b))
    return _halved(_centred(q_a, a) * left + _centred(q_b, b) * right)


def int32_products(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """Your products have 32 bits, which factors above 8 exceed."""
    left = (_centred(q_a, a) * _factor(a, y)).to(torch.int32)
    right = (_centred(q_b, b) * _factor(b, y)).to(torch.int32)
    return _halved((left + right).long())


def subtracted(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You take the second side away."""
    return _halved(_centred(q_a, a) * _factor(a, y) - _centred(q_b, b) * _factor(b, y))


def saturated(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You saturate here; ReLU and the ends come later."""
    return _halved(_centred(q_a, a) * _factor(a, y) + _centred(q_b, b) * _factor(b, y)).clamp(-128, 127)


def int32_result(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """Your result is int32; Returns asks for int64."""
    return _halved(_centred(q_a, a) * _factor(a, y) + _centred(q_b, b) * _factor(b, y)).to(torch.int32)


def numbers_widen_nothing(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """You compute in 8 bits: in torch a tensor without axes widens nothing. Widen the codes."""
    left = (q_a - a.zero_point) * torch.tensor(_factor(a, y))
    return (left + (q_b - b.zero_point) * torch.tensor(_factor(b, y)) + 2**19) >> BITS
