"""int8 convolution with everything that follows it, on pictures [batch, height, width, channels].

Formula: y[i, j, n] = output(Σ_tap Σ_c (x[i·s + p, j·s + q, c] - x_zero_point) · w[n, c, p, q] + bias[n]), see output.py
Learn:   course/4_quantization

A convolution is a sum of matrix products, one for each kernel position (tap). csrc/conv.cpp shows how each of them
finds its rows in place, without im2col. Where every channel has a filter of its own (depthwise) there is no matrix: the
loops of csrc/depthwise*.cpp run. What lies beyond the border is real 0, the code ``x_zero_point``.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.kernels import binding, ops, reference
from frugal.kernels.bound import Bound, bind_python
from frugal.kernels.memory import check_apart, check_input, check_residual, output_tensor
from frugal.kernels.output import Output, sums
from frugal.kernels.pack import DEPTH, Packed, check_weight, column_sums, fold_zero_point, pack, round_up
from frugal.kernels.plan import Plan, check_x_dtype, copy_to, is_watched

Pair = tuple[int, int]
MOST_SHAPES = 32  # shapes of input whose plans a layer keeps


@dataclass(frozen=True)
class Geometry:
    """How the kernel moves over the picture; pairs are (height, width), as in torch."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        for name, lowest in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            pair = getattr(self, name)
            if not all(isinstance(each, int) and lowest <= each < 2**15 for each in pair) or len(pair) != 2:
                raise ValueError(f"{name} must be one whole number or two, from {lowest} to {2**15 - 1}, got {pair}")

    def window(self, x: Tensor, zero_point: int, tap: int = 0) -> binding.Window:
        """The window of this kernel over one shape of input."""
        batch, h, w, channels = x.shape
        return binding.Window(
            *(batch, h, w, channels, self.kernel, self.stride, self.padding, self.dilation, self.groups),
            zero_point=zero_point,
            tap=tap,
        )


def pair(value: int | Pair) -> Pair:
    """Read torch's "one number or two".

    >>> pair(3), pair((1, 2))
    ((3, 3), (1, 2))
    """
    return (value, value) if isinstance(value, int) else tuple(value)  # type: ignore[return-value]


class Tap(IntEnum):
    """What of the kernel one tap covers; the numbers of csrc/kernels.h."""

    POSITION = 0
    ROW = 1
    KERNEL = 2


