"""Values to a JSON tree and blobs: the sending half of ``frugal.grading.wire``."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from frugal.grading.errors import WireError
from frugal.grading.plain import AS_IT_IS, EXACT, LONGEST_INTEGER, MOST_AXES, NAMES, NUMPY, SENDABLE

if TYPE_CHECKING:
    from frugal.grading.limits import Limits
    from frugal.grading.wire import Hooks


class Packer:
    """One message in the making: ``pack`` returns the tree, ``blobs`` are the bytes that it names by number."""

    def __init__(self, limits: Limits, hooks: Hooks) -> None:
        self.limits, self.hooks = limits, hooks
        self.blobs: list[Any] = []  # whatever has bytes in one piece
        self.blob_bytes = 0
        self.nodes = 0

    def pack(self, value: Any, depth: int) -> Any:
        self.nodes += 1
        if depth > self.limits.frame_depth or self.nodes > self.limits.frame_nodes:
            raise WireError(
                f"a value is nested deeper than {self.limits.frame_depth} or has over {self.limits.frame_nodes:,} parts"
            )
        kind = type(value)
        if kind in AS_IT_IS:
            return value
        if kind is int:
            return value if -EXACT < value < EXACT else _long(value)
        pack = _PACK.get(kind)
        return pack(self, value, depth) if pack is not None else self._other(value, depth)

    def each(self, values: Any, depth: int) -> list:
        return [self.pack(value, depth + 1) for value in values]

    def pairs(self, value: dict, depth: int) -> list:
        return [self.pack(part, depth + 1) for pair in value.items() for part in pair]

    def blob(self, value: Any, size: int) -> int:
        self.blob_bytes += size
        if self.blob_bytes > self.limits.frame_bytes:
            raise WireError(f"values of {self.blob_bytes:,} bytes are too large to pass on")
        self.blobs.append(value)
        return len(self.blobs) - 1

    def _other(self, value: Any, depth: int) -> Any:
        packed = self.hooks.pack(value, lambda part: self.pack(part, depth + 1))
        if packed is not None:
            return packed
        if isinstance(value, torch.Tensor):
            raise WireError(f"a {type(value).__name__} is a subclass of torch.Tensor; return a plain tensor")
        if isinstance(value, np.generic):
            return self.array(np.asarray(value), "s")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            name = f"{type(value).__module__}:{type(value).__qualname__}"
            if self.hooks.dataclass(name) is type(value):
                fields = [field.name for field in dataclasses.fields(value)]
                return {"D": [name, [[key, self.pack(getattr(value, key), depth + 1)] for key in fields]]}
        if isinstance(value, tuple):  # a named tuple, torch.return_types
            return {"t": self.each(tuple.__iter__(value), depth)}
        if isinstance(value, dict):
            return {"d": self.pairs(value, depth)}
        raise WireError(f"cannot pass on a {type(value).__module__}.{type(value).__qualname__}; {SENDABLE}")

    def tensor(self, value: torch.Tensor, tag: str) -> dict:
        name = NAMES.get(value.dtype)
        if name is None or value.layout is not torch.strided or not value.is_cpu:
            raise WireError(
                f"cannot pass on a tensor of {value.dtype}, {value.layout}, on {value.device}; "
                "use a plain dtype on the CPU"
            )
        if value.ndim > MOST_AXES:
            raise WireError(f"a tensor of {value.ndim} axes is too deep; {MOST_AXES} are allowed")
        x = value.detach()
        if x.is_conj() or x.is_neg():
            x = x.resolve_conj().resolve_neg()
        strides, span = _layout(x)
        if span * x.element_size() > self.limits.frame_bytes:
            raise WireError(f"a tensor of {span * x.element_size():,} bytes is too large to pass on")
        if strides is not None:
            x = x.as_strided((span,), (1,))
        elif not x.is_contiguous():
            x = x.contiguous()
        if x.dtype is torch.bfloat16:  # numpy has none
            x = x.view(torch.int16)
        return {tag: [name, list(value.shape), strides, self.blob(x.numpy(), x.nbytes), self.hooks.note(value)]}

    def array(self, value: np.ndarray, tag: str) -> dict:
        if value.dtype.name not in NUMPY or value.ndim > MOST_AXES:
            raise WireError(f"cannot pass on a numpy array of {value.dtype.name}, {value.ndim} axes")
        if value.nbytes > self.limits.frame_bytes:
            raise WireError(f"an array of {value.nbytes:,} bytes is too large to pass on")
        return {tag: [value.dtype.name, list(value.shape), self.blob(np.ascontiguousarray(value), value.nbytes)]}


def _layout(x: torch.Tensor) -> tuple[list[int] | None, int]:
    """Return the strides of a tensor and how many elements lie between its first and its last; None for row order.

    Strides cross because a student's ``view`` must fail where it would in a notebook.
    """
    count = x.numel()
    if x.is_contiguous() or not count:
        return None, count
    span = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return (list(x.stride()), span) if span <= 16 * count + 1024 else (None, count)


def _long(value: int) -> dict:
    if value.bit_length() > LONGEST_INTEGER:
        raise WireError(f"an integer of {value.bit_length():,} bits is too long")
    return {"i": hex(value)}


_PACK: dict[type, Callable[[Packer, Any, int], Any]] = {
    list: lambda packer, value, depth: packer.each(value, depth),
    tuple: lambda packer, value, depth: {"t": packer.each(value, depth)},
    torch.Tensor: lambda packer, value, depth: packer.tensor(value, "T"),
    torch.nn.Parameter: lambda packer, value, depth: packer.tensor(value, "P"),
    dict: lambda packer, value, depth: {"d": packer.pairs(value, depth)},
    OrderedDict: lambda packer, value, depth: {"o": packer.pairs(value, depth)},
    complex: lambda packer, value, depth: {"c": [value.real, value.imag]},
    torch.Size: lambda packer, value, depth: {"z": list(value)},
    set: lambda packer, value, depth: {"S": packer.each(value, depth)},
    frozenset: lambda packer, value, depth: {"F": packer.each(value, depth)},
    bytes: lambda packer, value, depth: {"b": packer.blob(value, len(value))},
    range: lambda packer, value, depth: {"r": [value.start, value.stop, value.step]},
    slice: lambda packer, value, depth: {"x": packer.each((value.start, value.stop, value.step), depth)},
    Fraction: lambda packer, value, depth: {"q": [hex(value.numerator), hex(value.denominator)]},
    type(Ellipsis): lambda packer, value, depth: {"e": 0},
    torch.dtype: lambda packer, value, depth: {"y": str(value).removeprefix("torch.")},
    torch.device: lambda packer, value, depth: {"v": str(value)},
    np.ndarray: lambda packer, value, depth: packer.array(value, "n"),
}
