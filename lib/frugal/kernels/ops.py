"""The int8 layers as operators of torch.library, for those who watch: torch.compile, torch.export, FlopCounterMode.

Each operator has a fake form, which computes shapes alone, and a count of its floating point operations (2 for each
product and sum, as torch counts them, though they are integers here). Tensors and numbers go in, so that an exported
program stands on its own. The layer that they describe is prepared on the first call and kept for the next ones.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from frugal.kernels import dispatch
from frugal.kernels.output import Output, Residual

if TYPE_CHECKING:
    from frugal.kernels.conv import Conv8
    from frugal.kernels.gemm import Linear8

Numbers = tuple[torch.dtype, list[int], float | None]
Prepared = TypeVar("Prepared")
MOST_LAYERS = 256  # that are kept


def linear(layer: Linear8, x: Tensor, residual: Tensor | None, isa: str | None) -> Tensor:
    """Call ``frugal::linear8`` for a prepared layer."""
    dtype, numbers, residual_scale = _numbers(layer.output)
    tensors = (layer.packed.data, layer.bias, layer.output.scale, layer.output.multiplier, layer.output.shift)
    return torch.ops.frugal.linear8(
        x, *tensors, residual, layer.packed.out, layer.packed.depth, dtype, numbers, residual_scale, isa
    )


def conv(layer: Conv8, x: Tensor, residual: Tensor | None, isa: str | None) -> Tensor:
    """Call ``frugal::conv8`` for a prepared layer."""
    dtype, numbers, residual_scale = _numbers(layer.output)
    g = layer.geometry
    moves = [*g.stride, *g.padding, *g.dilation, g.groups, layer.x_zero_point]
    tensors = (layer.weight, layer.bias, layer.output.scale, layer.output.multiplier, layer.output.shift)
    return torch.ops.frugal.conv8(x, *tensors, residual, moves, dtype, numbers, residual_scale, isa)


@torch.library.custom_op("frugal::linear8", mutates_args=())
def linear8(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor | None,
    multiplier: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    out: int,
    depth: int,
    dtype: torch.dtype,
    numbers: Sequence[int],
    residual_scale: float | None,
    isa: str | None,
) -> Tensor:
    """x [..., in] times packed weights -> [..., out]; the bias holds the zero-point."""
    from frugal.kernels.gemm import Linear8
    from frugal.kernels.pack import Packed

    def prepare() -> Linear8:
        output = _output(dtype, scale, multiplier, shift, numbers, residual_scale)
        return Linear8(Packed(weight, out, 1, depth), bias, x_dtype=x.dtype, output=output)

    others = ("linear8", x.dtype, out, depth, dtype, tuple(numbers), residual_scale)
    layer = _kept((weight, bias, scale, multiplier, shift), others, prepare)
    return layer._run(x.contiguous(), residual, None, isa)


@linear8.register_fake
def _(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    out, dtype = rest[5], rest[7]
    return x.new_empty((*x.shape[:-1], out), dtype=dtype)


@torch.library.custom_op("frugal::conv8", mutates_args=())
def conv8(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    multiplier: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    moves: Sequence[int],
    dtype: torch.dtype,
    numbers: Sequence[int],
    residual_scale: float | None,
    isa: str | None,
) -> Tensor:
    """x [n, h, w, in] with weights [out, in / groups, kh, kw] -> [n, h', w', out]; moves: see ``conv``."""
    from frugal.kernels.conv import Conv8

    def prepare() -> Conv8:
        s, p, d, groups, x_zero_point = moves[:2], moves[2:4], moves[4:6], moves[6], moves[7]
        return Conv8(
            *(weight, bias),
            stride=(s[0], s[1]),
            padding=(p[0], p[1]),
            dilation=(d[0], d[1]),
            groups=groups,
            x_dtype=x.dtype,
            x_zero_point=x_zero_point,
            output=_output(dtype, scale, multiplier, shift, numbers, residual_scale),
        )

    others = ("conv8", x.dtype, tuple(moves), dtype, tuple(numbers), residual_scale)
    layer = _kept((weight, bias, scale, multiplier, shift), others, prepare)
    return layer._run(x.contiguous(), residual, None, isa)


@conv8.register_fake
def _(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    moves, dtype = rest[5], rest[6]
    s, p, d = moves[:2], moves[2:4], moves[4:6]
    h, w = ((x.shape[1 + i] + 2 * p[i] - d[i] * (weight.shape[2 + i] - 1) - 1) // s[i] + 1 for i in range(2))
    return x.new_empty((x.shape[0], h, w, weight.shape[0]), dtype=dtype)


_layers: OrderedDict[Hashable, tuple[Any, object]] = OrderedDict()
_lock = threading.Lock()


def _kept(tensors: Sequence[Tensor | None], others: Hashable, prepare: Callable[[], Prepared]) -> Prepared:
    """The layer that was prepared of these very tensors, or a fresh one.

    A tensor is known by its address, which cannot pass to another one while it is kept here, and by torch's count of
    how often it was written. Inference tensors have no such count: of them a layer is prepared anew each time.
    """
    if any(x is not None and x.is_inference() for x in tensors):
        return prepare()
    seen = tuple(None if x is None else (x.data_ptr(), x._version, x.shape, x.stride()) for x in tensors)
    key = (seen, others, dispatch.forced())
    with _lock:
        if key in _layers:
            _layers.move_to_end(key)
            return _layers[key][0]
    layer = prepare()
    with _lock:
        _layers[key] = (layer, tensors)
        while len(_layers) > MOST_LAYERS:
            _layers.popitem(last=False)
    return layer


@register_flop_formula(torch.ops.frugal.linear8)
def linear8_flops(x_shape: Any, weight_shape: Any, *rest: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """2 · m · out · in."""
    depth = rest[6]
    return 2 * math.prod(out_shape) * depth


@register_flop_formula(torch.ops.frugal.conv8)
def conv8_flops(x_shape: Any, weight_shape: Any, *rest: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """2 · pixels · out · in / groups · kernel positions."""
    return 2 * math.prod(out_shape) * math.prod(weight_shape[1:])


def _numbers(output: Output) -> Numbers:
    residual = output.residual
    zero = residual.zero_point if residual else 0
    return output.dtype, [output.zero_point, output.low, output.high, zero], residual.scale if residual else None


def _output(
    dtype: torch.dtype,
    scale: Tensor | None,
    multiplier: Tensor | None,
    shift: Tensor | None,
    numbers: Sequence[int],
    residual_scale: float | None,
) -> Output:
    zero_point, low, high, residual_zero = numbers
    residual = None if residual_scale is None else Residual(residual_scale, residual_zero)
    return Output(dtype, scale, multiplier, shift, zero_point, low, high, residual)
