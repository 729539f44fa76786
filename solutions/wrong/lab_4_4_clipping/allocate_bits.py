"""Wrong answers to exercise 4.4.7: whole bits for each channel, within an exact budget."""

import math

import torch
from torch import Tensor


def _wanted(spread: Tensor, mean_bits: int, power: float = 2 / 3) -> Tensor:
    share = spread.double().clamp(min=1e-9) ** power
    return (len(spread) * 2**mean_bits * share / share.sum()).log2()


def _handed_out(wanted: Tensor, total: int, low: int, high: int) -> Tensor:
    bits = torch.full_like(wanted, low)
    for _ in range(total - len(wanted) * low):
        lack = torch.where(bits < high, wanted - bits, -math.inf)
        bits[lack.argmax()] += 1
    return bits.long()


def _with_power(spread: Tensor, mean_bits: int, low: int, high: int, power: float) -> Tensor:
    return _handed_out(_wanted(spread, mean_bits, power), len(spread) * mean_bits, low, high)


def all_alike(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You give every channel the mean; wide ones should get more."""
    return torch.full((len(spread),), mean_bits)


def bins_by_spread(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """Your bins grow with the spread itself: 8 times the spread gets 3 bits more; the power is 2/3."""
    return _with_power(spread, mean_bits, low, high, 1.0)


def bins_by_root(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """Your bins grow with the root of the spread; the power is 2/3."""
    return _with_power(spread, mean_bits, low, high, 0.5)


def bins_by_variance(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """Your bins grow with the variance; the power is 2/3 of the spread."""
    return _with_power(spread, mean_bits, low, high, 2.0)


def two_thirds_of_the_variance(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You take the power 2/3 of the variance; it belongs to the spread."""
    return _with_power(spread, mean_bits, low, high, 4 / 3)


def turned_round(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """Your narrow channels get most bits."""
    return _with_power(spread, mean_bits, low, high, -2 / 3)


def natural_logarithm(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You take natural logarithms; bits count powers of 2."""
    return _handed_out(_wanted(spread, mean_bits) * math.log(2), len(spread) * mean_bits, low, high)


def rounded_only(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You round each channel's wish; the sum may miss the budget."""
    return _wanted(spread, mean_bits).round().clamp(low, high).long()


def rounded_down(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You round each wish down: the budget is kept, and part of it stays unused."""
    return _wanted(spread, mean_bits).floor().clamp(low, high).long()


def shifted_until_it_fits(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You move all wishes alike until their rounded mean fits; channels that move together leave part unused."""
    wanted, lower, upper = _wanted(spread, mean_bits), -60.0, 60.0
    for _ in range(60):
        shift = (lower + upper) / 2
        fits = (wanted + shift).round().clamp(low, high).mean() <= mean_bits
        lower, upper = (shift, upper) if fits else (lower, shift)
    return (wanted + lower).round().clamp(low, high).long()


def rest_to_the_first(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You round, and settle the rest with the first channels; settle it where it is nearest to the wish."""
    bits = _wanted(spread, mean_bits).round().clamp(low, high).long()
    for _ in range(1000):
        left = len(bits) * mean_bits - int(bits.sum())
        room = bits < high if left > 0 else bits > low
        if left == 0 or not room.any():
            break
        bits[int(room.nonzero()[0])] += 1 if left > 0 else -1
    return bits


def rest_to_the_widest(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You give the rest to the widest channel; it may have more than it wants already."""
    bits = _wanted(spread, mean_bits).round().clamp(low, high).long()
    order = spread.argsort(descending=True, stable=True).tolist()
    left = len(bits) * mean_bits - int(bits.sum())
    for channel in order if left > 0 else order[::-1]:
        more = max(low, min(high, int(bits[channel]) + left)) - int(bits[channel])
        bits[channel] += more
        left -= more
    return bits


def widest_first(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You fill the widest channels up to the most bits first."""
    bits, left = torch.full((len(spread),), low), len(spread) * (mean_bits - low)
    for channel in spread.argsort(descending=True, stable=True).tolist():
        more = min(high - low, left)
        bits[channel] += more
        left -= more
    return bits


def ends_ignored(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You keep the budget and leave low and high out of account."""
    return _handed_out(_wanted(spread, mean_bits), len(spread) * mean_bits, -60, 60)


def most_ignored(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You keep the fewest bits and let a channel have more than high."""
    return _handed_out(_wanted(spread, mean_bits), len(spread) * mean_bits, low, 60)


def cut_at_the_end(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You keep the budget first and cut to low and high afterwards, which breaks it again."""
    return _handed_out(_wanted(spread, mean_bits), len(spread) * mean_bits, -60, 60).clamp(low, high)


def always_2_to_8(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You keep to 2 to 8 bits whatever low and high are."""
    return _handed_out(_wanted(spread, mean_bits), len(spread) * mean_bits, 2, 8)


def bins_returned(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You return bins; asked for are bits, their logarithm to base 2."""
    return (2.0 ** _wanted(spread, mean_bits)).round().long()


def not_whole(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """Your bits are not whole numbers."""
    return _wanted(spread, mean_bits).clamp(low, high)


def as_floats(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """Your bits are floats; Returns asks for int64."""
    return _with_power(spread, mean_bits, low, high, 2 / 3).double()


def sorted_bits(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """You return the bits in order of size; the first number belongs to the first channel."""
    return _with_power(spread, mean_bits, low, high, 2 / 3).sort().values


def silent_channels_fail(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """A spread of 0 has no logarithm; Rules say what it counts as."""
    if (spread == 0).any():
        raise ValueError("math domain error")
    return _with_power(spread, mean_bits, low, high, 2 / 3)


def one_bit_over(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """Your sum is one bit above the budget."""
    total = min(len(spread) * mean_bits + 1, len(spread) * high)
    return _handed_out(_wanted(spread, mean_bits), total, low, high)


def overwrites_its_input(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """Your function raises small spreads in place, in the caller's tensor."""
    bits = _with_power(spread, mean_bits, low, high, 2 / 3)
    spread.pow_(2 / 3)
    return bits
