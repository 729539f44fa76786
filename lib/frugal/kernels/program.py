"""A whole network in one crossing from Python to C: its operators, prepared once, run in order.

Learn:   course/4_quantization

A single operator takes longer to check and to call (some 10 microseconds of Python) than many a layer takes to compute.
So whoever runs the same operators on the same memory again and again makes a program of them:

    call     one operator with the tensors that it reads and writes, checked here and never again
    program  calls in order; ``run`` hands the addresses of this run's input and output to csrc/program.cpp

Like binding.py this file sees pointers. A program keeps the tensors and layers of its calls alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import Structure, addressof, byref, c_int, c_int32, c_int64, c_void_p, sizeof
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

import torch
from torch import Tensor

from frugal.kernels import binding
from frugal.kernels.binding import Window
from frugal.kernels.bound import NOT_FINITE, check_status
from frugal.kernels.conv import Conv8
from frugal.kernels.gemm import Linear8
from frugal.kernels.memory import check_apart, check_count, check_input, check_residual, layout

Ends = tuple[int, int]
Triple = tuple[int, int, int]
INPUT, OUTPUT = 1, 2  # stand for the addresses of a run: see csrc/program.cpp


class Kind(IntEnum):
    """Which function of csrc/kernels.h a call is of."""

    GEMM = 0
    CONV = 1
    DEPTHWISE = 2
    QUANTIZE = 3
    MAX_POOL = 4
    AVERAGE_POOL = 5
    ADD = 6
    TABLE = 7
    MULTIPLY = 8
    PAD = 9


class _Call(Structure):
    _fields_ = [(name, c_int32) for name in ("kind", "path", "is_signed", "one_row")] + [
        (name, c_void_p) for name in ("plan", "layer", "window", "rescale", "pad", "a", "b", "y", "scratch")
    ] + [(name, c_int64) for name in ("count", "a_step", "b_step", "y_step")]  # fmt: skip


class _Pad(Structure):
    _fields_ = (
        [(name, c_int32) for name in ("batch", "h", "w", "channels")]
        + [(name, c_int32 * 3) for name in ("step", "before", "out")]
        + [("zero_point", c_int32)]
    )


@dataclass(frozen=True)
class Call:
    """One operator with its tensors; see ``FrugalCall`` in csrc/kernels.h.

    a, b:   what it reads; b is the second operand, the residual or the table.
    y:      what it writes.
    numbers: the fields that are plain numbers.
    structs: the fields that point to a struct.
    plan:   of a convolution.
    """

    kind: Kind
    a: Tensor
    b: Tensor | None
    y: Tensor
    numbers: dict[str, int]
    structs: dict[str, Structure]
    plan: binding.ConvPlan | None = None
    keep: Any = None  # what the structs point into


@dataclass(frozen=True, eq=False)
class Place:
    """Where a tensor of a call really lies, if not where it lay when the call was made.

    tensor: of a call.
    end:    INPUT or OUTPUT: the address is that of the run's input or output.
    step:   in every round the tensor lies so many bytes further: it stands for the next images.
    """

    tensor: Tensor
    end: int = 0
    step: int = 0


class Program:
    """Calls to be run in order, again and again; from one thread at a time, for they share memory.

    Args:
        calls: in order.
        places: of the tensors that are not at one place.
    """

    def __init__(self, calls: Sequence[Call], places: Sequence[Place]) -> None:
        self.calls, self.places = tuple(calls), {id(place.tensor): place for place in places}
        raster = max((call.plan.raster_bytes for call in calls if call.plan is not None), default=0)
        self.raster = torch.empty(raster, dtype=torch.uint8)
        self.structs = (_Call * len(calls))(*map(self._struct, calls))
        self.run_native = _run()

    def _struct(self, call: Call) -> _Call:
        made = _Call(call.kind, **call.numbers)
        for name, tensor in (("a", call.a), ("b", call.b), ("y", call.y)):
            if tensor is not None:
                place = self.places.get(id(tensor), Place(tensor))
                setattr(made, name, place.end or tensor.data_ptr())
                setattr(made, f"{name}_step", place.step)
        for name, struct in call.structs.items():
            setattr(made, name, addressof(struct))
        if call.plan is not None:
            made.plan, made.scratch = call.plan.handle, self.raster.data_ptr()
        return made

    def run(self, first: int, last: int, input: Tensor, output: Tensor, rounds: int = 1) -> bool:
        """Run calls [first, last), ``rounds`` times, for the next images each time.

        Returns:
            False where the input, which is to be quantized, is not finite.
        """
        start = byref(self.structs, first * sizeof(_Call))
        ends = input.data_ptr(), output.data_ptr()
        status = self.run_native(torch.get_num_threads(), start, last - first, rounds, *ends)
        if status == NOT_FINITE:
            return False
        check_status(status)
        return True


@cache
def _run() -> Any:
    function = binding._library().frugal_run_program
    function.restype, function.argtypes = c_int, [c_int, c_void_p, c_int, c_int, c_void_p, c_void_p]
    return function


def linear(layer: Linear8, x: Tensor, residual: Tensor | None, y: Tensor, isa: str | None = None) -> Call | None:
    """A linear layer's call; None where the reference is to run."""
    path = layer.path(isa)
    if path is None:
        return None
    native = layer._layer
    _check(x, layer.x_dtype, (*y.shape[:-1], native.depth), "x")
    _check(y, layer.output.dtype, (*x.shape[:-1], native.out), "y")
    check_residual(residual, layer.output, tuple(y.shape))
    check_apart(y, x, residual)
    rows = y.numel() // native.out
    check_count(rows)
    return Call(Kind.GEMM, x, residual, y, {"path": path, "count": rows}, {"layer": native.struct}, keep=native)


