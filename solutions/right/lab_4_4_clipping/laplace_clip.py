"""Right answers to exercise 4.4.2, each written differently."""

import math


def newton(num_bits: int) -> float:
    target = 3 * 4.0**num_bits
    alpha = math.log(target)
    for _ in range(60):
        alpha -= (alpha - target * math.exp(-alpha)) / (alpha + 1)
    return alpha


def halving(num_bits: int) -> float:
    low, high = 0.0, 40.0
    for _ in range(100):
        middle = (low + high) / 2
        if middle * math.exp(middle) < 3 * 4**num_bits:
            low = middle
        else:
            high = middle
    return high


def least_error(num_bits: int) -> float:
    """Bisect the slope of 2 exp(-a) + a² / (3 · 4^b)."""
    low, high = 1e-9, 100.0
    for _ in range(200):
        a = 0.5 * (low + high)
        low, high = (a, high) if 2 * a / (3 * 4.0**num_bits) - 2 * math.exp(-a) < 0 else (low, a)
    return low


def until_it_stands(num_bits: int) -> float:
    target, alpha, before = math.log(3 * 4**num_bits), 1.0, 0.0
    while abs(alpha - before) > 1e-14 * alpha:
        before, alpha = alpha, (alpha + target - math.log(alpha)) / 2
    return alpha
