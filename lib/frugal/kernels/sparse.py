"""Products with sparse matrices: only the weights that were kept are stored, read and multiplied.

Paper:   Elsen, Dukhan, Gale, Simonyan, "Fast Sparse ConvNets", CVPR 2020, 1911.09723: rows of x are the lanes, so that
         no pattern of zeros leaves a lane idle.
Formula: y[i, o] = bias[o] + Σ_{j kept} W[o, j] · x[i, j]
Learn:   course/5_pruning

    avx512 -> avx2 -> scalar     x86        neon -> scalar     arm64        reference     plain torch

The order of sums differs from path to path: results agree to rounding, and exactly where all sums are whole numbers
below 2²⁴. Like bits.py this file hands pointers to C, after every check; the kernels are csrc/sparse*.cpp, the formats
sparse_formats.py. ``python -m frugal bench sparse`` measures from which share of zeros on each of them beats a dense
product.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_int64, c_ssize_t, c_void_p
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from frugal.core.check import describe
from frugal.kernels import dispatch, native
from frugal.kernels.memory import LARGEST_INT, check_input
from frugal.kernels.sparse_formats import FORMATS, PANEL, WORD, Blocks, Csr, SparseMatrix, TwoFour, check_array

__all__ = ["FORMATS", "Blocks", "Csr", "SparseLinear", "SparseMatrix", "TwoFour", "available", "chosen", "multiply"]

REFERENCE = dispatch.REFERENCE
_WITHIN = {"avx2": ("avx2", "scalar"), "avx_vnni": ("avx2", "scalar"), "scalar": ("scalar",)}


def available() -> tuple[str, ...]:
    """The ways to multiply that run on this machine, the widest first; the last is ``reference``.

    >>> available()[-1]
    'reference'
    """
    return (*_paths(), REFERENCE)


def chosen() -> str:
    """The way that is taken when nobody names one: the widest that FRUGAL_ISA allows.

    FRUGAL_ISA names an int8 path; the widest sparse one within that path's instructions is taken.
    """
    paths, forced = _paths(), dispatch.forced()
    if forced is None:
        return next(iter(paths), REFERENCE)
    if dispatch.choose() is None:
        return REFERENCE
    return next((name for name in _WITHIN.get(forced, tuple(paths)) if name in paths), REFERENCE)


def multiply(matrix: SparseMatrix, x: Tensor, bias: Tensor | None = None, *, isa: str | None = None) -> Tensor:
    """Return x Wᵀ + bias, float32 [..., out].

    Args:
        matrix: W [out, in].
        x: float32 [..., in].
        bias: float32 [out].
        isa: a name of ``available()``; None for the widest.

    Raises:
        TypeError: something is not float32; sparse products know no other type.
        ValueError: sizes do not fit, or a gradient would be needed.

    >>> multiply(Csr.from_dense(torch.tensor([[0.0, 2.0], [1.0, 0.0]])), torch.tensor([3.0, 4.0]))
    tensor([8., 3.])
    """
    path = _choose(isa)
    check_input(x, torch.float32, "x")
    if x.shape[-1] != matrix.in_features:
        raise ValueError(f"x must have {matrix.in_features} values in its last dimension, got {describe(x)}")
    if x.requires_grad and torch.is_grad_enabled():
        raise ValueError("sparse products pass no gradient; use torch.no_grad(), or SparseLinear.dense() to train on")
    if bias is not None:
        check_array(bias, torch.float32, (matrix.out,), "bias")
    rows = x.detach().reshape(-1, matrix.in_features)
    y = _reference(matrix, rows, bias) if path is None else _native(path, matrix, rows, bias)
    return y.view(*x.shape[:-1], matrix.out)


class SparseLinear(nn.Module):
    """A linear layer whose weight is a sparse matrix. For inference: it has no parameters.

    Args:
        matrix: the weight.
        bias: float32 [out], or None.

    >>> layer = nn.Linear(8, 4)
    >>> with torch.no_grad():
    ...     _ = layer.weight.masked_fill_(torch.rand(4, 8) < 0.9, 0)
    >>> sparse = SparseLinear.from_linear(layer, "csr")
    >>> torch.allclose(sparse(torch.ones(2, 8)), layer(torch.ones(2, 8)), atol=1e-6)
    True
    """

    def __init__(self, matrix: SparseMatrix, bias: Tensor | None = None) -> None:
        super().__init__()
        self._hold(matrix, bias)

    def _hold(self, matrix: SparseMatrix, bias: Tensor | None) -> None:
        if bias is not None:
            check_array(bias, torch.float32, (matrix.out,), "bias")
        self.matrix, self.bias = matrix, None if bias is None else bias.detach().clone()

    @classmethod
    def from_linear(cls, linear: nn.Linear, format: str = "csr") -> SparseLinear:
        """Store a linear layer's weight, zeros left out.

        Args:
            linear: pruned before: its zeros are what is saved.
            format: "csr", "two_four" or "blocks".
        """
        if not isinstance(linear, nn.Linear):
            raise TypeError(f"from_linear takes nn.Linear, got {type(linear).__name__}")
        if format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
        return cls(FORMATS[format].from_dense(linear.weight), linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply x, float32 [..., in]."""
        return multiply(self.matrix, x, self.bias)

    def dense(self) -> nn.Linear:
        """The same layer with a dense weight, to train on."""
        linear = nn.Linear(self.matrix.in_features, self.matrix.out, bias=self.bias is not None)
        with torch.no_grad():
            linear.weight.copy_(self.matrix.to_dense())
            if self.bias is not None:
                linear.bias.copy_(self.bias)
        return linear

    def extra_repr(self) -> str:
        """What ``print`` says of the layer."""
        matrix = self.matrix
        return f"{matrix.in_features}, {matrix.out}, {type(matrix).__name__}, {matrix.stored:.1%} stored"

    def get_extra_state(self) -> dict[str, Any]:
        """What a state_dict keeps: the arrays and the sizes, checked again by ``set_extra_state``."""
        sizes = {"out": self.matrix.out, "in_features": self.matrix.in_features, "kind": self.matrix.kind}
        return {**self.matrix.arrays(), **sizes, "bias": self.bias}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over a state, or refuse one whose columns would lie outside."""
        state = dict(state)
        kind, bias = state.pop("kind"), state.pop("bias")
        self._hold({each.kind: each for each in FORMATS.values()}[kind](**state), bias)


def _reference(matrix: SparseMatrix, x: Tensor, bias: Tensor | None) -> Tensor:
    """The definition, output by output."""
    y = torch.empty(len(x), matrix.out)
    for output, (columns, values) in enumerate(matrix.rows()):
        y[:, output] = x[:, columns] @ values
    return y if bias is None else y + bias.detach()


class _Sparse(ctypes.Structure):
    """FrugalSparse in sparse.h."""

    _fields_ = [
        *((name, c_int) for name in ("kind", "out", "in_features", "tile")),
        *((name, c_void_p) for name in ("values", "columns", "places", "starts")),
    ]  # fmt: skip


def _native(path: int, matrix: SparseMatrix, x: Tensor, bias: Tensor | None) -> Tensor:
    if x.stride(1) != 1 and x.shape[1] > 1:
        x = x.contiguous()
    if len(x) > LARGEST_INT - WORD * PANEL:
        raise ValueError(f"{len(x):,} rows are more than int32 counts; split them")
    library, threads = _library(), torch.get_num_threads()
    tile, arrays = matrix.tiled()
    pointers = {name: each.data_ptr() for name, each in arrays.items()}
    struct = _Sparse(matrix.kind, matrix.out, matrix.in_features, tile, **pointers)
    padded = torch.zeros(-(-matrix.out // PANEL) * PANEL)
    if bias is not None:
        padded[: matrix.out] = bias.detach()
    scratch = torch.empty(library.frugal_sparse_scratch(threads, len(x), matrix.in_features))
    y = torch.empty(len(x), matrix.out)
    library.frugal_sparse_multiply(
        *(path, threads, ctypes.byref(struct), padded.data_ptr(), x.data_ptr(), x.stride(0)),
        *(scratch.data_ptr(), y.data_ptr(), y.stride(0), len(x)),
    )
    return y


def _choose(isa: str | None) -> int | None:
    """The number of a path for C, or None for the reference."""
    isa, paths = isa or chosen(), _paths()
    if isa == REFERENCE:
        return None
    if isa not in paths:
        raise ValueError(f"isa={isa!r} multiplies nothing sparse here; this machine has {', '.join(available())}")
    return paths[isa]


@cache
def _paths() -> dict[str, int]:
    return native.paths_of(_open(), "frugal_sparse")


def _library() -> ctypes.CDLL:
    library = _open()
    assert library is not None  # a path was chosen, so there is one
    return library


@cache
def _open() -> ctypes.CDLL | None:
    """The native library where it is there and new enough to multiply sparse matrices; otherwise torch does."""
    p, i = c_void_p, c_int
    signatures: native.Signatures = {
        "frugal_sparse_path_name": (c_char_p, [i]),
        "frugal_sparse_path_available": (i, [i]),
        "frugal_sparse_scratch": (c_int64, [i, i, i]),
        "frugal_sparse_multiply": (None, [i, i, ctypes.POINTER(_Sparse), p, p, c_ssize_t, p, p, c_ssize_t, i]),
    }
    return native.declared(signatures)
