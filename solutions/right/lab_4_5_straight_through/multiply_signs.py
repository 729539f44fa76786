"""Right answers to exercise 4.5.8, each written differently."""

import torch
from torch import Tensor


def table_of_bytes(x: Tensor, w: Tensor, k: int) -> Tensor:
    ones = torch.tensor([value.bit_count() for value in range(256)], dtype=torch.int32)
    differ = (x.unsqueeze(1) ^ w.unsqueeze(0)).contiguous().view(torch.uint8)
    return k - 2 * ones[differ.int()].sum(-1, dtype=torch.int32)


def neighbours_pairs_fours(x: Tensor, w: Tensor, k: int) -> Tensor:
    v = x[:, None] ^ w[None]
    v = (v & 0x5555555555555555) + (v >> 1 & 0x5555555555555555)
    v = (v & 0x3333333333333333) + (v >> 2 & 0x3333333333333333)
    v = (v & 0x0F0F0F0F0F0F0F0F) + (v >> 4 & 0x0F0F0F0F0F0F0F0F)
    v = (v & 0x00FF00FF00FF00FF) + (v >> 8 & 0x00FF00FF00FF00FF)
    v = (v & 0x0000FFFF0000FFFF) + (v >> 16 & 0x0000FFFF0000FFFF)
    v = (v & 0xFFFFFFFF) + (v >> 32 & 0xFFFFFFFF)
    return (k - 2 * v.sum(2)).to(torch.int32)


def agreements_less_the_tail(x: Tensor, w: Tensor, k: int) -> Tensor:
    agree = ~(x[:, None] ^ w[None])
    count = sum(((agree >> place) & 1).sum(2) for place in range(64)) - (64 * x.shape[1] - k)
    return (2 * count - k).int()


def in_plain_python(x: Tensor, w: Tensor, k: int) -> Tensor:
    def row_of(words: list[int]) -> list[int]:
        return [word % 2**64 for word in words]

    left, right = ([row_of(row) for row in each.tolist()] for each in (x, w))
    sums = [[k - 2 * sum((a ^ b).bit_count() for a, b in zip(p, q, strict=True)) for q in right] for p in left]
    return torch.tensor(sums, dtype=torch.int32)


def back_to_signs(x: Tensor, w: Tensor, k: int) -> Tensor:
    def signs(words: Tensor) -> Tensor:
        bits = words[:, :, None] >> torch.arange(64) & 1
        return (2 * bits.flatten(1)[:, :k] - 1).double()

    return (signs(x) @ signs(w).T).to(torch.int32)
