"""The roofline of this machine: what its instructions can do at most, what its memory can feed them, and where we are.

Formula: attainable = min(peak, intensity · bandwidth)
         intensity  = operations / bytes moved, with everything moved once

Both limits are measured, by csrc/peak.cpp: operations with all operands in registers, and bytes read from arrays of
several sizes, each of which fits another level of cache. A limit is the best of many short windows: what disturbs the
machine can only lower a window. ``show.roofline`` draws it.

Learn: course/4_quantization/4_8_int8_for_real.ipynb
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frugal.bench import compiled, ours
from frugal.bench.contest import Result, Timing, compete
from frugal.bench.problem import make
from frugal.bench.shapes import Conv, Gemm, Shape, parse_gemm
from frugal.kernels import dispatch
from frugal.kernels.cpu import INSTRUCTION_SETS

WINDOW_S = 2e-3
WINDOWS = 100
ARRAYS = (16 << 10, 256 << 10, 1 << 20, 16 << 20, 256 << 20)  # bytes per thread: first and second level, ... memory
SQUARE = Gemm(1024, 1024, 1024)
LAYERS = tuple(map(parse_gemm, "3136,64,64 784,128,1152 196,256,2304 49,512,2048 1,1000,2048 197,384,1536".split()))


@dataclass(frozen=True)
class Roofline:
    """What limits this machine.

    threads:    how many were used.
    peaks_gops: per instruction set, thousand million int8 operations a second; a multiply-add is two.
    read_gb_s:  per size of array in bytes, thousand million bytes a second.
    """

    threads: int
    peaks_gops: Mapping[str, float]
    read_gb_s: Mapping[int, float]

    def balance(self, isa: str, array: int) -> float:
        """Operations that must be done per byte from there, so that memory is not the limit."""
        return self.peaks_gops[isa] / self.read_gb_s[array]


def attainable_gops(intensity: float, peak_gops: float, read_gb_s: float) -> float:
    """The roof over one layer.

    >>> attainable_gops(intensity=10, peak_gops=1000, read_gb_s=30), attainable_gops(100, 1000, 30)
    (300, 1000)
    """
    return min(peak_gops, intensity * read_gb_s)


def bytes_moved(shape: Shape) -> int:
    """u8 activations, s8 weights and u8 outputs, each once.

    >>> bytes_moved(Gemm(2, 3, 4))
    26
    """
    if isinstance(shape, Gemm):
        return shape.m * shape.k + shape.n * shape.k + shape.m * shape.n
    assert isinstance(shape, Conv)
    weights = shape.outputs * shape.channels // shape.groups * shape.kernel**2
    return shape.batch * (shape.size**2 * shape.channels + shape.out_size**2 * shape.outputs) + weights


def intensity(shape: Shape) -> float:
    """Operations per byte; a multiply-add is two operations."""
    return 2 * shape.macs / bytes_moved(shape)


def measure(threads: int = 1, *, windows: int = WINDOWS) -> Roofline:
    """Measure both limits.

    Raises:
        Missing: there is no compiler for the probe.
    """
    if threads < 1 or windows < 1:
        raise ValueError(f"threads and windows must be 1 or more, got {threads} and {windows}")
    probe = compiled.library("peak.cpp", "-march=native", "-pthread")
    probe.peak.restype = probe.read_rate.restype = ctypes.c_double
    probe.peak.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_double]
    probe.read_rate.argtypes = [ctypes.c_size_t, ctypes.c_int, ctypes.c_double]
    here = set(dispatch.available())
    peaks = {}
    for isa in (each.name for each in INSTRUCTION_SETS if each.name in here):
        found = max(probe.peak(isa.encode(), threads, WINDOW_S) for _ in range(windows))
        if found > 0:
            peaks[isa] = found / 1e9
    reads = {}
    for array in ARRAYS:
        turns = windows if array <= 16 << 20 else max(1, windows // 10)  # a pass over a large one outlasts its window
        reads[array] = max(probe.read_rate(array, threads, WINDOW_S) for _ in range(turns)) / 1e9
    return Roofline(threads, peaks, reads)


def attained(isa: str | None, timing: Timing, shapes: Sequence[Gemm] = (SQUARE, *LAYERS)) -> list[Result]:
    """How far ours comes, layer by layer."""
    field = [peer for peer in ours.gemm(isa) if peer.output == "u8"]
    return [result for shape in shapes for result in compete(make(shape), field, timing)[0]]


def rows(roof: Roofline, results: Sequence[Result]) -> list[dict[str, Any]]:
    """The roofline as rows of a record."""
    made: list[dict[str, Any]] = [{"kind": "peak", "isa": isa, "gops": gops} for isa, gops in roof.peaks_gops.items()]
    made += [{"kind": "read", "array_bytes": size, "gb_s": rate} for size, rate in roof.read_gb_s.items()]
    for result in results:
        shape = parse_gemm(result.shape)
        made.append({"kind": "layer", "shape": result.shape, "intensity": intensity(shape), "gops": result.gops})
    return made


def summarise(roof: Roofline, results: Sequence[Result], isa: str) -> dict[str, Any]:
    """The share of the peak that ours has on a large square matrix: ``share_of_peak``; None where it is not known."""
    square = next((result.gops for result in results if result.shape == str(SQUARE)), None)
    peak = roof.peaks_gops.get(isa)
    share = square / peak if square is not None and peak is not None else None
    return {"isa": isa, "threads": roof.threads, "peak_gops": peak, "square_gops": square, "share_of_peak": share}
