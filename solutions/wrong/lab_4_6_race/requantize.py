"""Wrong answers to exercise 4.6.2: from sums back to codes."""

import torch
from torch import Tensor


def cut(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """You cut towards zero instead of rounding to the nearest."""
    return (torch.trunc(acc.float() * scale) + zero_point).clamp(low, high).to(torch.uint8)


def rounded_down(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """You round down instead of to the nearest."""
    return (torch.floor(acc.float() * scale) + zero_point).clamp(low, high).to(torch.uint8)


def halves_up(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """Your halves go up; the rule is halves to the even neighbour."""
    return (torch.floor(acc.float() * scale + 0.5) + zero_point).clamp(low, high).to(torch.uint8)


def halves_away(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """Your halves go away from zero, as in C's roundf; the rule is halves to the even neighbour."""
    steps = acc.float() * scale
    rounded = steps.sign() * torch.floor(steps.abs() + 0.5)
    return (rounded + zero_point).clamp(low, high).to(torch.uint8)


def zero_point_before_rounding(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """You add the zero-point before rounding, so an odd one sends halves to the other neighbour."""
    return torch.round(acc.float() * scale + zero_point).clamp(low, high).to(torch.uint8)


def zero_point_after_the_ends(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """You hold the ends first and add the zero-point afterwards, which leads out again."""
    return (torch.round(acc.float() * scale).clamp(low, high) + zero_point).to(torch.int64).to(torch.uint8)


def no_zero_point(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """Your codes do not know the zero-point."""
    return torch.round(acc.float() * scale).clamp(low, high).to(torch.uint8)


def zero_point_subtracted(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """You subtract the zero-point; it is the code of real 0, so it is added."""
    return (torch.round(acc.float() * scale) - zero_point).clamp(low, high).to(torch.uint8)


def wraps(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """You take the 8-bit type before the ends hold: what does not fit wraps around."""
    codes = (torch.round(acc.float() * scale) + zero_point).to(torch.int64).to(torch.uint8)
    return codes.clamp(low, high)


def ends_of_uint8(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """You hold 0 and 255 and not low and high, so no activation happens."""
    return (torch.round(acc.float() * scale) + zero_point).clamp(0, 255).to(torch.uint8)


def only_below(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """You hold the lower end only."""
    return (torch.round(acc.float() * scale) + zero_point).clamp(min=low).to(torch.int64).to(torch.uint8)


def in_float64(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """Your product is float64; the kernels round it to float32 first, and so does the definition."""
    return (torch.round(acc.double() * scale.double()) + zero_point).clamp(low, high).to(torch.uint8)


def divided(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """You divide by the scale; it is in steps of the output per step of the sum, so it multiplies."""
    return (torch.round(acc.float() / scale) + zero_point).clamp(low, high).to(torch.uint8)


def one_scale(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """You use the first scale for every output channel."""
    return (torch.round(acc.float() * scale[0]) + zero_point).clamp(low, high).to(torch.uint8)


def int8_codes(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """Your codes are int8, which ends at 127."""
    return (torch.round(acc.float() * scale) + zero_point).clamp(low, high).clamp(max=127).to(torch.int8)


def float_codes(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """Your codes are float32 numbers that happen to be whole; Returns asks for uint8."""
    return (torch.round(acc.float() * scale) + zero_point).clamp(low, high)


def int32_before_the_ends(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """You take 16 bits before the ends hold: large sums come out wrong."""
    steps = torch.round(acc.float() * scale).to(torch.int64).to(torch.int16) + zero_point
    return steps.clamp(low, high).to(torch.uint8)