def conv(layer: Conv8, x: Tensor, residual: Tensor | None, y: Tensor, isa: str | None = None) -> Call | None:
    """A convolution's call; None where the reference is to run."""
    path = layer.path(isa)
    if path is None:
        return None
    native, plan = layer.chosen(path, x)
    window = plan.window
    _check(x, layer.x_dtype, (window.batch, window.h, window.w, window.channels), "x")
    _check(y, layer.output.dtype, (window.batch, *window.out_size, native.out), "y")
    check_residual(residual, layer.output, tuple(y.shape))
    check_apart(y, x, residual)
    numbers = {"path": path}
    if layer.depthwise:
        structs = {"layer": native.struct, "window": plan.struct}
        return Call(Kind.DEPTHWISE, x, residual, y, numbers, structs, keep=(native, plan))
    return Call(Kind.CONV, x, residual, y, numbers, {"layer": native.struct}, plan, keep=native)


def quantize(x: Tensor, y: Tensor, scale: float, zero_point: int, ends: Ends) -> Call:
    """Reals [n, c, h, w] to codes [n, h, w, c]."""
    n, c, h, w = x.shape
    _check(x, torch.float32, (n, c, h, w), "x")
    _check(y, y.dtype, (n, h, w, c), "y")
    check_count(max(n * h, w, c))
    return _pointwise(
        Kind.QUANTIZE, x, None, y, _rescale((scale, 0.0), (0, 0, zero_point), ends), Window(n, h, w, c, (1, 1))
    )


def max_pool(window: Window, x: Tensor, y: Tensor) -> Call:
    """The largest code of each window."""
    _check_pictures(window, x, y)
    return _pointwise(Kind.MAX_POOL, x, None, y, None, window)


def average_pool(
    window: Window, x: Tensor, y: Tensor, scale: float, zero_point: int, ends: Ends, *, border: bool
) -> Call:
    """The mean of each window; ``window.zero_point`` is the input's."""
    _check_pictures(window, x, y)
    rescale = _rescale((scale, 0.0), (window.zero_point, 0, zero_point), ends, border=border)
    return _pointwise(Kind.AVERAGE_POOL, x, None, y, rescale, window)


