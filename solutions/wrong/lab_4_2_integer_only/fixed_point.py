"""Wrong answers to exercise 4.2.4: a fraction for a scale."""

import math


def _refuse(scale: float) -> None:
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be above 0 and finite, got {scale}")


def cut(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """You cut the multiplier; Rules ask for the nearest."""
    _refuse(scale)
    mantissa, exponent = math.frexp(scale)
    return int(mantissa * 2**num_bits), num_bits - exponent


def rounded_up(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """You round the multiplier up; Rules ask for the nearest."""
    _refuse(scale)
    mantissa, exponent = math.frexp(scale)
    multiplier = math.ceil(mantissa * 2**num_bits)
    if multiplier == 2**num_bits:
        multiplier, exponent = multiplier // 2, exponent + 1
    return multiplier, num_bits - exponent


def halves_up(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """Your halves go up; Rules send them to the even neighbour."""
    _refuse(scale)
    mantissa, exponent = math.frexp(scale)
    multiplier = math.floor(mantissa * 2**num_bits + 0.5)
    if multiplier == 2**num_bits:
        multiplier, exponent = multiplier // 2, exponent + 1
    return multiplier, num_bits - exponent


def one_bit_too_wide(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """A mantissa close to 1 rounds up to 2^num_bits, which needs one bit more."""
    _refuse(scale)
    mantissa, exponent = math.frexp(scale)
    return round(mantissa * 2**num_bits), num_bits - exponent


def saturated(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """A mantissa close to 1 ends at the largest multiplier; the next power of two is nearer."""
    _refuse(scale)
    mantissa, exponent = math.frexp(scale)
    return min(round(mantissa * 2**num_bits), 2**num_bits - 1), num_bits - exponent


def exponent_forgotten(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """You halve the multiplier that is too wide and leave the shift as it was."""
    _refuse(scale)
    mantissa, exponent = math.frexp(scale)
    multiplier = round(mantissa * 2**num_bits)
    return (multiplier // 2 if multiplier == 2**num_bits else multiplier), num_bits - exponent


def exponent_turned(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """You turn the sign of the exponent: a small scale needs a large shift."""
    _refuse(scale)
    mantissa, exponent = math.frexp(scale)
    multiplier = round(mantissa * 2**num_bits)
    if multiplier == 2**num_bits:
        multiplier, exponent = multiplier // 2, exponent + 1
    return multiplier, num_bits + exponent


def shift_beyond_31(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """Your shift counts from 31 on; here it is the whole shift."""
    _refuse(scale)
    mantissa, exponent = math.frexp(scale)
    multiplier = round(mantissa * 2**num_bits)
    if multiplier == 2**num_bits:
        multiplier, exponent = multiplier // 2, exponent + 1
    return multiplier, -exponent


def always_31_bits(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """You ignore num_bits."""
    _refuse(scale)
    mantissa, exponent = math.frexp(scale)
    multiplier = round(mantissa * 2**31)
    if multiplier == 2**31:
        multiplier, exponent = multiplier // 2, exponent + 1
    return multiplier, 31 - exponent


def one_bit_idle(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """Your multiplier leaves its highest bit idle."""
    _refuse(scale)
    mantissa, exponent = math.frexp(scale)
    multiplier = round(mantissa * 2 ** (num_bits - 1))
    if multiplier == 2 ** (num_bits - 1) and num_bits > 1:
        multiplier, exponent = multiplier // 2, exponent + 1
    return multiplier, num_bits - 1 - exponent


def from_the_logarithm(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """You take the exponent from a rounded logarithm, which may be one too large."""
    _refuse(scale)
    exponent = round(math.log2(scale)) + 1
    multiplier = round(math.ldexp(scale, num_bits - exponent))
    return multiplier, num_bits - exponent


def narrowed_from_31(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """You round to 31 bits first and narrow that: some values are rounded twice."""
    _refuse(scale)
    mantissa, exponent = math.frexp(scale)
    multiplier = round(round(mantissa * 2**31) / 2 ** (31 - num_bits))
    if multiplier == 2**num_bits:
        multiplier, exponent = multiplier // 2, exponent + 1
    return multiplier, num_bits - exponent


def anything_goes(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """You take any scale; Raises asks for a ValueError."""
    mantissa, exponent = math.frexp(scale)
    if not math.isfinite(scale):
        return 0, 0
    multiplier = round(mantissa * 2**num_bits)
    if multiplier == 2**num_bits:
        multiplier, exponent = multiplier // 2, exponent + 1
    return multiplier, num_bits - exponent


def nan_goes(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """nan comes through: comparisons with it are False."""
    if scale <= 0 or scale == math.inf:
        raise ValueError("scale must be above 0 and finite")
    if math.isnan(scale):
        return 2 ** (num_bits - 1), num_bits
    mantissa, exponent = math.frexp(scale)
    multiplier = round(mantissa * 2**num_bits)
    if multiplier == 2**num_bits:
        multiplier, exponent = multiplier // 2, exponent + 1
    return multiplier, num_bits - exponent


def negative_goes(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """A scale below 0 comes through."""
    if scale == 0 or not math.isfinite(scale):
        raise ValueError("scale must be above 0 and finite")
    mantissa, exponent = math.frexp(scale)
    multiplier = round(mantissa * 2**num_bits)
    if multiplier == 2**num_bits:
        multiplier, exponent = multiplier // 2, exponent + 1
    return multiplier, num_bits - exponent


def the_fraction_itself(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """You return the fraction as a float; Returns asks for two ints."""
    _refuse(scale)
    mantissa, exponent = math.frexp(scale)
    return float(round(mantissa * 2**num_bits)), num_bits - exponent


def shift_negated(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """Your shift has the opposite sign: to divide, it is above 0."""
    _refuse(scale)
    mantissa, exponent = math.frexp(scale)
    multiplier = round(mantissa * 2**num_bits)
    if multiplier == 2**num_bits:
        multiplier, exponent = multiplier // 2, exponent + 1
    return multiplier, exponent - num_bits
