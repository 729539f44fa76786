"""Products of signs, 64 at a time: a bit for each value, one XNOR and one count of bits for a word of them.

Papers:  [18] Hubara et al. 2016 section 4; Rastegari et al., "XNOR-Net", 2016.
Formula: Σ_i a_i b_i = k - 2 · ones(bits(a) xor bits(b)),   a_i, b_i from {-1, +1}, bit 1 for +1
Learn:   course/4_quantization/4_7_straight_through.ipynb, lab 4.5

    avx512_vpopcntdq -> avx2 -> scalar     x86        neon -> scalar     arm64        reference     plain torch

All count the same. Like binding.py this file hands pointers to C, and it does so after every check; the kernels are
csrc/popcount*.cpp. ``FRUGAL_ISA`` is understood: it names an int8 path, and the widest count within that path's
instructions is taken.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_ssize_t, c_void_p
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from frugal.core.check import check_float, describe
from frugal.kernels import dispatch, native
from frugal.kernels.memory import LARGEST_INT, check_input

WORD, PANEL = 64, 8  # bits in a word; outputs that stand side by side in a panel, see popcount.h
REFERENCE = dispatch.REFERENCE
_NO_SIGN = 2  # what packing answers where it met nan
_WITHIN = {"avx2": ("avx2", "scalar"), "avx_vnni": ("avx2", "scalar"), "scalar": ("scalar",)}


@dataclass(frozen=True, eq=False)
class Bits:
    """Rows of signs, packed.

    words: int64 [rows, ceil(k / 64)]; bit i of a row is bit i % 64 of word i // 64; bits past k are 0.
    k:     how many signs a row has.
    """

    words: Tensor
    k: int

    def __post_init__(self) -> None:
        check_input(self.words, torch.int64, "words")
        wanted = -(-self.k // WORD)
        if self.words.ndim != 2 or self.words.shape[1] != wanted or self.k < 1:
            raise ValueError(f"{self.k} signs take words [rows, {wanted}], got {describe(self.words)}")
        if self.k % WORD and (self.words[:, -1] >> self.k % WORD).any():
            raise ValueError(f"bits past the first {self.k} of a row must be 0; pack(x) makes such words")

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.words.shape[0]

    @property
    def size_bytes(self) -> int:
        """What the words take: 1/32 of float32 where 64 divides k."""
        return self.words.numel() * 8


def available() -> tuple[str, ...]:
    """The ways to count that run on this machine, the widest first; the last is ``reference``.

    >>> available()[-1]
    'reference'
    """
    return (*_paths(), REFERENCE)


def pack(x: Tensor, isa: str | None = None) -> Bits:
    """Keep one bit of every value: 1 where ``x ≥ 0``, also for -0.

    Args:
        x: reals [rows, k], or [k] for one row; infinity has a sign, nan has none.
        isa: a name of ``available()``; None for the widest.

    Raises:
        ValueError: ``x`` is empty or holds nan.

    >>> pack(torch.tensor([[1.0, -2.0, 0.0]])).words.tolist()  # 101 in binary, read from the right
    [[5]]
    """
    check_float(x, "x")
    x = x.detach()[None] if x.ndim == 1 else x.detach()
    if x.ndim != 2 or x.numel() == 0:
        raise ValueError(f"x must be [rows, k] with at least one value, got {describe(x)}")
    if x.dtype == torch.float64:
        x = torch.where(x < 0, -1.0, x.float())  # a tiny negative double would become a float -0, which is not below 0
    x = x.to(torch.float32)
    check_input(x, torch.float32, "x")
    path = _choose(isa)
    bits = _pack_reference(x) if path is None else _pack_native(path, x)
    if bits is None:
        raise ValueError(f"x must have a sign everywhere, got {describe(x)}; find the layer that made nan")
    return Bits(bits, x.shape[1])


def unpack(bits: Bits) -> Tensor:
    """Return the signs as float32 [rows, k], -1 or +1.

    >>> unpack(pack(torch.tensor([0.5, -0.5, -3.0]))).tolist()
    [[1.0, -1.0, -1.0]]
    """
    each = bits.words[:, :, None] >> torch.arange(WORD) & 1  # [rows, words, 64]
    return (2 * each.flatten(1)[:, : bits.k] - 1).to(torch.float32)


class Linear1:
    """A linear layer of signs, prepared: call it with packed inputs.

    Args:
        weight: signs [out, in], packed; or reals, whose signs are taken.

    >>> layer = Linear1(torch.tensor([[1.0, 1.0, -1.0]]))
    >>> layer(pack(torch.tensor([[1.0, -1.0, -1.0]])))
    tensor([[1]], dtype=torch.int32)
    """

    def __init__(self, weight: Tensor | Bits) -> None:
        self.weight = weight if isinstance(weight, Bits) else pack(weight)
        self._panels = _panels(self.weight.words)
        self._path = _choose(None)

    def __call__(self, x: Bits, *, isa: str | None = None) -> Tensor:
        """Return the sums of products, int32 [rows, out].

        Args:
            x: packed inputs [rows, in].
            isa: a name of ``available()``; None for the one chosen when the layer was prepared.
        """
        if not isinstance(x, Bits):
            raise TypeError(f"x must be Bits, got {describe(x)}; pack(x) makes them")
        if x.k != self.weight.k:
            raise ValueError(f"x must have {self.weight.k} signs in a row, got {x.k}")
        path = self._path if isa is None else _choose(isa)
        if path is None:
            return _dots_reference(x, self.weight)
        if max(x.rows, self.weight.rows, x.k) > LARGEST_INT:
            raise ValueError(f"{x.rows:,} rows of {x.k:,} signs are more than int32 counts; split them")
        words = x.words.contiguous()
        y = torch.empty(x.rows, self.weight.rows, dtype=torch.int32)
        _library().frugal_bits_gemm(
            *(path, torch.get_num_threads(), words.data_ptr(), self._panels.data_ptr(), y.data_ptr()),
            *(x.rows, self.weight.rows, x.k),
        )
        return y


def _dots_reference(x: Bits, w: Bits) -> Tensor:
    """The definition, row by row: look the ones of every byte up in a table of 256."""
    table = torch.tensor([value.bit_count() for value in range(256)], dtype=torch.int32)
    a, b = (each.words.contiguous().view(torch.uint8) for each in (x, w))  # [rows, bytes]
    ones = torch.stack([table[(row ^ b).int()].sum(1, dtype=torch.int32) for row in a])
    return x.k - 2 * ones


def _pack_reference(x: Tensor) -> Tensor | None:
    if x.isnan().any():
        return None
    count = -(-x.shape[1] // WORD)
    bits = torch.zeros(len(x), count * WORD, dtype=torch.int64)
    bits[:, : x.shape[1]] = x >= 0
    places = torch.ones((), dtype=torch.int64) << torch.arange(WORD)  # the last one is negative: int64 has a sign bit
    return (bits.view(len(x), count, WORD) * places).sum(-1)


def _pack_native(path: int, x: Tensor) -> Tensor | None:
    if x.stride(1) != 1 and x.shape[1] > 1:
        x = x.contiguous()
    rows, k = x.shape
    if max(rows, k) > LARGEST_INT - WORD:
        raise ValueError(f"{rows:,} rows of {k:,} signs are more than int32 counts; split them")
    bits = torch.empty(rows, -(-k // WORD), dtype=torch.int64)
    status = _library().frugal_bits_pack(
        *(path, torch.get_num_threads(), x.data_ptr(), x.stride(0), bits.data_ptr(), rows, k)
    )
    return None if status == _NO_SIGN else bits


def _panels(words: Tensor) -> Tensor:
    """[out, words] -> [panels, words, 8]; outputs that fill the last panel up are zeros."""
    out, count = words.shape
    padded = torch.zeros(-(-out // PANEL) * PANEL, count, dtype=torch.int64)
    padded[:out] = words
    return padded.view(-1, PANEL, count).transpose(1, 2).contiguous()


def _choose(isa: str | None) -> int | None:
    """The number of a path for C, or None for the reference."""
    paths = _paths()
    if isa is None:
        isa = _within_forced(paths)
    if isa == REFERENCE:
        return None
    if isa not in paths:
        raise ValueError(f"isa={isa!r} counts no bits on this machine, which has {', '.join(available())}")
    return paths[isa]


def _within_forced(paths: dict[str, int]) -> str:
    """The widest path that FRUGAL_ISA allows; it names an int8 path, which dispatch checks."""
    forced = dispatch.forced()
    if forced is None:
        return next(iter(paths), REFERENCE)
    if dispatch.choose() is None:
        return REFERENCE
    return next((name for name in _WITHIN.get(forced, tuple(paths)) if name in paths), REFERENCE)


@cache
def _paths() -> dict[str, int]:
    return native.paths_of(_open(), "frugal_bits")


def _library() -> ctypes.CDLL:
    library = _open()
    assert library is not None  # a path was chosen, so there is one
    return library


@cache
def _open() -> ctypes.CDLL | None:
    """The native library where it is there and new enough to count bits; otherwise torch does the counting."""
    p, i = c_void_p, c_int
    signatures: native.Signatures = {
        "frugal_bits_path_name": (c_char_p, [i]),
        "frugal_bits_path_available": (i, [i]),
        "frugal_bits_gemm": (None, [i, i, p, p, p, i, i, i]),
        "frugal_bits_pack": (i, [i, i, p, c_ssize_t, p, i, i]),
    }
    return native.declared(signatures)
