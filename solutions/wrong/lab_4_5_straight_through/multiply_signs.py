"""Wrong answers to exercise 4.5.8: multiply by counting."""

import torch
from torch import Tensor


def _count(words: Tensor) -> Tensor:
    """The bits of each int64, in int64."""
    total = torch.zeros(words.shape, dtype=torch.int64)
    for place in range(64):
        total += words >> place & 1
    return total


def _differ(x: Tensor, w: Tensor) -> Tensor:
    return x[:, None, :] ^ w[None, :, :]


def not_doubled(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You subtract the differing bits once: a product that was +1 and is -1 changes the sum by 2."""
    return (k - _count(_differ(x, w)).sum(2)).int()


def turned_round(x: Tensor, w: Tensor, k: int) -> Tensor:
    """Your sums have the wrong sign: equal bits make +1."""
    return (2 * _count(_differ(x, w)).sum(2) - k).int()


def counts_only(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You return how many signs differ, not the sum of products."""
    return _count(_differ(x, w)).sum(2).int()


def agreements_beyond_k(x: Tensor, w: Tensor, k: int) -> Tensor:
    """Your xnor counts the bits beyond the k-th as agreeing."""
    return (2 * _count(~_differ(x, w)).sum(2) - k).int()


def whole_words(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You count all 64 signs of every word; a row has k."""
    return (64 * x.shape[1] - 2 * _count(_differ(x, w)).sum(2)).int()


def and_instead_of_xor(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You use and: it finds pairs of +1, and pairs of -1 make +1 as well."""
    return (2 * _count(x[:, None, :] & w[None, :, :]).sum(2) - k).int()


def or_instead_of_xor(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You use or: it also counts pairs of +1, which agree."""
    return (k - 2 * _count(x[:, None, :] | w[None, :, :]).sum(2)).int()


def bit_63_lost(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You count 63 bits of a word; the sign bit is the 64th."""
    return (k - 2 * _count(_differ(x, w) & (2**63 - 1)).sum(2)).int()


def first_word_only(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You look at the first word of each row only."""
    return (k - 2 * _count(_differ(x[:, :1], w[:, :1])).sum(2)).int()


def sums_of_bytes(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You sum counts in 8 bits; from 256 differing bits on they wrap around."""
    return (k - 2 * _count(_differ(x, w)).to(torch.uint8).sum(2, dtype=torch.uint8).int()).int()


def bytes_to_the_end(x: Tensor, w: Tensor, k: int) -> Tensor:
    """Your counts stay uint8 while you subtract, so a negative sum comes out 256 too large."""
    return (k - 2 * _count(_differ(x, w)).to(torch.uint8).sum(2, dtype=torch.uint8)).int()


def signed_bytes(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You sum counts in int8; from 128 differing bits on they turn negative."""
    return (k - 2 * _count(_differ(x, w)).sum(2, dtype=torch.int8).int()).int()


def sixteen_bits(x: Tensor, w: Tensor, k: int) -> Tensor:
    """Your sums are int16 on the way; rows of more than 32,767 signs wrap around."""
    return (k - 2 * _count(_differ(x, w)).sum(2)).to(torch.int16).int()


def shift_without_mask(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You count with shifts that fill up with ones where the word is negative."""
    left, total = _differ(x, w), torch.zeros(len(x), len(w), x.shape[1], dtype=torch.int64)
    for _ in range(128):  # it would never become 0
        total += left & 1
        left = left >> 1
    return (k - 2 * total.sum(2)).int()


def sums_shifted_words(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You add shifted words, not bits: after each shift only the last bit counts."""
    return (k - 2 * (_differ(x, w)[..., None] >> torch.arange(64)).sum((2, 3))).int()


def looks_at_k_places(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You look at k places of every word; a word has 64, and shifts beyond repeat bit 63."""
    left, total = _differ(x, w), torch.zeros(len(x), len(w), x.shape[1], dtype=torch.int64)
    for _ in range(k):
        total += left & 1
        left = left >> 1
    return (k - 2 * total.sum(2)).int()


def words_of_32(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You count the lower 32 bits of each word; it has 64."""
    return (k - 2 * _count(_differ(x, w) & (2**32 - 1)).sum(2)).int()


def transposed(x: Tensor, w: Tensor, k: int) -> Tensor:
    """Your result is [n, m]: rows belong to x, columns to w."""
    return (k - 2 * _count(_differ(x, w)).sum(2)).int().T.contiguous()


def row_by_row_only(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You pair the rows of x and w one by one; every row of x meets every row of w."""
    rows = min(len(x), len(w))
    return (k - 2 * _count(x[:rows] ^ w[:rows]).sum(1)).int().expand(len(x), -1).contiguous()


def differing_words(x: Tensor, w: Tensor, k: int) -> Tensor:
    """You count words that differ, not bits."""
    return (k - 2 * (_differ(x, w) != 0).sum(2)).int()


def in_int64(x: Tensor, w: Tensor, k: int) -> Tensor:
    """Your sums are right and int64; the dtype is int32."""
    return k - 2 * _count(_differ(x, w)).sum(2)