class Conv8(Plan):
    """A convolution, prepared: call it with codes.

    Args:
        weight: int8 [out, in / groups, kernel height, kernel width].
        bias: int32 [out], in steps of the sum; or None.
        stride, padding, dilation: one number, or (height, width).
        groups: divides inputs and outputs.
        x_dtype: uint8 or int8, the type of the activations.
        x_zero_point: their code of real 0, which also fills the border.
        output: what becomes of a sum; ``output.sums()`` when nothing is said.

    >>> layer = Conv8(torch.ones(1, 1, 3, 3, dtype=torch.int8), padding=1)
    >>> layer(torch.ones(1, 3, 3, 1, dtype=torch.uint8))[0, :, :, 0].tolist()
    [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        x_dtype: torch.dtype = torch.uint8,
        x_zero_point: int = 0,
        output: Output | None = None,
    ) -> None:
        super().__init__()
        check_x_dtype(x_dtype)
        check_weight(weight, (4,))
        out = weight.shape[0]
        if not isinstance(groups, int) or groups < 1 or out % groups:
            raise ValueError(f"groups must divide the {out} outputs, got {groups!r}")
        kernel = (weight.shape[2], weight.shape[3])
        self.geometry = Geometry(kernel, pair(stride), pair(padding), pair(dilation), groups)
        self.channels = weight.shape[1] * groups
        self.weight, self.x_dtype, self.x_zero_point = weight, x_dtype, x_zero_point
        self.bias = bias
        self.folded = fold_zero_point(weight, bias, x_dtype, x_zero_point)
        self.output = (output or sums()).expanded(out)
        self._plans: dict[tuple[int, ...], binding.ConvPlan] = {}
        self._lock = threading.Lock()
        self.depthwise = groups == self.channels == out and groups > 1
        if self.depthwise:
            self._prepare_depthwise()
        else:
            self._prepare_matrices()

    def _prepare_matrices(self) -> None:
        self.tap = tap_for(self.channels, self.geometry)
        self.packed = pack_conv(self.weight, self.geometry.groups, self.tap)
        self._layer = binding.Layer(
            *(self.packed.data, column_sums(self.packed), self.folded, self.output),
            x_dtype=self.x_dtype,
            out=self.packed.out,
            taps=self.packed.taps,
            depth=self.packed.depth,
        )

    def _prepare_depthwise(self) -> None:
        self.tap = Tap.POSITION
        size = self.channels
        natural = self.weight[:, 0].permute(1, 2, 0).reshape(-1, size).contiguous()  # [taps, channels]
        total = self.weight.sum((1, 2, 3), dtype=torch.int32)
        self._layer = self._depthwise_layer(natural, total, self.folded, self.output, size)
        self._interleaved = None
        if self.geometry.kernel == (3, 3):
            flipped = self.folded - 128 * total if self.x_dtype == torch.int8 else self.folded
            weights, order = interleave(self.weight)
            output = _reordered(self.output, order)
            self._interleaved = self._depthwise_layer(weights, total, _reorder(flipped, order), output, order.numel())

    def _depthwise_layer(
        self, weights: Tensor, total: Tensor, bias: Tensor, output: Output, per_channel: int
    ) -> binding.Layer:
        kernel_h, kernel_w = self.geometry.kernel
        return binding.Layer(
            *(weights, total, bias, output),
            x_dtype=self.x_dtype,
            out=self.channels,
            taps=kernel_h * kernel_w,
            depth=1,
            per_channel=per_channel,
        )

    def __call__(
        self, x: Tensor, residual: Tensor | None = None, *, out: Tensor | None = None, isa: str | None = None
    ) -> Tensor:
        """Convolve.

        Args:
            x: codes [batch, height, width, in], contiguous.
            residual: codes of the output's shape and type, where the output was made with one.
            out: where to write; a fresh tensor when it is None.
            isa: a path of ``available()``; None for the one chosen when the layer was prepared.
        """
        if is_watched(x):
            return copy_to(out, ops.conv(self, x, residual, isa))
        return self._run(x, residual, out, isa)

    def bind(
        self, x: Tensor, residual: Tensor | None = None, *, out: Tensor | None = None, isa: str | None = None
    ) -> Bound:
        """Fix the tensors of a call that will be repeated: see ``Bound``. The arguments are those of a call."""
        self._check_channels(x)
        path = self.path(isa)
        if path is None:
            y = self._reference(x, residual, out)
            return bind_python(lambda: self._reference(x, residual, y), y, x, residual)
        bind = binding.bind_depthwise if self.depthwise else binding.bind_conv
        return bind(path, *self.chosen(path, x), x, residual, out)

    def _check_channels(self, x: Tensor) -> None:
        check_input(x, self.x_dtype, "x")
        if x.ndim != 4 or x.shape[3] != self.channels:
            raise ValueError(f"x must be [batch, height, width, {self.channels}], got {describe(x)}")

    def _run(self, x: Tensor, residual: Tensor | None, out: Tensor | None, isa: str | None) -> Tensor:
        self._check_channels(x)
        path = self.path(isa)
        if path is None:
            return self._reference(x, residual, out)
        run = binding.depthwise if self.depthwise else binding.conv
        return run(path, *self.chosen(path, x), x, residual, out)

    def chosen(self, path: int, x: Tensor) -> tuple[binding.Layer, binding.ConvPlan]:
        """The form of the weights that a native path reads, and the plan for inputs of this shape."""
        plan = self._plans.get(tuple(x.shape)) or self._plan(x)
        other = self._interleaved if self.depthwise else None
        if other is not None and binding.wants_interleaved(path, other, plan):
            return other, plan
        return self._layer, plan

    def _plan(self, x: Tensor) -> binding.ConvPlan:
        plan = binding.ConvPlan(self.geometry.window(x, self.x_zero_point, self.tap))
        with self._lock:
            while len(self._plans) >= MOST_SHAPES:
                del self._plans[next(iter(self._plans))]  # a call that still uses it holds it
            return self._plans.setdefault(tuple(x.shape), plan)

    def _reference(self, x: Tensor, residual: Tensor | None, out: Tensor | None) -> Tensor:
        shape = (x.shape[0], *self.geometry.window(x, self.x_zero_point).out_size, self.weight.shape[0])
        check_residual(residual, self.output, shape)
        if out is not None:
            check_apart(output_tensor(shape, self.output.dtype, out), x, residual)
        g = self.geometry
        y = reference.conv2d(
            *(x, self.weight, self.bias, self.x_zero_point, self.output, residual),
            stride=g.stride,
            padding=g.padding,
            dilation=g.dilation,
            groups=g.groups,
        )
        return copy_to(out, y.contiguous())


def tap_for(channels: int, geometry: Geometry) -> Tap:
    """Choose what one tap covers: the larger form where it wastes much less.

    A tap is filled up to a multiple of 64 values. Few channels fill a small part of that. The pixels of a kernel row
    are neighbours in memory, so a whole row of them can be one tap for nothing; the whole kernel costs a copy.

    >>> tap_for(3, Geometry((7, 7), (2, 2)))  # 1 tap of 147 in 192, against 7 of 21 in 64, against 49 of 3 in 64
    <Tap.KERNEL: 2>
    >>> tap_for(16, Geometry((3, 3)))  # 1 tap of 144 in 192, against 3 of 48 in 64: no less, and no copy
    <Tap.ROW: 1>
    """
    kernel_h, kernel_w = geometry.kernel
    if geometry.groups > 1 or geometry.dilation[1] > 1 or kernel_h * kernel_w == 1:
        return Tap.POSITION
    by_position = kernel_h * kernel_w * round_up(channels, DEPTH)
    by_row = kernel_h * round_up(kernel_w * channels, DEPTH)
    if 2 * round_up(kernel_h * kernel_w * channels, DEPTH) <= min(by_row, by_position):
        return Tap.KERNEL
    return Tap.ROW if 3 * by_row <= 2 * by_position else Tap.POSITION


def pack_conv(weight: Tensor, groups: int, tap: Tap) -> Packed:
    """Pack weights [out, in, kh, kw], one tap for each ``tap``."""
    out, _, kernel_h, kernel_w = weight.shape
    taps = {Tap.POSITION: kernel_h * kernel_w, Tap.ROW: kernel_h, Tap.KERNEL: 1}[tap]
    return pack(weight.permute(0, 2, 3, 1).reshape(out, taps, -1).contiguous(), groups)


def interleave(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Order 3x3 depthwise weights [channels, 1, 3, 3] as csrc/depthwise_avx512_vnni.cpp draws them.

    Returns:
        weights int8 [channels / 64, 3 columns, 4, 16, 4: three rows and a zero], and the channel at each [64-group, 4,
        16]; channels are filled up to a multiple of 64 with zeros.
    """
    size = weight.shape[0]
    room = torch.zeros(round_up(size, 64), 4, 3, dtype=torch.int8)  # [channel, row, column]
    room[:size, :3] = weight[:, 0]
    part, lane, within = torch.arange(4)[:, None, None], torch.arange(4)[:, None], torch.arange(4)
    order = (16 * lane + 4 * part + within).reshape(4, 16)
    order = 64 * torch.arange(len(room) // 64)[:, None, None] + order
    return room[order].permute(0, 4, 1, 2, 3).contiguous(), order


def _reorder(x: Tensor, order: Tensor) -> Tensor:
    room = torch.zeros(order.numel(), dtype=x.dtype)
    room[: len(x)] = x
    return room[order.reshape(-1)]


def _reordered(output: Output, order: Tensor) -> Output:
    def move(x: Tensor | None) -> Tensor | None:
        return None if x is None else _reorder(x, order)

    return replace(output, scale=move(output.scale), multiplier=move(output.multiplier), shift=move(output.shift))
