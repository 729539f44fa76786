"""The one Python file that sees pointers: it calls the kernels of csrc/kernels.h, after every check.

C++ believes what it is told. So before a pointer leaves Python this file has looked at the type, device, shape, strides
and alignment of every tensor, and refuses an output that shares memory with an input. Constant tensors are checked
once, when a layer is prepared. ctypes releases the interpreter's lock while a kernel runs.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from ctypes import POINTER, Structure, byref, c_float, c_int, c_int32, c_size_t, c_ssize_t, c_void_p
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.kernels import native
from frugal.kernels.bound import NOT_FINITE, Bound, check_status
from frugal.kernels.memory import (
    LARGEST_INT,
    check_apart,
    check_count,
    check_input,
    check_residual,
    constant,
    layout,
    output_tensor,
    rows_of,
)
from frugal.kernels.output import Output

_DTYPE_CODE = {torch.int32: 0, torch.uint8: 1, torch.int8: 2, torch.float32: 3}
_own = threading.local()  # scratch memory of each Python thread


class _Layer(Structure):
    _fields_ = (
        [(name, c_void_p) for name in ("weights", "column_sums", "bias", "scale", "multiplier", "shift")]
        + [("residual_scale", c_float)]
        + [(name, c_int32) for name in ("residual_zero_point", "n", "taps", "depth", "a_signed", "output")]
        + [(name, c_int32) for name in ("zero_point", "low", "high")]
    )


class _Conv(Structure):
    _fields_ = [(name, c_int32) for name in ("batch", "h", "w", "channels", "kernel_h", "kernel_w")] + [
        (name, c_int32) for name in ("stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w", "groups")
    ] + [("zero_point", c_int32), ("tap", c_int32)]  # fmt: skip


class _Rescale(Structure):
    _fields_ = [("scale_a", c_float), ("scale_b", c_float)] + [
        (name, c_int32) for name in ("zero_point_a", "zero_point_b", "zero_point", "low", "high", "count_border")
    ]


@cache
def _library() -> ctypes.CDLL:
    library = native.library()
    if library is None:
        raise RuntimeError(native.status())
    p, i = c_void_p, c_int
    signatures: dict[str, tuple[object, list[object]]] = {
        "frugal_gemm": (i, [i, i, POINTER(_Layer), p, c_ssize_t, i, p, c_ssize_t, p, c_ssize_t]),
        "frugal_conv_plan": (p, [POINTER(_Conv)]),
        "frugal_conv_free": (None, [p]),
        "frugal_conv_raster_bytes": (c_size_t, [p]),
        "frugal_conv": (i, [i, i, p, POINTER(_Layer), p, p, p, p]),
        "frugal_depthwise_interleaved": (i, [i, POINTER(_Conv), POINTER(_Layer), i]),
        "frugal_depthwise": (i, [i, i, POINTER(_Conv), POINTER(_Layer), p, p, p]),
        "frugal_quantize": (i, [i, p, p, i, i, i, i, c_float, i, i, i]),
        "frugal_max_pool": (i, [i, POINTER(_Conv), i, p, p]),
        "frugal_average_pool": (i, [i, POINTER(_Conv), POINTER(_Rescale), i, p, p]),
        "frugal_add": (i, [i, POINTER(_Rescale), i, p, p, p, c_size_t]),
        "frugal_run": (i, [p]),
        "frugal_unbind": (None, [p]),
    }
    for name, (_, arguments) in list(signatures.items()):
        bind = name.replace("frugal_", "frugal_bind_")
        if hasattr(library, bind):  # takes what the call itself takes; a convolution brings its own scratch memory
            signatures[bind] = (p, arguments[:-1] if name == "frugal_conv" else arguments)
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _bound(name: str, arguments: tuple[object, ...], out: Tensor, *keep: object) -> Bound:
    """Fix the arguments of ``frugal_<name>``; ``keep`` is whatever they point to."""
    library = _library()
    handle = getattr(library, f"frugal_bind_{name}")(*arguments)
    if not handle:
        raise MemoryError("the native library ran out of memory")
    bound = Bound(partial(library.frugal_run, handle), out, keep)
    weakref.finalize(bound, library.frugal_unbind, handle)
    return bound


@dataclass(frozen=True)
class Window:
    """A window that slides over pictures [batch, h, w, channels]; pairs are (height, width)."""

    batch: int
    h: int
    w: int
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    zero_point: int = 0
    tap: int = 0

    def __post_init__(self) -> None:
        if min(self.out_size) < 1:
            raise ValueError(
                f"a kernel of {self.kernel} with dilation {self.dilation} does not fit an image of {self.h} x {self.w} "
                f"with padding {self.padding}; use a larger image or more padding"
            )
        rows = self.batch * (self.h + 2 * self.padding[0]) * (self.w + 2 * self.padding[1])
        if max(rows, self.channels, self.batch * self.out_size[0] * self.out_size[1]) > LARGEST_INT:
            raise ValueError(f"{rows:,} pixels are more than int32 counts; split the batch of {self.batch}")

    @property
    def out_size(self) -> tuple[int, int]:
        """Height and width of the result."""
        sizes = zip((self.h, self.w), self.kernel, self.stride, self.padding, self.dilation, strict=True)
        h, w = ((size + 2 * pad - dilation * (k - 1) - 1) // step + 1 for size, k, step, pad, dilation in sizes)
        return h, w

    def _struct(self) -> _Conv:
        shape = (self.batch, self.h, self.w, self.channels)
        pairs = (self.kernel, self.stride, self.padding, self.dilation)
        return _Conv(*shape, *(each for pair in pairs for each in pair), self.groups, self.zero_point, self.tap)


class Layer:
    """The constant part of a layer, ready for C: checked once, and kept alive as long as this object."""

    def __init__(
        self,
        weights: Tensor,
        column_sums: Tensor,
        bias: Tensor,
        output: Output,
        *,
        x_dtype: torch.dtype,
        out: int,
        taps: int,
        depth: int,
        per_channel: int | None = None,
    ) -> None:
        size = out if per_channel is None else per_channel  # how many values each vector holds
        self.weights = constant(weights, torch.int8, weights.numel(), "weights")
        self.column_sums = constant(column_sums, torch.int32, out, "column_sums")
        self.bias = constant(bias, torch.int32, size, "bias")
        scaled = [
            None if x is None else constant(x, dtype, size, name)
            for x, dtype, name in (
                (output.scale, torch.float32, "scale"),
                (output.multiplier, torch.int32, "multiplier"),
                (output.shift, torch.int32, "shift"),
            )
        ]
        self.scaled, self.x_dtype, self.output, self.out, self.depth = scaled, x_dtype, output, out, depth
        residual = output.residual
        self.struct = _Layer(
            *(None if x is None else x.data_ptr() for x in (self.weights, self.column_sums, self.bias, *scaled)),
            residual.scale if residual else 0.0,
            residual.zero_point if residual else 0,
            *(out, taps, depth, x_dtype == torch.int8, _DTYPE_CODE[output.dtype]),
            *(output.zero_point, output.low, output.high),
        )
        self.reference = byref(self.struct)


class ConvPlan:
    """What a convolution needs to know about one shape of input; the native library's memory is freed with it."""

    def __init__(self, window: Window) -> None:
        library = _library()
        self.window, self.struct = window, window._struct()
        self.handle = library.frugal_conv_plan(byref(self.struct))
        if not self.handle:
            raise MemoryError(f"no memory to plan a convolution of {window.batch} x {window.h} x {window.w}")
        weakref.finalize(self, library.frugal_conv_free, self.handle)
        self.raster_bytes = library.frugal_conv_raster_bytes(self.handle)


