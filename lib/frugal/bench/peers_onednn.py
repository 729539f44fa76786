"""oneDNN itself, from C++ with prepacked weights: the vendor's kernels without anybody's framework around them.

Needs the package ``onednn-cpu-gomp`` with its headers ``onednn-devel-cpu-gomp`` (Linux on x86-64; the last release
without a SYCL runtime is of 2023), and a C++ compiler: csrc/onednn.cpp is compiled when it is first asked for.
"""

from __future__ import annotations

import ctypes
import weakref
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from frugal.bench import compiled
from frugal.bench.peer import ALLOWED_CODES, Entry, Missing, Peer, Unsupported
from frugal.bench.problem import Problem
from frugal.bench.shapes import Conv, Gemm

LIBRARY, HEADERS = "onednn-cpu-gomp", "onednn-devel-cpu-gomp"


class Requantize(ctypes.Structure):
    """As in csrc/onednn.cpp."""

    _fields_ = [
        ("w_scale", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("x_scale", ctypes.c_float),
        ("y_scale", ctypes.c_float),
        ("x_zero_point", ctypes.c_int32),
        ("y_zero_point", ctypes.c_int32),
    ]


def installed_file(package: str, name: str) -> Path:
    """Where a package put a file."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise Missing(f"{package} is not installed: pip install 'frugal[peers]' (Linux on x86-64)") from None
    found = sorted((file for file in files if file.name == name), key=lambda file: len(file.parts))
    if found:
        return Path(str(found[0].locate())).resolve()  # the outermost: headers repeat their names further in
    raise Missing(f"{package} is installed without {name}")


def shim() -> ctypes.CDLL:
    """csrc/onednn.cpp, compiled against the installed oneDNN."""
    header = installed_file(HEADERS, "dnnl.hpp")
    library = installed_file(LIBRARY, "libdnnl.so")
    opened = compiled.library(
        "onednn.cpp", f"-I{header.parent}", f"-L{library.parent}", "-ldnnl", f"-Wl,-rpath,{library.parent}"
    )
    opened.peer_version.restype = opened.peer_error.restype = opened.peer_implementation.restype = ctypes.c_char_p
    opened.peer_matmul.restype = opened.peer_conv.restype = ctypes.c_void_p
    opened.peer_run.argtypes = opened.peer_free.argtypes = opened.peer_implementation.argtypes = [ctypes.c_void_p]
    opened.peer_free.restype = None
    return opened


def find() -> str:
    return shim().peer_version().decode()


def requantize(problem: Problem, *, fold_zero_point: bool) -> tuple[Requantize, tuple[Tensor, Tensor]]:
    """What is added to a product; with the tensors that it points to."""
    bias = problem.bias.double()
    if fold_zero_point:
        bias = bias - problem.x_zero_point * problem.w.double().flatten(1).sum(dim=1)
    real_bias = (bias * problem.x_scale * problem.w_scale.double()).float()
    keep = (problem.w_scale.contiguous(), real_bias)
    zero_point = 0 if fold_zero_point else problem.x_zero_point
    pointers = (tensor.data_ptr() for tensor in keep)
    return Requantize(*pointers, problem.x_scale, problem.y_scale, zero_point, problem.y_zero_point), keep


def prepare_gemm(problem: Problem, threads: int, *, sums: bool = False) -> Entry:
    assert isinstance(problem.shape, Gemm)
    m, n, k = problem.shape.m, problem.shape.n, problem.shape.k
    weights = problem.w.t().contiguous()
    y = torch.empty(m, n, dtype=torch.int32 if sums else torch.uint8)
    extra, keep = (None, ()) if sums else requantize(problem, fold_zero_point=True)
    sizes = map(ctypes.c_int, (m, n, k))
    pointers = (ctypes.c_void_p(each.data_ptr()) for each in (problem.x, weights, y))
    layer = shim().peer_matmul(*sizes, *pointers, ctypes.byref(extra) if extra else None)
    expected = problem.expected_sums() if sums else problem.expected()
    return _entry(layer, y, expected, 0 if sums else ALLOWED_CODES, (problem.x, weights, keep))


def prepare_sums(problem: Problem, threads: int) -> Entry:
    return prepare_gemm(problem, threads, sums=True)


def prepare_conv(problem: Problem, threads: int) -> Entry:
    shape = problem.shape
    assert isinstance(shape, Conv)
    y = torch.empty(shape.batch, shape.out_size, shape.out_size, shape.outputs, dtype=torch.uint8)
    # A border of real zeros does not commute with folding: there the zero-point is the primitive's business.
    extra, keep = requantize(problem, fold_zero_point=shape.padding == 0)
    sizes = (shape.batch, shape.size, shape.channels, shape.outputs, shape.kernel, shape.stride, shape.padding)
    pointers = (ctypes.c_void_p(each.data_ptr()) for each in (problem.x, problem.w, y))
    layer = shim().peer_conv(*map(ctypes.c_int, (*sizes, shape.groups)), *pointers, ctypes.byref(extra))
    return _entry(layer, y, problem.expected(), ALLOWED_CODES, (problem.x, problem.w, keep))


def _entry(layer: int | None, y: Tensor, expected: Tensor, allowed: float, keep: object) -> Entry:
    opened = shim()
    if not layer:
        raise Unsupported(f"oneDNN: {opened.peer_error().decode()}")
    implementation = opened.peer_implementation(layer).decode()
    handle = ctypes.c_void_p(layer)
    execute = opened.peer_run

    def run(_keep: object = keep) -> int:
        return execute(handle)

    weakref.finalize(run, opened.peer_free, handle)
    return Entry(run, lambda: y, expected, allowed, note=implementation)


GEMM = (
    Peer("oneDNN prepacked", "u8", prepare_gemm, find),
    Peer("oneDNN prepacked", "s32", prepare_sums, find),
)
CONV = (Peer("oneDNN prepacked", "u8", prepare_conv, find),)
