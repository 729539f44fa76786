"""Right answers to exercise 4.2.4, each written differently."""

import math
from fractions import Fraction


def with_fractions(scale: float, num_bits: int = 31) -> tuple[int, int]:
    if not math.isfinite(scale) or scale <= 0:
        raise ValueError("scale must be above 0 and finite")
    exact, shift = Fraction(scale), 0
    while round(exact * Fraction(2) ** shift) < 2 ** (num_bits - 1):
        shift += 1
    while round(exact * Fraction(2) ** shift) >= 2**num_bits:
        shift -= 1
    while exact * Fraction(2) ** (shift + 1) < 2**num_bits and round(exact * Fraction(2) ** (shift + 1)) < 2**num_bits:
        shift += 1
    return round(exact * Fraction(2) ** shift), shift


def by_doubling(scale: float, num_bits: int = 31) -> tuple[int, int]:
    if not 0 < scale < math.inf:
        raise ValueError(f"no fraction for {scale}")
    shift, low, high = 0, 2.0 ** (num_bits - 1), 2.0**num_bits
    while scale < low:
        scale, shift = scale * 2, shift + 1
    while scale >= high:
        scale, shift = scale / 2, shift - 1
    multiplier = round(scale)
    return (multiplier, shift) if multiplier < high else (multiplier // 2, shift - 1)


def from_the_integers_of_the_float(scale: float, num_bits: int = 31) -> tuple[int, int]:
    if math.isnan(scale) or math.isinf(scale) or scale <= 0:
        raise ValueError("scale must be a positive real")
    top, bottom = float(scale).as_integer_ratio()  # bottom is a power of two, or top is whole
    shift = num_bits - (math.frexp(scale)[1])
    scaled = (top << max(shift, 0), bottom << max(-shift, 0))
    multiplier, rest = divmod(*scaled)
    if 2 * rest > scaled[1] or (2 * rest == scaled[1] and multiplier % 2):
        multiplier += 1
    if multiplier >> num_bits:
        return multiplier >> 1, shift - 1
    return multiplier, shift
