"""Wrong answers to exercise 4.4.3: search the end of every channel's range."""

import math

import torch
from torch import Tensor

SHARES = range(1, 101)


def _ends(rows: Tensor) -> Tensor:
    """Largest magnitudes, [out], 1 for a channel of zeros."""
    ends = rows.abs().amax(dim=1)
    return torch.where(ends > 0, ends, 1.0)


def _read(rows: Tensor, ends: Tensor, low: float, high: float, top: int) -> Tensor:
    step = ends[:, None] / top
    return (rows / step).round().clamp(low, high) * step


def _searched(w: Tensor, num_bits: int, shares=SHARES, cost=torch.square, low=None, high=None) -> Tensor:
    rows, top = w.flatten(1), 2 ** (num_bits - 1) - 1
    low, high = -top if low is None else low, top if high is None else high
    ends = _ends(rows)
    best, least = ends.clone(), torch.full_like(ends, math.inf)
    for k in shares:
        tried = ends * (k / 100)
        error = cost(rows - _read(rows, tried, low, high, top)).sum(dim=1)
        best, least = torch.where(error < least, tried, best), torch.minimum(error, least)
    return best


def no_search(w: Tensor, num_bits: int) -> Tensor:
    """You return the largest weight of each channel, which clips nothing; a nearer end may err less."""
    return _ends(w.flatten(1))


def one_share_for_all(w: Tensor, num_bits: int) -> Tensor:
    """All channels get one share k: you added up the errors of all of them before choosing."""
    rows, top = w.flatten(1), 2 ** (num_bits - 1) - 1
    ends = _ends(rows)
    errors = [(rows - _read(rows, ends * (k / 100), -top, top, top)).square().sum() for k in SHARES]
    return ends * (1 + min(range(100), key=lambda k: errors[k])) / 100


def one_end_for_all(w: Tensor, num_bits: int) -> Tensor:
    """All channels get one end: candidates are shares of each channel's own largest weight."""
    rows, top = w.flatten(1), 2 ** (num_bits - 1) - 1
    widest = _ends(rows).amax().expand(len(rows))
    best, least = widest.clone(), torch.full_like(widest, math.inf)
    for k in SHARES:
        error = (rows - _read(rows, widest * (k / 100), -top, top, top)).square().sum(dim=1)
        best, least = torch.where(error < least, widest * (k / 100), best), torch.minimum(error, least)
    return best


def without_saturation(w: Tensor, num_bits: int) -> Tensor:
    """Your candidates never clip, so the finest step always wins."""
    return _searched(w, num_bits, low=-1e30, high=1e30)


def absolute_error(w: Tensor, num_bits: int) -> Tensor:
    """You add up absolute errors; Rules ask for squares, which weigh large errors more."""
    return _searched(w, num_bits, cost=torch.abs)


def signed_error(w: Tensor, num_bits: int) -> Tensor:
    """Your errors cancel: positive and negative ones are added without squaring."""
    rows, top = w.flatten(1), 2 ** (num_bits - 1) - 1
    ends = _ends(rows)
    errors = torch.stack([(rows - _read(rows, ends * (k / 100), -top, top, top)).sum(dim=1).abs() for k in SHARES])
    return ends * (1 + errors.argmin(dim=0)) / 100


def largest_error(w: Tensor, num_bits: int) -> Tensor:
    """You look at the largest error of a channel alone; Rules ask for the sum of squares."""
    rows, top = w.flatten(1), 2 ** (num_bits - 1) - 1
    ends = _ends(rows)
    errors = torch.stack([(rows - _read(rows, ends * (k / 100), -top, top, top)).abs().amax(dim=1) for k in SHARES])
    return ends * (1 + errors.argmin(dim=0)) / 100


def returns_the_step(w: Tensor, num_bits: int) -> Tensor:
    """You return the step; asked for is the end of the range, 2^(b-1) - 1 steps away."""
    return _searched(w, num_bits) / (2 ** (num_bits - 1) - 1)


def returns_the_share(w: Tensor, num_bits: int) -> Tensor:
    """You return the share k / 100 instead of the end."""
    return _searched(w, num_bits) / _ends(w.flatten(1))


def returns_the_error(w: Tensor, num_bits: int) -> Tensor:
    """You return the least errors instead of the ends that have them."""
    rows, top = w.flatten(1), 2 ** (num_bits - 1) - 1
    return (rows - _read(rows, _searched(w, num_bits), -top, top, top)).square().sum(dim=1)


def worst_candidate(w: Tensor, num_bits: int) -> Tensor:
    """You return the end that errs most."""
    return _searched(w, num_bits, cost=lambda error: -error.square())


def input_channels(w: Tensor, num_bits: int) -> Tensor:
    """You search one end per input channel; output channels lie on axis 0."""
    return _searched(w.transpose(0, 1), num_bits)


