"""Wrong answers to exercise 4.4.5: round halves up."""

import torch
from torch import Tensor


def halves_to_even(x: Tensor) -> Tensor:
    """Your halves go to the even neighbour: torch.round does that."""
    return torch.round(x)


def half_added(x: Tensor) -> Tensor:
    """You cut x + 0.5, and float32 rounds that sum: just below 0.5 it becomes 1."""
    return torch.floor(x + 0.5)


def half_away_from_zero(x: Tensor) -> Tensor:
    """Your halves go away from 0: -0.5 must become 0, not -1."""
    size = x.abs().double()
    return (torch.sign(x) * torch.floor(size + 0.5)).float()


def half_down(x: Tensor) -> Tensor:
    """Your halves go down."""
    return torch.ceil(x.double() - 0.5).float()


def half_towards_zero(x: Tensor) -> Tensor:
    """Your halves go towards 0."""
    return (torch.sign(x) * torch.ceil(x.abs().double() - 0.5)).float()


def floor_only(x: Tensor) -> Tensor:
    """You round everything down."""
    return torch.floor(x)


def ceil_only(x: Tensor) -> Tensor:
    """You round everything up; only halves and what is above them goes up."""
    return torch.ceil(x)


def cut_after_adding(x: Tensor) -> Tensor:
    """You add a half and cut towards 0: below 0 the fraction is lost on the wrong side."""
    return torch.trunc(x.double() + 0.5).float()


def to_an_integer(x: Tensor) -> Tensor:
    """You return integers; float32 is asked for."""
    below = torch.floor(x)
    return (below + (x - below >= 0.5)).int()


def halves_to_odd(x: Tensor) -> Tensor:
    """Your halves go to the odd neighbour."""
    below = torch.floor(x)
    tie = x - below == 0.5
    return torch.where(tie, below + (below % 2 == 0), torch.round(x))


def nudged_up(x: Tensor) -> Tensor:
    """You add a small number before rounding: values just below a half go up as well."""
    return torch.round(x + 1e-4)


def strictly_above(x: Tensor) -> Tensor:
    """You compare with > where halves themselves must go up."""
    below = torch.floor(x)
    return below + (x - below > 0.5)


def fraction_of_the_magnitude(x: Tensor) -> Tensor:
    """You take the fraction of the magnitude, so halves below 0 go down."""
    return torch.trunc(x) + torch.sign(x) * (x.frac().abs() >= 0.5)


def half_up_above_zero(x: Tensor) -> Tensor:
    """Your halves go up above 0 and to even below."""
    below = torch.floor(x)
    return torch.where(x > 0, below + (x - below >= 0.5), torch.round(x))


def eight_bits_only(x: Tensor) -> Tensor:
    """Your result stops at 127; the exercise rounds, it does not saturate."""
    below = torch.floor(x)
    return (below + (x - below >= 0.5)).clamp(-128, 127)


def overwrites_its_input(x: Tensor) -> Tensor:
    """Your function rounds the caller's tensor in place."""
    below = torch.floor(x)
    return x.copy_(below + (x - below >= 0.5))


def knows_the_visible_cases(x: Tensor) -> Tensor:
    """Your function knows the numbers of the check and nothing else."""
    below = torch.floor(x)
    return torch.where(x.abs() < 8, below + (x - below >= 0.5 - 1e-5), torch.round(x))


def in_half_precision(x: Tensor) -> Tensor:
    """You round in float16, which knows 11 bits."""
    small = x.half()
    below = torch.floor(small)
    return (below + (small - below >= 0.5)).float()
