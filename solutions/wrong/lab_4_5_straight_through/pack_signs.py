"""Wrong answers to exercise 4.5.7: pack signs."""

import torch
from torch import Tensor


def _pack(bits: Tensor, places: Tensor) -> Tensor:
    """Sum place values over bits [rows, k], filled up with zeros to whole words."""
    rows, k = bits.shape
    room = torch.zeros(rows, -(-k // 64) * 64, dtype=torch.int64)
    room[:, :k] = bits
    return (room.reshape(rows, -1, 64) * places).sum(dim=2)


def _places() -> Tensor:
    return torch.ones(64, dtype=torch.int64) << torch.arange(64)


def zero_is_negative(x: Tensor) -> Tensor:
    """Your bit of 0 is 0; sign(0) is +1 here."""
    return _pack(x > 0, _places())


def minus_zero_is_negative(x: Tensor) -> Tensor:
    """You look at the sign bit of the float; -0.0 is 0 and counts as positive."""
    return _pack(~torch.signbit(x), _places())


def bits_of_the_negative(x: Tensor) -> Tensor:
    """Your bits are 1 for the negative values."""
    return _pack(x < 0, _places())


def first_bit_is_the_largest(x: Tensor) -> Tensor:
    """Your first value has the bit of the largest place; bit 0 is the one of value 1."""
    return _pack(x >= 0, _places().flip(0))


def filled_up_with_ones(x: Tensor) -> Tensor:
    """Your bits beyond the k-th are 1: what fills up counted as positive."""
    rows, k = x.shape
    room = torch.zeros(rows, -(-k // 64) * 64)
    room[:, :k] = x
    return _pack(room >= 0, _places())


def last_word_lost(x: Tensor) -> Tensor:
    """You drop the signs that fill no whole word."""
    whole = max(x.shape[1] // 64, 1) * 64
    return _pack((x >= 0)[:, :whole], _places())


def one_word_only(x: Tensor) -> Tensor:
    """You keep one word of 64 signs for each row, however long it is."""
    return _pack((x >= 0)[:, :64], _places())


def sums_in_float(x: Tensor) -> Tensor:
    """You sum place values in float64, which knows 53 bits."""
    rows, k = x.shape
    room = torch.zeros(rows, -(-k // 64) * 64, dtype=torch.float64)
    room[:, :k] = (x >= 0).double()
    total = (room.reshape(rows, -1, 64) * 2.0 ** torch.arange(64, dtype=torch.float64)).sum(dim=2)
    return torch.where(total >= 2.0**63, total - 2.0**64, total).to(torch.int64)


def sums_in_float32(x: Tensor) -> Tensor:
    """You sum place values in float32, which knows 24 bits."""
    rows, k = x.shape
    room = torch.zeros(rows, -(-k // 64) * 64)
    room[:, :k] = (x >= 0).float()
    return (room.reshape(rows, -1, 64) * 2.0 ** torch.arange(64)).sum(dim=2).to(torch.int64)


def bit_63_lost(x: Tensor) -> Tensor:
    """You leave bit 63 out; it is the negative one, and a bit like any other."""
    places = _places()
    places[63] = 0
    return _pack(x >= 0, places)


def words_of_32(x: Tensor) -> Tensor:
    """You put 32 signs in a word; it has room for 64."""
    rows, k = x.shape
    room = torch.zeros(rows, -(-k // 32) * 32, dtype=torch.int64)
    room[:, :k] = x >= 0
    return (room.reshape(rows, -1, 32) << torch.arange(32)).sum(dim=2)


def dealt_out(x: Tensor) -> Tensor:
    """You deal neighbours out to different words; 64 neighbours share one."""
    rows, k = x.shape
    room = torch.zeros(rows, -(-k // 64) * 64, dtype=torch.int64)
    room[:, :k] = x >= 0
    return (room.reshape(rows, 64, -1).transpose(1, 2) * _places()).sum(dim=2)


def one_word_too_many(x: Tensor) -> Tensor:
    """You add a word where k is a multiple of 64 already."""
    packed = _pack(x >= 0, _places())
    return packed if x.shape[1] % 64 else torch.nn.functional.pad(packed, (0, 1))


def filled_up_in_front(x: Tensor) -> Tensor:
    """You fill up in front of the first sign; what is filled up stands behind the last."""
    rows, k = x.shape
    room = torch.zeros(rows, -(-k // 64) * 64, dtype=torch.int64)
    room[:, -k:] = x >= 0
    return _pack(room, _places())


def words_as_float(x: Tensor) -> Tensor:
    """Your words are float; the dtype is int64."""
    return _pack(x >= 0, _places()).double()
