"""Wrong answers to exercise 4.5.3: two derivatives."""

import torch
from torch import Tensor


def _inside(v: Tensor, quant_min: int, quant_max: int) -> Tensor:
    return (v > quant_min) & (v < quant_max)


def _right(v: Tensor, quant_min: int, quant_max: int) -> Tensor:
    inside = _inside(v, quant_min, quant_max)
    return torch.where(inside, torch.round(v) - v, v.clamp(quant_min, quant_max))


def mask_of_rounded_codes(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """You tell inside from outside by the rounded code; half a step beyond an end counts as inside then.

    torch's own learnable quantizer does the same, and its step gets another gradient.
    """
    v = x / step
    code = torch.round(v)
    inside = (code >= quant_min) & (code <= quant_max)
    return inside.to(x.dtype), torch.where(inside, code - v, v.clamp(quant_min, quant_max))


def rounded_codes_strictly_inside(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """You tell inside from outside by the rounded code, and so lose half a step at either end."""
    v = x / step
    inside = _inside(torch.round(v), quant_min, quant_max)
    return inside.to(x.dtype), torch.where(inside, torch.round(v) - v, v.clamp(quant_min, quant_max))


def sign_turned(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """Your derivative by the step is v minus its code inside; it is the reverse."""
    v = x / step
    inside = _inside(v, quant_min, quant_max)
    return inside.to(x.dtype), torch.where(inside, v - torch.round(v), v.clamp(quant_min, quant_max))


def nothing_outside(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """Your derivative by the step is 0 outside; there the value is step times an end."""
    v = x / step
    inside = _inside(v, quant_min, quant_max).to(x.dtype)
    return inside, (torch.round(v) - v) * inside


def first_term_only(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """Your derivative by the step is the code: the step inside round is missing."""
    v = x / step
    return _inside(v, quant_min, quant_max).to(x.dtype), torch.round(v.clamp(quant_min, quant_max))


def second_term_only(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """Your derivative by the step is -v inside: the step in front of round is missing."""
    v = x / step
    inside = _inside(v, quant_min, quant_max)
    return inside.to(x.dtype), torch.where(inside, -v, v.clamp(quant_min, quant_max))


def second_term_outside_too(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """You subtract v outside as well; there the code is constant."""
    v = x / step
    return _inside(v, quant_min, quant_max).to(x.dtype), torch.round(v.clamp(quant_min, quant_max)) - v


def in_real_units(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """Your derivative by the step is multiplied by the step: that is the rounding error in real units."""
    v = x / step
    return _inside(v, quant_min, quant_max).to(x.dtype), _right(v, quant_min, quant_max) * step


def ends_inside(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """You count a value exactly on an end as inside."""
    v = x / step
    inside = (v >= quant_min) & (v <= quant_max)
    return inside.to(x.dtype), torch.where(inside, torch.round(v) - v, v.clamp(quant_min, quant_max))


def outside_above_only(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """You treat values below the range as if they were inside."""
    v = x / step
    inside = v < quant_max
    return inside.to(x.dtype), torch.where(inside, torch.round(v) - v, v.clamp(quant_min, quant_max))


def mirrored_end(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """You take -quant_max for the lower end; the ends need not mirror each other."""
    v = x / step
    inside = _inside(v, -quant_max, quant_max)
    return inside.to(x.dtype), torch.where(inside, torch.round(v) - v, v.clamp(-quant_max, quant_max))


def never_stopped(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """Your derivative by x is 1 everywhere; outside the value does not move with x."""
    v = x / step
    return torch.ones_like(x), _right(v, quant_min, quant_max)


def swapped(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """You return the two derivatives in the wrong order: by x comes first."""
    v = x / step
    return _right(v, quant_min, quant_max), _inside(v, quant_min, quant_max).to(x.dtype)


def rounds_down(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """You round down instead of to the nearest."""
    v = x / step
    inside = _inside(v, quant_min, quant_max)
    return inside.to(x.dtype), torch.where(inside, torch.floor(v) - v, v.clamp(quant_min, quant_max))


def halves_up(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """Your halves go up; they go to the even neighbour."""
    v = x / step
    inside = _inside(v, quant_min, quant_max)
    return inside.to(x.dtype), torch.where(inside, torch.floor(v + 0.5) - v, v.clamp(quant_min, quant_max))


def scaled_by_the_count(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """You scale the derivative by the step already here; the factor belongs to the next exercise."""
    v = x / step
    return _inside(v, quant_min, quant_max).to(x.dtype), _right(v, quant_min, quant_max) / (
        x.numel() * quant_max
    ) ** 0.5
