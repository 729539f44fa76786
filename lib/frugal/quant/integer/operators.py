"""What lies between convolutions, on codes: pooling, addition, joining, padding, and any function of one value.

Learn:   course/4_quantization

Nothing here goes back to reals: an average is an integer sum times one factor, an addition is two factors, and a
function of one value (hard-swish, sigmoid, GELU) is a table with an entry for each of the 256 codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from frugal.core.check import describe
from frugal.kernels import dispatch, pointwise, program, reference
from frugal.kernels.conv import Geometry
from frugal.quant.affine import QParams, dequantize, quantize
from frugal.quant.integer.operator import (
    Clamp,
    Operator,
    check_codes,
    clamp_codes,
    clamp_reals,
    copied,
    numbers,
    to_nchw,
    to_nhwc,
)
from frugal.quant.layers import StoredQParams

# Functions of one value that may be in a table, by the name under which a file keeps them.
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": F.silu,
    "gelu": F.gelu,
    "identity": lambda x: x,
}


class Quantize(Operator):
    """Reals to codes, NCHW to NHWC."""

    kernel = "native"
    output: StoredQParams

    def __init__(self, output: QParams) -> None:
        super().__init__(output=output)

    def prepare_(self) -> None:
        self.qparams = self.output()

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        if self.path() == dispatch.REFERENCE:
            return copied(self.exact(x), out)
        scale, zero_point = numbers(self.qparams)
        ends = {"low": self.qparams.quant_min, "high": self.qparams.quant_max}
        return copied(pointwise.quantize(x, scale, zero_point, dtype=self.qparams.dtype, **ends), out)

    def call(self, inputs: Sequence[Tensor], out: Tensor) -> program.Call | None:
        (x,) = inputs
        if self.path() == dispatch.REFERENCE or x.ndim != 4:
            return None
        return program.quantize(x, out, *numbers(self.qparams), (self.qparams.quant_min, self.qparams.quant_max))

    def exact(self, *inputs: Tensor) -> Tensor:
        return to_nhwc(quantize(inputs[0], self.qparams)).contiguous()

    def real(self, *reals: Tensor) -> Tensor:
        return reals[0]


class Dequantize(Operator):
    """Codes to the reals they stand for, NHWC to NCHW."""

    input: StoredQParams

    def __init__(self, input: QParams) -> None:
        super().__init__(input=input)

    def prepare_(self) -> None:
        self.qparams = self.input()

    def output_qparams(self) -> QParams | None:
        return None

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        check_codes(x, self.qparams)
        return to_nchw(dequantize(x, self.qparams)).contiguous()

    def real(self, *reals: Tensor) -> Tensor:
        return reals[0]


class SameCodes(Operator):
    """Base of what moves codes about without changing what they stand for."""

    input: StoredQParams

    def output_qparams(self) -> QParams | None:
        return self.input()


class MaxPool2d(SameCodes):
    """The largest code of each window is the code of the largest real."""

    kernel = "native"
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def __init__(
        self,
        *,
        input: QParams,
        kernel_size: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__(input=input, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation)

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        check_codes(x, self.input)
        if self.path() == dispatch.REFERENCE:
            return copied(self.exact(x), out)
        return copied(pointwise.max_pool(x, self.kernel_size, self.stride, self.padding, self.dilation), out)

    def call(self, inputs: Sequence[Tensor], out: Tensor) -> program.Call | None:
        if self.path() == dispatch.REFERENCE:
            return None
        geometry = Geometry(self.kernel_size, self.stride, self.padding, self.dilation)
        return program.max_pool(geometry.window(inputs[0], 0), inputs[0], out)

    def exact(self, *inputs: Tensor) -> Tensor:
        return reference.max_pool(inputs[0], self.kernel_size, self.stride, self.padding, self.dilation)

    def real(self, *reals: Tensor) -> Tensor:
        return F.max_pool2d(reals[0], self.kernel_size, self.stride, self.padding, self.dilation)


class AveragePool2d(Operator):
    """The mean of each window; ``kernel_size=None`` means the whole picture, whatever its size."""

    kernel = "native"
    input: StoredQParams
    output: StoredQParams
    kernel_size: tuple[int, int] | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    count_border: bool

    def __init__(
        self,
        *,
        input: QParams,
        output: QParams,
        kernel_size: tuple[int, int] | None = None,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        count_border: bool = True,
    ) -> None:
        super().__init__(
            input=input,
            output=output,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            count_border=count_border,
        )

    def prepare_(self) -> None:
        (x_scale, x_zero), (y_scale, y_zero) = numbers(self.input), numbers(self.output)
        ends = {"low": self.output.quant_min, "high": self.output.quant_max}
        self.codes: dict[str, Any] = {"x_zero_point": x_zero, "scale": x_scale / y_scale, "zero_point": y_zero, **ends}

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        check_codes(x, self.input)
        if self.path() == dispatch.REFERENCE:
            return copied(self.exact(x), out)
        kernel = self.kernel_size or (x.shape[1], x.shape[2])
        y = pointwise.average_pool(x, kernel, self.stride, self.padding, count_border=self.count_border, **self.codes)
        return copied(y, out)

    def call(self, inputs: Sequence[Tensor], out: Tensor) -> program.Call | None:
        (x,) = inputs
        if self.path() == dispatch.REFERENCE:
            return None
        kernel, codes = self.kernel_size or (x.shape[1], x.shape[2]), self.codes
        window = Geometry(kernel, self.stride, self.padding).window(x, codes["x_zero_point"])
        ends = codes["low"], codes["high"]
        return program.average_pool(window, x, out, codes["scale"], codes["zero_point"], ends, border=self.count_border)

    def exact(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        kernel = self.kernel_size or (x.shape[1], x.shape[2])
        return reference.average_pool(x, kernel, self.stride, self.padding, self.count_border, **self.codes)

    def real(self, *reals: Tensor) -> Tensor:
        if self.kernel_size is None:
            return reals[0].mean((2, 3), keepdim=True)
        return F.avg_pool2d(reals[0], self.kernel_size, self.stride, self.padding, count_include_pad=self.count_border)


class Add(Operator):
    """The sum of two tensors of one shape, clamped."""

    kernel = "native"
    first: StoredQParams
    second: StoredQParams
    output: StoredQParams
    clamp: Clamp

    def __init__(self, *, first: QParams, second: QParams, output: QParams, clamp: Clamp = (None, None)) -> None:
        super().__init__(first=first, second=second, output=output, clamp=tuple(clamp))

    def prepare_(self) -> None:
        (a_scale, a_zero), (b_scale, b_zero) = numbers(self.first), numbers(self.second)
        y_scale, y_zero = numbers(self.output)
        low, high = clamp_codes(self.output(), self.clamp)
        scales = {"scale_a": a_scale / y_scale, "scale_b": b_scale / y_scale}
        zeros = {"zero_point_a": a_zero, "zero_point_b": b_zero, "zero_point": y_zero}
        self.codes: dict[str, Any] = {**scales, **zeros, "low": low, "high": high}

    def forward(self, x: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
        check_codes(x, self.first)
        check_codes(y, self.second, "y")
        return copied(self.exact(x, y) if self.path() == dispatch.REFERENCE else pointwise.add(x, y, **self.codes), out)

    def call(self, inputs: Sequence[Tensor], out: Tensor) -> program.Call | None:
        if self.path() == dispatch.REFERENCE:
            return None
        scales = self.codes["scale_a"], self.codes["scale_b"]
        zeros = self.codes["zero_point_a"], self.codes["zero_point_b"], self.codes["zero_point"]
        return program.add(inputs[0], inputs[1], out, scales, zeros, (self.codes["low"], self.codes["high"]))

    def exact(self, *inputs: Tensor) -> Tensor:
        return reference.add(inputs[0], inputs[1], **self.codes)

    def real(self, *reals: Tensor) -> Tensor:
        return clamp_reals(reals[0] + reals[1], self.clamp)


class Multiply(Operator):
    """The product of two tensors, one of which may have a single row and column: squeeze-and-excitation.

    y = clamp(round((a - a_zero) · (b - b_zero) · M) + y_zero),  M = a_scale · b_scale / y_scale
    """

    first: StoredQParams
    second: StoredQParams
    output: StoredQParams

    def __init__(self, *, first: QParams, second: QParams, output: QParams) -> None:
        super().__init__(first=first, second=second, output=output)

    def prepare_(self) -> None:
        (a_scale, self.a_zero), (b_scale, self.b_zero) = numbers(self.first), numbers(self.second)
        y_scale, self.y_zero = numbers(self.output)
        self.factor = torch.tensor(a_scale * b_scale / y_scale, dtype=torch.float32)

    def forward(self, x: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
        check_codes(x, self.first)
        check_codes(y, self.second, "y")
        product = (x.to(torch.int32) - self.a_zero) * (y.to(torch.int32) - self.b_zero)  # at most 255², exact in float
        codes = product.float().mul_(self.factor).round_().add_(self.y_zero)
        codes = codes.clamp_(self.output.quant_min, self.output.quant_max)
        return codes.to(x.dtype) if out is None else out.copy_(codes)

    def call(self, inputs: Sequence[Tensor], out: Tensor) -> program.Call | None:
        if dispatch.choose(self.isa) is None:
            return None
        zeros, ends = (self.a_zero, self.b_zero, self.y_zero), (self.output.quant_min, self.output.quant_max)
        return program.multiply(inputs[0], inputs[1], out, float(self.factor), zeros, ends)

    def real(self, *reals: Tensor) -> Tensor:
        return reals[0] * reals[1]


class Table(Operator):
    """Any function of one value: the code of its result for each of the input's codes."""

    input: StoredQParams
    output: StoredQParams
    function: str

    def __init__(self, *, input: QParams, output: QParams, function: str) -> None:
        if function not in FUNCTIONS:
            raise ValueError(f"function must be one of {', '.join(FUNCTIONS)}; got {function!r}")
        super().__init__(input=input, output=output, function=function)

    def prepare_(self) -> None:
        codes = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(self.input().dtype)  # by their bytes
        self.entries = quantize(FUNCTIONS[self.function](dequantize(codes, self.input())), self.output())

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        check_codes(x, self.input)
        index = x.view(torch.uint8).flatten().int()
        if out is None:
            return self.entries.index_select(0, index).view(x.shape)
        torch.index_select(self.entries, 0, index, out=out.view(-1))
        return out

    def call(self, inputs: Sequence[Tensor], out: Tensor) -> program.Call | None:
        return None if dispatch.choose(self.isa) is None else program.table(self.entries, inputs[0], out)

    def real(self, *reals: Tensor) -> Tensor:
        return FUNCTIONS[self.function](reals[0])

    def extra_repr(self) -> str:
        return self.function


