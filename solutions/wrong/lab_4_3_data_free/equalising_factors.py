"""Wrong answers to exercise 4.3.1: equal ranges."""

import torch
from torch import Tensor


def _ranges(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    return first.flatten(1).abs().amax(1), second.flatten(1).abs().amax(1)


def _where(r1: Tensor, r2: Tensor, s: Tensor) -> Tensor:
    return torch.where((r1 > 0) & (r2 > 0), s, torch.ones_like(s))


def upside_down(first: Tensor, second: Tensor) -> Tensor:
    """Your quotient is upside down, so the two ranges move apart instead of together."""
    r1, r2 = _ranges(first, second)
    return _where(r1, r2, torch.sqrt(r2 / r1))


def without_root(first: Tensor, second: Tensor) -> Tensor:
    """You give the first weight the range of the second; both should move and meet in between."""
    r1, r2 = _ranges(first, second)
    return _where(r1, r2, r1 / r2)


def first_range_to_one(first: Tensor, second: Tensor) -> Tensor:
    """You divide by the first range, so that it becomes 1 whatever the second one is then."""
    r1, r2 = _ranges(first, second)
    return _where(r1, r2, r1)


def common_range(first: Tensor, second: Tensor) -> Tensor:
    """You return the range that both have afterwards instead of the factor that leads there."""
    r1, r2 = _ranges(first, second)
    return _where(r1, r2, torch.sqrt(r1 * r2))


def without_absolute_value(first: Tensor, second: Tensor) -> Tensor:
    """You take the largest weight; the largest magnitude may belong to a negative one."""
    r1, r2 = first.flatten(1).amax(1), second.flatten(1).amax(1)
    return _where(r1, r2, torch.sqrt(r1 / r2))


def max_minus_min(first: Tensor, second: Tensor) -> Tensor:
    """You take the distance from the smallest to the largest weight; the step is set by the largest magnitude."""
    r1, r2 = (w.flatten(1).amax(1) - w.flatten(1).amin(1) for w in (first, second))
    return _where(r1, r2, torch.sqrt(r1 / r2))


def norms(first: Tensor, second: Tensor) -> Tensor:
    """You compare Euclidean norms of channels; the step is set by the largest magnitude."""
    r1, r2 = (w.flatten(1).norm(dim=1) for w in (first, second))
    return _where(r1, r2, torch.sqrt(r1 / r2))


def mean_magnitudes(first: Tensor, second: Tensor) -> Tensor:
    """You compare mean magnitudes; the step is set by the largest one."""
    r1, r2 = (w.flatten(1).abs().mean(1) for w in (first, second))
    return _where(r1, r2, torch.sqrt(r1 / r2))


def one_for_all(first: Tensor, second: Tensor) -> Tensor:
    """You take the ranges of whole tensors, so every channel gets the same factor."""
    r1, r2 = first.abs().max(), second.abs().max()
    return torch.sqrt(r1 / r2).expand(len(first)).clone() if r1 > 0 and r2 > 0 else torch.ones(len(first))


def silent_gives_infinity(first: Tensor, second: Tensor) -> Tensor:
    """A channel of zeros gets the factor 0, infinity or nan; it should be left alone."""
    r1, r2 = _ranges(first, second)
    return torch.sqrt(r1 / r2)


def only_zero_by_zero(first: Tensor, second: Tensor) -> Tensor:
    """You catch only 0 / 0; where one of the two ranges is 0 the factor becomes 0 or infinity."""
    r1, r2 = _ranges(first, second)
    return torch.nan_to_num(torch.sqrt(r1 / r2), nan=1.0, posinf=torch.inf)


def only_the_second_silent(first: Tensor, second: Tensor) -> Tensor:
    """You look for zeros in the second weight only; a silent channel of the first gets the factor 0."""
    r1, r2 = _ranges(first, second)
    return torch.where(r2 > 0, torch.sqrt(r1 / r2), torch.ones_like(r1))


def epsilon_below(first: Tensor, second: Tensor) -> Tensor:
    """You keep ranges above a small constant, which is too large for small weights and gives no 1 for zeros."""
    r1, r2 = (each.clamp(min=1e-6) for each in _ranges(first, second))
    return torch.sqrt(r1 / r2)


def one_axis_only(first: Tensor, second: Tensor) -> Tensor:
    """You reduce one axis only; a kernel has three axes beside the channels."""
    r1, r2 = first.abs().amax(1), second.abs().amax(1)
    return _where(r1, r2, torch.sqrt(r1 / r2))


def keeps_the_axis(first: Tensor, second: Tensor) -> Tensor:
    """Your factors have the shape [channels, 1]; one axis was asked for."""
    r1, r2 = _ranges(first, second)
    return _where(r1, r2, torch.sqrt(r1 / r2))[:, None]


def overwrites_its_input(first: Tensor, second: Tensor) -> Tensor:
    """Your function takes magnitudes in place, so the caller's weights have lost their signs."""
    r1, r2 = first.abs_().flatten(1).amax(1), second.abs_().flatten(1).amax(1)
    return _where(r1, r2, torch.sqrt(r1 / r2))


def a_list(first: Tensor, second: Tensor) -> list:
    """You return a list; a tensor was asked for."""
    r1, r2 = _ranges(first, second)
    return _where(r1, r2, torch.sqrt(r1 / r2)).tolist()


def knows_the_visible_cases(first: Tensor, second: Tensor) -> Tensor:
    """Your function knows the numbers of the check and nothing else."""
    known = {1: [2.0], 2: [3.0, 0.5], 3: [1.0, 1.0, 1.0]}
    return torch.tensor(known.get(len(first), [1.0] * len(first)))
