"""What a kernel asks of a tensor: type, device, layout, alignment, and an output that shares memory with nothing.

Each check returns what it was given in the form that C wants, or refuses it with what came and what to do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.kernels.output import Output

ALIGN = 64  # bytes: what the widest load of weights needs
LARGEST_INT = 2**31 - 1


def check_input(x: object, dtype: torch.dtype, name: str) -> None:
    """Refuse what is not a dense tensor of this type in main memory with at least one value."""
    if not isinstance(x, Tensor) or x.dtype != dtype:
        raise TypeError(f"{name} must be a tensor of {dtype}, got {describe(x)}")
    if x.device.type != "cpu":
        raise ValueError(f"{name} must lie in main memory, got device {x.device}; {name}.cpu() copies it there")
    if x.layout != torch.strided:
        raise ValueError(f"{name} must be a dense tensor, got layout {x.layout}; {name}.to_dense() makes one")
    if x.numel() == 0:
        raise ValueError(f"{name} must hold at least one value, got {describe(x)}")
    if x.ndim == 0:
        raise ValueError(f"{name} must have at least one dimension, got a single value")


def check_residual(residual: Tensor | None, output: Output, shape: tuple[int, ...]) -> None:
    """Refuse a residual where the layer has none, and the absence of one where it has."""
    if (residual is None) != (output.residual is None):
        wanted = "needs a residual" if residual is None else "has no residual: prepare it with residual=Residual(...)"
        raise ValueError(f"this layer {wanted}")
    if residual is not None:
        check_input(residual, output.dtype, "residual")
        if tuple(residual.shape) != shape:
            raise ValueError(f"residual must have the output's shape {list(shape)}, got {describe(residual)}")


def output_tensor(shape: tuple[int, ...], dtype: torch.dtype, out: Tensor | None) -> Tensor:
    """Return ``out``, checked, or a fresh tensor."""
    if out is None:
        return torch.empty(shape, dtype=dtype)
    check_input(out, dtype, "out")
    if tuple(out.shape) != shape:
        raise ValueError(f"out must have the shape {list(shape)}, got {describe(out)}")
    if out.data_ptr() % out.element_size():
        raise ValueError(f"out must start at a multiple of {out.element_size()} bytes, got address {out.data_ptr():#x}")
    return out


def rows_of(x: Tensor, name: str) -> Tensor:
    """View a tensor as rows: neighbours in a row are neighbours in memory."""
    if x.ndim == 2 and (x.shape[1] == 1 or x.stride(1) == 1):
        rows = x
    elif x.is_contiguous():
        rows = x.view(-1, x.shape[-1])
    else:
        raise ValueError(
            f"{name} must be a matrix with neighbouring values in each row, or contiguous, got {layout(x)}; "
            f"{name}.contiguous() copies it"
        )
    if name == "out" and rows.shape[0] > 1 and rows.stride(0) < rows.shape[1]:
        raise ValueError(f"rows of out must not overlap, got {layout(x)}; torch.empty makes a fresh one")
    return rows


def check_apart(y: Tensor, *inputs: Tensor | None) -> None:
    """Refuse an output that shares memory with an input."""
    first, last = _span(y)
    for each in inputs:
        if each is None:
            continue
        other_first, other_last = _span(each)
        if first < other_last and other_first < last:
            raise ValueError(
                "out must not share memory with x, residual or the weights: values would be read after they were "
                "overwritten; give another tensor, or none"
            )


def _span(x: Tensor) -> tuple[int, int]:
    """The addresses that a tensor's values lie between."""
    last = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.data_ptr(), x.data_ptr() + (last + 1) * x.element_size()


def constant(x: Tensor, dtype: torch.dtype, size: int, name: str) -> Tensor:
    """A constant of a layer, contiguous and aligned; copied where it is not."""
    if x.dtype != dtype or x.numel() != size or x.device.type != "cpu":
        raise ValueError(f"{name} must be {dtype} [{size}] in main memory, got {describe(x)} on {x.device}")
    x = x.detach().contiguous()
    return x if x.data_ptr() % ALIGN == 0 else _aligned_copy(x)


def _aligned_copy(x: Tensor) -> Tensor:
    room = torch.empty(x.numel() * x.element_size() + ALIGN, dtype=torch.uint8)
    skip = -room.data_ptr() % ALIGN
    copy = room[skip : skip + x.numel() * x.element_size()].view(x.dtype).view(x.shape)
    return copy.copy_(x)


def layout(x: Tensor) -> str:
    """Say what a tensor is and how it lies in memory."""
    return f"{describe(x)} with strides {list(x.stride())}"


def check_count(count: int) -> None:
    """Refuse more lines than C counts."""
    if count > LARGEST_INT:
        raise ValueError(f"{count:,} lines are more than int32 counts; split the tensor")