class Concat(Operator):
    """Tensors joined along the channels; each is first brought to the codes of the result, by a table."""

    output: StoredQParams
    axis: int

    def __init__(self, *read: QParams, output: QParams, axis: int, **inputs: QParams) -> None:
        numbered = {f"input{i}": qparams for i, qparams in enumerate(read)}
        parts: dict[str, Any] = {"output": output, "axis": axis, **numbered, **inputs}
        super().__init__(**parts)

    def prepare_(self) -> None:
        stored = [getattr(self, f"input{i}")() for i in range(self._count())]
        output = self.output()
        self.tables = [None if _same(q, output) else Table(input=q, output=output, function="identity") for q in stored]

    def _count(self) -> int:
        return sum(name.startswith("input") for name in self.part_names)

    def forward(self, *inputs: Tensor, out: Tensor | None = None) -> Tensor:
        moved = [x if table is None else table(x) for x, table in zip(inputs, self.tables, strict=True)]
        return torch.cat(moved, dim=self.axis, out=out) if out is not None else torch.cat(moved, dim=self.axis)

    def real(self, *reals: Tensor) -> Tensor:
        return torch.cat(reals, dim=1 if reals[0].ndim == 4 else self.axis)


class Pad(SameCodes):
    """Keep every so many rows and columns, then add a border, of channels too: ResNet's shortcut without parameters.

    Args:
        start, step: the first row, column and channel that is kept, and the distance to the next; NHWC without N.
        before, after: how many zeros are added on either side of rows, columns and channels.
    """

    start: tuple[int, int, int]
    step: tuple[int, int, int]
    before: tuple[int, int, int]
    after: tuple[int, int, int]

    def __init__(
        self,
        *,
        input: QParams,
        step: tuple[int, int, int] = (1, 1, 1),
        before: tuple[int, int, int] = (0, 0, 0),
        after: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        super().__init__(input=input, step=tuple(step), before=tuple(before), after=tuple(after))

    def prepare_(self) -> None:
        self.zero = numbers(self.input)[1]

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        check_codes(x, self.input)
        if x.ndim != 4:
            raise ValueError(f"x must be codes in NHWC, [n, h, w, channels], got {describe(x)}")
        down, across, channels = self.step
        kept = x[:, ::down, ::across, ::channels]
        sizes = [size + b + a for size, b, a in zip(kept.shape[1:], self.before, self.after, strict=True)]
        if out is None:
            out = x.new_empty(len(x), *sizes)
        out.fill_(self.zero)
        inner = [slice(b, b + size) for b, size in zip(self.before, kept.shape[1:], strict=True)]
        out[(slice(None), *inner)] = kept
        return out

    def call(self, inputs: Sequence[Tensor], out: Tensor) -> program.Call | None:
        if dispatch.choose(self.isa) is None:
            return None
        return program.pad(inputs[0], out, self.step, self.before, self.after, self.zero)

    def real(self, *reals: Tensor) -> Tensor:
        down, across, channels = self.step
        (top, left, first), (bottom, right, last) = self.before, self.after
        return F.pad(reals[0][:, ::channels, ::down, ::across], (left, right, top, bottom, first, last))


class Flatten(SameCodes):
    """[n, h, w, c] to [n, c·h·w], in torch's order of channels before rows; no work where h = w = 1."""

    writes_out = False  # a view, mostly

    def __init__(self, *, input: QParams) -> None:
        super().__init__(input=input)

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        check_codes(x, self.input)
        return to_nchw(x).flatten(1)

    def real(self, *reals: Tensor) -> Tensor:
        return reals[0].flatten(1)


def _same(a: QParams, b: QParams) -> bool:
    return numbers(a) == numbers(b) and (a.quant_min, a.quant_max) == (b.quant_min, b.quant_max)