def gemm(path: int, layer: Layer, x: Tensor, residual: Tensor | None, out: Tensor | None) -> Tensor:
    """x [..., depth] times weights -> [..., out]."""
    y, arguments = _gemm(path, layer, x, residual, out)
    check_status(_library().frugal_gemm(*arguments))
    return y


def bind_gemm(path: int, layer: Layer, x: Tensor, residual: Tensor | None, out: Tensor | None) -> Bound:
    """``gemm`` with its tensors fixed."""
    y, arguments = _gemm(path, layer, x, residual, out)
    return _bound("gemm", arguments, y, layer, x, residual)


def _gemm(
    path: int, layer: Layer, x: Tensor, residual: Tensor | None, out: Tensor | None
) -> tuple[Tensor, tuple[object, ...]]:
    """Check everything; the output, and the arguments of frugal_gemm."""
    check_input(x, layer.x_dtype, "x")
    if x.shape[-1] != layer.depth:
        raise ValueError(f"x must have {layer.depth} values in its last dimension, got {describe(x)}")
    shape = (*x.shape[:-1], layer.out)
    y = output_tensor(shape, layer.output.dtype, out)
    check_residual(residual, layer.output, shape)
    if out is not None:
        check_apart(y, x, residual, layer.weights)
    x2, y2 = rows_of(x, "x"), rows_of(y, "out")
    residual2 = None if residual is None else rows_of(residual, "residual")
    m = x2.shape[0]
    if m > LARGEST_INT:
        raise ValueError(f"x has {m:,} rows, more than int32 counts; split it")
    return y, (
        *(path, torch.get_num_threads(), layer.reference),
        *(x2.data_ptr(), x2.stride(0), m, y2.data_ptr(), y2.stride(0)),
        *((None, 0) if residual2 is None else (residual2.data_ptr(), residual2.stride(0))),
    )