def one_code_too_many(w: Tensor, num_bits: int) -> Tensor:
    """You let codes reach -2^(b-1); symmetric codes end at -(2^(b-1) - 1)."""
    return _searched(w, num_bits, low=-(2 ** (num_bits - 1)))


def eight_bins(w: Tensor, num_bits: int) -> Tensor:
    """Your step is the end divided by 2^(b-1); there are 2^(b-1) - 1 steps on each side."""
    rows, top = w.flatten(1), 2 ** (num_bits - 1)
    ends = _ends(rows)
    best, least = ends.clone(), torch.full_like(ends, math.inf)
    for k in SHARES:
        error = (rows - _read(rows, ends * (k / 100), -top, top, top)).square().sum(dim=1)
        best, least = torch.where(error < least, ends * (k / 100), best), torch.minimum(error, least)
    return best


def ten_candidates(w: Tensor, num_bits: int) -> Tensor:
    """You try ten candidates; Returns names a hundred."""
    return _searched(w, num_bits, shares=range(10, 101, 10))


def upper_half_only(w: Tensor, num_bits: int) -> Tensor:
    """You never try less than half of the range; few bits and heavy tails want less."""
    return _searched(w, num_bits, shares=range(50, 101))


def first_dip(w: Tensor, num_bits: int) -> Tensor:
    """You stop at the first end from which a smaller one errs more; the error has several dips."""
    rows, top = w.flatten(1), 2 ** (num_bits - 1) - 1
    ends = _ends(rows)
    found = []
    for row, end in zip(rows, ends, strict=True):
        share, least = 100, math.inf
        for k in range(100, 0, -1):
            error = (row[None] - _read(row[None], (end * (k / 100))[None], -top, top, top)).square().sum().item()
            if error > least:
                break
            share, least = k, error
        found.append(end * (share / 100))
    return torch.stack(found)


def unclipped_values_only(w: Tensor, num_bits: int) -> Tensor:
    """You leave clipped values out of the error, so clipping costs nothing."""
    rows, top = w.flatten(1), 2 ** (num_bits - 1) - 1
    ends = _ends(rows)
    best, least = ends.clone(), torch.full_like(ends, math.inf)
    for k in SHARES:
        tried = ends * (k / 100)
        inside = rows.abs() <= tried[:, None]
        error = ((rows - _read(rows, tried, -top, top, top)).square() * inside).sum(dim=1)
        best, least = torch.where(error < least, tried, best), torch.minimum(error, least)
    return best


def error_in_steps(w: Tensor, num_bits: int) -> Tensor:
    """You measure errors in steps; candidates can be compared in real units only."""
    rows, top = w.flatten(1), 2 ** (num_bits - 1) - 1
    ends = _ends(rows)
    best, least = ends.clone(), torch.full_like(ends, math.inf)
    for k in SHARES:
        tried = ends * (k / 100)
        error = ((rows - _read(rows, tried, -top, top, top)) / tried[:, None]).square().sum(dim=1)
        best, least = torch.where(error < least, tried, best), torch.minimum(error, least)
    return best


def rounded_down(w: Tensor, num_bits: int) -> Tensor:
    """Your codes are rounded down instead of to the nearest."""
    rows, top = w.flatten(1), 2 ** (num_bits - 1) - 1
    ends = _ends(rows)
    best, least = ends.clone(), torch.full_like(ends, math.inf)
    for k in SHARES:
        step = ends[:, None] * (k / 100) / top
        error = (rows - (rows / step).floor().clamp(-top, top) * step).square().sum(dim=1)
        best, least = torch.where(error < least, ends * (k / 100), best), torch.minimum(error, least)
    return best


def always_4_bits(w: Tensor, num_bits: int) -> Tensor:
    """You search at 4 bits whatever num_bits is."""
    return _searched(w, 4)


def dead_channels_at_0(w: Tensor, num_bits: int) -> Tensor:
    """A channel of zeros gets the end 0, and its step divides by 0; Rules say 1."""
    return torch.where(w.flatten(1).abs().amax(dim=1) > 0, _searched(w, num_bits), 0.0)


def two_axes_only(w: Tensor, num_bits: int) -> Tensor:
    """Your function works for matrices; a convolution's weight has four axes."""
    if w.ndim != 2:
        raise IndexError("Dimension out of range (expected to be in range of [-2, 1], but got 3)")
    return _searched(w, num_bits)


def overwrites_its_input(w: Tensor, num_bits: int) -> Tensor:
    """Your function clips the caller's weights in place."""
    ends = _searched(w, num_bits)
    laid = ends.view(-1, *[1] * (w.ndim - 1))
    w.copy_(torch.maximum(torch.minimum(w, laid), -laid))
    return ends


def keeps_the_axis(w: Tensor, num_bits: int) -> Tensor:
    """Your result is [out, 1]; Returns asks for [out]."""
    return _searched(w, num_bits)[:, None]
