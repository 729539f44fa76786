"""The ten figures that ``data.drawn`` paints, as signed distances: negative inside, 0 on the outline, positive outside.

Each takes local coordinates u (to the right) and v (down), in which the figure fills about the unit disc, and a detail
from 0 to 1 that varies its shape; all are [n, h, w] or [n, 1, 1]. The distance is in the same units, and exact near the
straight parts of the outline.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def _disc(u: Tensor, v: Tensor, detail: Tensor) -> Tensor:
    return torch.hypot(u, v) - 0.85


def _ring(u: Tensor, v: Tensor, detail: Tensor) -> Tensor:
    half_width = 0.13 + 0.12 * detail
    return (torch.hypot(u, v) - (0.92 - half_width)).abs() - half_width


def _square(u: Tensor, v: Tensor, detail: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) - 0.75


def _triangle(u: Tensor, v: Tensor, detail: Tensor) -> Tensor:
    slope = math.sqrt(3.0) / 2
    return torch.maximum(-v, slope * u.abs() + v / 2) - 0.52


def _star(u: Tensor, v: Tensor, detail: Tensor) -> Tensor:
    """Five points: fold the plane into one half-point, then measure to the line from the tip to the notch."""
    sector = 2 * math.pi / 5
    angle = (torch.remainder(torch.atan2(v, u), sector) - sector / 2).abs()  # 0 at a notch, sector / 2 at a tip
    r = torch.hypot(u, v)
    x, y = r * angle.cos(), r * angle.sin()
    notch, tip = 0.38 + 0.1 * detail, 1.05
    tip_x, tip_y = tip * math.cos(sector / 2), tip * math.sin(sector / 2)
    along_x, along_y = tip_x - notch, torch.as_tensor(tip_y)
    return ((x - notch) * along_y - y * along_x) / torch.hypot(along_x, along_y)


def _cross(u: Tensor, v: Tensor, detail: Tensor) -> Tensor:
    half_width = 0.18 + 0.12 * detail
    a, b = u.abs(), v.abs()
    return torch.maximum(torch.minimum(a, b) - half_width, torch.maximum(a, b) - 0.92)


def _crescent(u: Tensor, v: Tensor, detail: Tensor) -> Tensor:
    bite = torch.hypot(u - (0.42 + 0.15 * detail), v)
    return torch.maximum(torch.hypot(u, v) - 0.92, 0.72 - bite)


def _window(u: Tensor, v: Tensor, detail: Tensor) -> Tensor:
    """What textures are cut out of: a disc for one half of the details, a square for the other."""
    return torch.where(detail < 0.5, torch.hypot(u, v) - 0.95, torch.maximum(u.abs(), v.abs()) - 0.82)


def _waves(x: Tensor, detail: Tensor) -> Tensor:
    """Distance to bars whose period is two fifths to three fifths of the figure's radius."""
    period = 0.62 + 0.2 * torch.remainder(7 * detail, 1.0)
    return (torch.remainder(x / period, 1.0) - 0.5).abs() * period - period / 4


def _stripes(u: Tensor, v: Tensor, detail: Tensor) -> Tensor:
    return torch.maximum(_window(u, v, detail), _waves(u, detail))


def _checker(u: Tensor, v: Tensor, detail: Tensor) -> Tensor:
    a, b = _waves(u, detail), _waves(v, detail)
    board = torch.where((a < 0) == (b < 0), -1.0, 1.0) * torch.minimum(a.abs(), b.abs())
    return torch.maximum(_window(u, v, detail), board)


def _spiral(u: Tensor, v: Tensor, detail: Tensor) -> Tensor:
    pitch = 0.5 + 0.15 * detail
    r = torch.hypot(u, v)
    turn = torch.remainder(r / pitch - torch.atan2(v, u) / (2 * math.pi), 1.0)
    return torch.maximum((turn - 0.5).abs() * pitch - pitch / 4, r - 1.0)


FIGURES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "crescent": _crescent,
    "stripes": _stripes,
    "checker": _checker,
    "spiral": _spiral,
}
