"""Right answers to exercise 4.4.1, each written differently."""

import math

import torch
from torch import Tensor


def by_trapezoids(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    beyond = torch.relu(x.abs() - alpha)
    return alpha**2 / (3 * 4**num_bits), torch.trapezoid(density * beyond**2, x).item()


def tail_by_tail(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    spacing = (x[-1] - x[0]) / (len(x) - 1)
    right, left = x > alpha, x < -alpha
    overload = ((x - alpha)[right] ** 2 * density[right]).sum() + ((x + alpha)[left] ** 2 * density[left]).sum()
    return (alpha / 2 ** (num_bits - 1)) ** 2 / 12, float(overload * spacing)


def point_by_point(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    points, weights = x.tolist(), density.tolist()
    spacing = points[1] - points[0]
    total = math.fsum(max(abs(v) - alpha, 0.0) ** 2 * d for v, d in zip(points, weights, strict=True))
    width = 2.0 * alpha / (1 << num_bits)
    return width * width / 12, total * spacing


def clipped_difference(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    gone = (x - x.clamp(-alpha, alpha)).square()
    return (2 * alpha * 2.0**-num_bits) ** 2 / 12, (torch.dot(gone, density) * x.diff().mean()).item()