def add(
    a: Tensor, b: Tensor, y: Tensor, scales: tuple[float, float], zero_points: tuple[int, int, int], ends: Ends
) -> Call:
    """The sum; zero_points are those of a, b and the sum."""
    for name, each in (("a", a), ("b", b), ("y", y)):
        _check(each, a.dtype, tuple(a.shape), name)
    check_count(-(-a.numel() // 4096))
    return _pointwise(Kind.ADD, a, b, y, _rescale(scales, zero_points, ends), None)


def multiply(
    a: Tensor, b: Tensor, y: Tensor, scale: float, zero_points: tuple[int, int, int], ends: Ends
) -> Call | None:
    """The product of pictures a with b, which has a's shape or one row and column; None for other shapes."""
    if a.ndim != 4 or b.shape not in (a.shape, (a.shape[0], 1, 1, a.shape[3])):
        return None
    _check(a, a.dtype, tuple(a.shape), "a")
    _check(b, a.dtype, tuple(b.shape), "b")
    _check(y, a.dtype, tuple(a.shape), "y")
    n, h, w, c = a.shape
    check_count(n * h * w)
    rescale = _rescale((scale, 0.0), zero_points, ends)
    return _pointwise(Kind.MULTIPLY, a, b, y, rescale, Window(n, h, w, c, (1, 1)), one_row=b.shape != a.shape)


def table(entries: Tensor, x: Tensor, y: Tensor) -> Call:
    """The entry of every code, which is looked up by its byte."""
    _check(entries, y.dtype, (256,), "entries")
    _check(x, x.dtype, tuple(y.shape), "x")
    _check(y, y.dtype, tuple(x.shape), "y")
    check_count(-(-x.numel() // 4096))
    return _pointwise(Kind.TABLE, x, entries, y, None, None)


def pad(x: Tensor, y: Tensor, step: Triple, before: Triple, after: Triple, zero_point: int) -> Call:
    """Every so many rows, columns and channels of pictures, with a border around them; triples are in that order."""
    sizes = zip(x.shape[1:], step, before, after, strict=True)
    out = [-(-size // s) + b + a for size, s, b, a in sizes]
    _check(x, x.dtype, tuple(x.shape), "x")
    _check(y, x.dtype, (x.shape[0], *out), "y")
    check_apart(y, x)
    check_count(y.numel() // y.shape[-1])
    struct = _Pad(*x.shape, (c_int32 * 3)(*step), (c_int32 * 3)(*before), (c_int32 * 3)(*out), zero_point & 255)
    return Call(Kind.PAD, x, None, y, {}, {"pad": struct})


def _pointwise(
    kind: Kind,
    a: Tensor,
    b: Tensor | None,
    y: Tensor,
    rescale: Structure | None,
    window: Window | None,
    *,
    one_row: bool = False,
) -> Call:
    if kind != Kind.QUANTIZE:
        check_apart(y, a, b)
    structs = {"rescale": rescale, "window": None if window is None else window._struct()}
    numbers = {"is_signed": int(y.dtype == torch.int8), "one_row": int(one_row), "count": y.numel()}
    return Call(kind, a, b, y, numbers, {name: each for name, each in structs.items() if each is not None})


def _rescale(
    scales: tuple[float, float], zero_points: tuple[int, int, int], ends: Ends, *, border: bool = False
) -> Structure:
    return binding._Rescale(*scales, *zero_points, *ends, border)


def _check_pictures(window: Window, x: Tensor, y: Tensor) -> None:
    _check(x, x.dtype, (window.batch, window.h, window.w, window.channels), "x")
    _check(y, x.dtype, (window.batch, *window.out_size, window.channels), "y")


def _check(x: Tensor, dtype: torch.dtype, shape: tuple[int, ...], name: str) -> None:
    check_input(x, dtype, name)
    if tuple(x.shape) != shape or not x.is_contiguous():
        raise ValueError(f"{name} must be {list(shape)}, contiguous, got {layout(x)}")
