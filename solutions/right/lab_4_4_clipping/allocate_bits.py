"""Right answers to exercise 4.4.7, each written differently."""

import heapq
import math

import torch
from torch import Tensor


def from_a_queue(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    wanted = [2 / 3 * math.log2(max(each, 1e-9)) for each in spread.tolist()]  # up to a constant
    bits = [low] * len(wanted)
    queue = [(low - each, channel) for channel, each in enumerate(wanted)]
    heapq.heapify(queue)
    for _ in range(len(wanted) * (mean_bits - low)):
        surplus, channel = heapq.heappop(queue)
        bits[channel] += 1
        if bits[channel] < high:
            heapq.heappush(queue, (surplus + 1, channel))
    return torch.tensor(bits)


def taken_away(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    wanted = torch.log2(spread.double().clamp(min=1e-9)) * 2 / 3
    bits = torch.full((len(spread),), high)
    while bits.sum() > len(spread) * mean_bits:
        surplus = torch.where(bits > low, bits - wanted, -math.inf)
        bits[surplus.argmax()] -= 1
    return bits


def shift_and_mend(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """Move all wishes until their rounded sum is just below the budget; then hand out what is left."""
    share = spread.double().clamp(min=1e-9) ** (2 / 3)
    wanted, budget = (len(spread) * 2.0**mean_bits * share / share.sum()).log2(), len(spread) * mean_bits
    below, above = -100.0, 100.0
    for _ in range(80):
        middle = (below + above) / 2
        fits = (wanted + middle).round().clamp(low, high).sum() <= budget
        below, above = (middle, above) if fits else (below, middle)
    bits = (wanted + below).round().clamp(low, high)
    for _ in range(budget - int(bits.sum())):
        bits[torch.where(bits < high, wanted - bits, -math.inf).argmax()] += 1
    return bits.long()


def exchange(spread: Tensor, mean_bits: int, low: int = 2, high: int = 8) -> Tensor:
    """Begin with the mean everywhere; move a bit wherever that comes nearer to the wishes."""
    wanted = [2 / 3 * math.log2(max(each, 1e-9)) for each in spread.tolist()]
    bits = [mean_bits] * len(wanted)
    while True:
        lack = [want - have for want, have in zip(wanted, bits, strict=True)]
        takes = [i for i in range(len(bits)) if bits[i] < high]
        gives = [i for i in range(len(bits)) if bits[i] > low]
        if not takes or not gives:
            break
        to, source = max(takes, key=lack.__getitem__), min(gives, key=lack.__getitem__)
        if lack[to] - lack[source] <= 1 + 1e-9:
            break
        bits[to] += 1
        bits[source] -= 1
    return torch.tensor(bits, dtype=torch.int64)