def conv(path: int, layer: Layer, plan: ConvPlan, x: Tensor, residual: Tensor | None, out: Tensor | None) -> Tensor:
    """x [batch, h, w, channels] -> [batch, out_h, out_w, out]."""
    _check_picture(x, layer.x_dtype, plan.window)
    y = _picture_output(plan.window, layer, x, residual, out)
    raster = _scratch(plan.raster_bytes)
    check_status(
        _library().frugal_conv(
            *(path, torch.get_num_threads(), plan.handle, layer.reference, x.data_ptr(), y.data_ptr()),
            *(_pointer(residual), _pointer(raster)),
        )
    )
    return y


def bind_conv(path: int, layer: Layer, plan: ConvPlan, x: Tensor, residual: Tensor | None, out: Tensor | None) -> Bound:
    """``conv`` with its tensors fixed."""
    _check_picture(x, layer.x_dtype, plan.window)
    y = _picture_output(plan.window, layer, x, residual, out)
    arguments = (path, torch.get_num_threads(), plan.handle, layer.reference, x.data_ptr(), y.data_ptr())
    return _bound("conv", (*arguments, _pointer(residual)), y, layer, plan, x, residual)


def wants_interleaved(path: int, layer: Layer, plan: ConvPlan) -> bool:
    """Whether a path reads depthwise weights in the order of depthwise_avx512_vnni.cpp."""
    has_residual = layer.output.residual is not None
    return bool(_library().frugal_depthwise_interleaved(path, byref(plan.struct), layer.reference, has_residual))


def depthwise(
    path: int, layer: Layer, plan: ConvPlan, x: Tensor, residual: Tensor | None, out: Tensor | None
) -> Tensor:
    """x [batch, h, w, channels] -> [batch, out_h, out_w, channels], a filter for each channel."""
    _check_picture(x, layer.x_dtype, plan.window)
    y = _picture_output(plan.window, layer, x, residual, out)
    check_status(
        _library().frugal_depthwise(
            *(path, torch.get_num_threads(), byref(plan.struct), layer.reference),
            *(x.data_ptr(), y.data_ptr(), _pointer(residual)),
        )
    )
    return y


def bind_depthwise(
    path: int, layer: Layer, plan: ConvPlan, x: Tensor, residual: Tensor | None, out: Tensor | None
) -> Bound:
    """``depthwise`` with its tensors fixed."""
    _check_picture(x, layer.x_dtype, plan.window)
    y = _picture_output(plan.window, layer, x, residual, out)
    arguments = (path, torch.get_num_threads(), byref(plan.struct), layer.reference, x.data_ptr(), y.data_ptr())
    return _bound("depthwise", (*arguments, _pointer(residual)), y, layer, plan, x, residual)


