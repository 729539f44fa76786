"""Right answers to exercise 4.5.7, each written differently."""

import torch
from torch import Tensor


def bit_by_bit(x: Tensor) -> Tensor:
    rows, k = x.shape
    packed = torch.zeros(rows, (k + 63) // 64, dtype=torch.int64)
    for place in range(k):
        packed[:, place // 64] |= (x[:, place] >= 0).long() << place % 64
    return packed


def through_bytes(x: Tensor) -> Tensor:
    rows, k = x.shape
    room = torch.zeros(rows, -(-k // 64) * 64, dtype=torch.uint8)
    room[:, :k] = x >= 0
    of_a_byte = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8)
    eights = (room.view(rows, -1, 8) * of_a_byte).sum(2, dtype=torch.uint8)
    return eights.contiguous().view(torch.int64)


def in_plain_python(x: Tensor) -> Tensor:
    packed = []
    for row in x.tolist():
        words = [row[start : start + 64] for start in range(0, len(row), 64)]
        values = [sum(1 << i for i, value in enumerate(word) if value >= 0) for word in words]
        packed.append([value - 2**64 if value >= 2**63 else value for value in values])
    return torch.tensor(packed, dtype=torch.int64)


def filled_up_with_minus_one(x: Tensor) -> Tensor:
    filled = torch.nn.functional.pad(x, (0, -x.shape[1] % 64), value=-1.0)
    bits = (filled >= 0).to(torch.int64).unflatten(1, (-1, 64))
    return torch.bitwise_left_shift(bits, torch.arange(64)).sum(-1)
