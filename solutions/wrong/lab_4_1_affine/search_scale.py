"""Wrong answers to exercise 4.1.8: search the step."""

import torch
from torch import Tensor


def _candidates(x: Tensor, num_bits: int) -> tuple[Tensor, int]:
    top = 2 ** (num_bits - 1) - 1
    return x.abs().max() / top * torch.arange(1, 101) / 100, top


def _errors(x: Tensor, candidates: Tensor, low: float, high: float) -> Tensor:
    """Differences of every candidate, [candidates, values]."""
    scale = candidates.reshape(-1, 1)
    return x.reshape(1, -1) - scale * torch.round(x.reshape(1, -1) / scale).clamp(low, high)


def no_search(x: Tensor, num_bits: int = 4) -> Tensor:
    """You return the scale of equation (1), which never clips; a smaller one may err less."""
    return x.abs().max() / (2 ** (num_bits - 1) - 1) if x.any() else torch.ones(())


def without_saturation(x: Tensor, num_bits: int = 4) -> Tensor:
    """Your candidates never clip, so the finest step always wins."""
    candidates, _ = _candidates(x, num_bits)
    errors = _errors(x, candidates, -1e30, 1e30).square().sum(dim=1)
    return candidates[errors.argmin()] if x.any() else torch.ones(())


def absolute_error(x: Tensor, num_bits: int = 4) -> Tensor:
    """You add up absolute errors; Rules ask for squares, which weigh large errors more."""
    candidates, top = _candidates(x, num_bits)
    return candidates[_errors(x, candidates, -top, top).abs().sum(dim=1).argmin()] if x.any() else torch.ones(())


def largest_error(x: Tensor, num_bits: int = 4) -> Tensor:
    """You look at the largest error alone; Rules ask for the sum of squares."""
    candidates, top = _candidates(x, num_bits)
    return candidates[_errors(x, candidates, -top, top).abs().amax(dim=1).argmin()] if x.any() else torch.ones(())


def signed_error(x: Tensor, num_bits: int = 4) -> Tensor:
    """Your errors cancel: positive and negative ones are added without squaring."""
    candidates, top = _candidates(x, num_bits)
    return candidates[_errors(x, candidates, -top, top).sum(dim=1).abs().argmin()] if x.any() else torch.ones(())


def error_in_steps(x: Tensor, num_bits: int = 4) -> Tensor:
    """You measure errors in steps; candidates can be compared in real units only."""
    candidates, top = _candidates(x, num_bits)
    errors = (_errors(x, candidates, -top, top) / candidates.reshape(-1, 1)).square().sum(dim=1)
    return candidates[errors.argmin()] if x.any() else torch.ones(())


def worst_candidate(x: Tensor, num_bits: int = 4) -> Tensor:
    """You return the candidate that errs most."""
    candidates, top = _candidates(x, num_bits)
    return candidates[_errors(x, candidates, -top, top).square().sum(dim=1).argmax()] if x.any() else torch.ones(())


def returns_the_range(x: Tensor, num_bits: int = 4) -> Tensor:
    """You return the clipping range; the scale is the range divided by the largest code."""
    candidates, top = _candidates(x, num_bits)
    best = _errors(x, candidates, -top, top).square().sum(dim=1).argmin()
    return candidates[best] * top if x.any() else torch.ones(())


def returns_the_error(x: Tensor, num_bits: int = 4) -> Tensor:
    """You return the smallest error instead of the scale that has it."""
    candidates, top = _candidates(x, num_bits)
    return _errors(x, candidates, -top, top).square().sum(dim=1).min() if x.any() else torch.ones(())


def returns_the_number(x: Tensor, num_bits: int = 4) -> Tensor:
    """You return the number of the best candidate instead of the candidate."""
    candidates, top = _candidates(x, num_bits)
    return _errors(x, candidates, -top, top).square().sum(dim=1).argmin().float() if x.any() else torch.ones(())


def one_code_too_many(x: Tensor, num_bits: int = 4) -> Tensor:
    """You let codes reach -2^(b-1); symmetric codes end at -(2^(b-1) - 1)."""
    candidates, top = _candidates(x, num_bits)
    errors = _errors(x, candidates, -top - 1, top).square().sum(dim=1)
    return candidates[errors.argmin()] if x.any() else torch.ones(())


def ten_candidates(x: Tensor, num_bits: int = 4) -> Tensor:
    """You try ten candidates; Rules name a hundred."""
    candidates, top = _candidates(x, num_bits)
    candidates = candidates[9::10]
    errors = _errors(x, candidates, -top, top).square().sum(dim=1)
    return candidates[errors.argmin()] if x.any() else torch.ones(())


def upper_half_only(x: Tensor, num_bits: int = 4) -> Tensor:
    """You never try less than half of the range; few bits and heavy tails want less."""
    candidates, top = _candidates(x, num_bits)
    candidates = candidates[49:]
    errors = _errors(x, candidates, -top, top).square().sum(dim=1)
    return candidates[errors.argmin()] if x.any() else torch.ones(())


def rounded_down(x: Tensor, num_bits: int = 4) -> Tensor:
    """Your codes are rounded down instead of to the nearest."""
    candidates, top = _candidates(x, num_bits)
    scale = candidates.reshape(-1, 1)
    errors = (x.reshape(1, -1) - scale * torch.floor(x.reshape(1, -1) / scale).clamp(-top, top)).square().sum(dim=1)
    return candidates[errors.argmin()] if x.any() else torch.ones(())


def unclipped_values_only(x: Tensor, num_bits: int = 4) -> Tensor:
    """You leave clipped values out of the error, so clipping costs nothing."""
    candidates, top = _candidates(x, num_bits)
    inside = x.reshape(1, -1).abs() <= candidates.reshape(-1, 1) * top
    errors = (_errors(x, candidates, -top, top) * inside).square().sum(dim=1)
    return candidates[errors.argmin()] if x.any() else torch.ones(())


def percentile(x: Tensor, num_bits: int = 4) -> Tensor:
    """You clip a fixed share of the values; Rules ask for the candidate with the least squared error."""
    return torch.quantile(x.abs(), 0.99) / (2 ** (num_bits - 1) - 1) if x.any() else torch.ones(())


def always_4_bits(x: Tensor, num_bits: int = 4) -> Tensor:
    """You search at 4 bits whatever num_bits is."""
    candidates, top = _candidates(x, 4)
    return candidates[_errors(x, candidates, -top, top).square().sum(dim=1).argmin()] if x.any() else torch.ones(())


def nan_for_zeros(x: Tensor, num_bits: int = 4) -> Tensor:
    """A tensor of zeros has only candidates of 0, and 0 / 0 is nan."""
    candidates, top = _candidates(x, num_bits)
    return candidates[_errors(x, candidates, -top, top).square().sum(dim=1).argmin()]


def overwrites_its_input(x: Tensor, num_bits: int = 4) -> Tensor:
    """Your function clips the caller's tensor in place."""
    candidates, top = _candidates(x, num_bits)
    best = candidates[_errors(x, candidates, -top, top).square().sum(dim=1).argmin()] if x.any() else torch.ones(())
    x.clamp_(-best * top, best * top)
    return best


def knows_the_visible_cases(x: Tensor, num_bits: int = 4) -> Tensor:
    """Your function knows the numbers of the check and nothing else."""
    return torch.tensor(0.88 * 1.1 / 3 if num_bits == 3 else 1.0)