def quantize(x: Tensor, y: Tensor, scale: float, zero_point: int, low: int, high: int) -> bool:
    """Write the codes of float32 x [batch, channels, h, w] to y [batch, h, w, channels]; False: x is not finite."""
    batch, channels, h, w = x.shape
    assert x.dtype == torch.float32
    assert y.shape == (batch, h, w, channels)
    assert x.is_contiguous()
    assert y.is_contiguous()
    check_count(max(batch * h, w, channels))
    status = _library().frugal_quantize(
        *(torch.get_num_threads(), x.data_ptr(), y.data_ptr(), batch, channels, h, w),
        *(scale, zero_point, low, high),
    )
    if status != NOT_FINITE:
        check_status(status)
    return status != NOT_FINITE


def max_pool(window: Window, x: Tensor) -> Tensor:
    """The largest code of each window."""
    _check_picture(x, x.dtype, window)
    y = torch.empty((window.batch, *window.out_size, window.channels), dtype=x.dtype)
    struct, signed = window._struct(), x.dtype == torch.int8
    check_status(_library().frugal_max_pool(torch.get_num_threads(), byref(struct), signed, x.data_ptr(), y.data_ptr()))
    return y


def average_pool(
    window: Window, x: Tensor, scale: float, zero_point: int, ends: tuple[int, int], border: bool
) -> Tensor:
    """The mean of each window, in the output's codes; ``window.zero_point`` is the input's."""
    _check_picture(x, x.dtype, window)
    y = torch.empty((window.batch, *window.out_size, window.channels), dtype=x.dtype)
    struct, rescale = window._struct(), _Rescale(scale, 0.0, window.zero_point, 0, zero_point, *ends, border)
    check_status(
        _library().frugal_average_pool(
            *(torch.get_num_threads(), byref(struct), byref(rescale), x.dtype == torch.int8),
            *(x.data_ptr(), y.data_ptr()),
        )
    )
    return y


def add(
    a: Tensor, b: Tensor, scales: tuple[float, float], zero_points: tuple[int, int, int], ends: tuple[int, int]
) -> Tensor:
    """a + b, codes of any shape; zero_points are those of a, b and the sum."""
    check_input(a, a.dtype, "a")
    check_input(b, a.dtype, "b")
    if a.shape != b.shape or not a.is_contiguous() or not b.is_contiguous():
        raise ValueError(f"a and b must have one shape and be contiguous, got {layout(a)} and {layout(b)}")
    check_count(-(-a.numel() // 4096))
    y = torch.empty_like(a)
    rescale = _Rescale(*scales, *zero_points, *ends, 0)
    check_status(
        _library().frugal_add(
            *(torch.get_num_threads(), byref(rescale), a.dtype == torch.int8),
            *(a.data_ptr(), b.data_ptr(), y.data_ptr(), a.numel()),
        )
    )
    return y


def _check_picture(x: Tensor, dtype: torch.dtype, window: Window) -> None:
    check_input(x, dtype, "x")
    if tuple(x.shape) != (window.batch, window.h, window.w, window.channels) or not x.is_contiguous():
        wanted = [window.batch, window.h, window.w, window.channels]
        raise ValueError(f"x must be [batch, height, width, channels] {wanted}, contiguous, got {layout(x)}")


def _picture_output(window: Window, layer: Layer, x: Tensor, residual: Tensor | None, out: Tensor | None) -> Tensor:
    shape = (window.batch, *window.out_size, layer.out)
    y = output_tensor(shape, layer.output.dtype, out)
    check_residual(residual, layer.output, shape)
    for name, each in (("out", y), ("residual", residual)):
        if each is not None and not each.is_contiguous():
            raise ValueError(f"{name} must be contiguous, got {layout(each)}; {name}.contiguous() copies it")
    if out is not None:
        check_apart(y, x, residual, layer.weights)
    return y


def _scratch(size: int) -> Tensor | None:
    """Memory of this thread, kept from call to call: fresh pages cost more than the copy that fills them."""
    if size == 0:
        return None
    room: Tensor | None = getattr(_own, "room", None)
    if room is None or room.numel() < size:
        room = _own.room = torch.empty(size, dtype=torch.uint8)
    return room


def _pointer(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()
