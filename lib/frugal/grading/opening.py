"""A JSON tree and blobs to values: the receiving half of ``frugal.grading.wire``, which believes nothing."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from frugal.grading.errors import WireError
from frugal.grading.plain import (
    AS_IT_IS,
    DTYPES,
    ITEM_BYTES,
    LARGEST_SIZE,
    LARGEST_STRIDE,
    LONGEST_INTEGER,
    MOST_AXES,
    NUMPY,
)

if TYPE_CHECKING:
    from frugal.grading.limits import Limits
    from frugal.grading.wire import Hooks


class Opener:
    """One message being read. Tensors and arrays lie in the message's own memory, each in a place of its own."""

    def __init__(self, limits: Limits, hooks: Hooks, message: bytearray, places: list[tuple[int, int]]) -> None:
        self.limits, self.hooks, self.message = limits, hooks, message
        self.places: list[tuple[int, int] | None] = [*places]
        self.nodes = 0

    def open(self, node: Any, depth: int) -> Any:
        self.nodes += 1
        if depth > self.limits.frame_depth or self.nodes > self.limits.frame_nodes:
            raise WireError("a message is nested too deep or has too many parts")
        kind = type(node)
        if kind in AS_IT_IS or kind is int:
            return node
        if kind is list:
            return [self.open(each, depth + 1) for each in node]
        if kind is not dict or len(node) != 1:
            raise WireError("a message holds a node of no known kind")
        ((tag, data),) = node.items()
        opener = _OPEN.get(tag)
        if opener:
            return opener(self, data, depth)
        return self.hooks.unpack(tag, data, lambda part: self.open(part, depth + 1))

    def each(self, data: Any, depth: int) -> list:
        if type(data) is not list:
            raise WireError("a message holds a list that is none")
        return [self.open(each, depth + 1) for each in data]

    def pairs(self, data: Any, depth: int) -> zip:
        parts = self.each(data, depth)
        return zip(parts[::2], parts[1::2], strict=True)

    def tensor(self, data: Any) -> torch.Tensor:
        name, shape, strides, place, extra = data
        dtype, (start, size) = DTYPES[name], self.blob(place)
        count = span = _count(shape)
        if strides is not None:
            if len(strides) != len(shape) or not all(
                type(each) is int and 0 <= each < LARGEST_STRIDE for each in strides
            ):
                raise WireError("a tensor has strides that do not fit its shape")
            span = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) if count else 0
        if span * ITEM_BYTES[name] != size:
            raise WireError("a tensor has fewer or more values than its shape says")
        if not count:
            return self.hooks.made(torch.empty(shape, dtype=dtype), extra)
        flat = torch.frombuffer(self.message, dtype=dtype, count=span, offset=start)
        if dtype is torch.bool and int(flat.view(torch.uint8).max()) > 1:
            raise WireError("a tensor of bool holds a value that is neither")
        return self.hooks.made(flat.view(shape) if strides is None else flat.as_strided(shape, strides), extra)

    def array(self, data: Any) -> np.ndarray:
        name, shape, place = data
        if name not in NUMPY:
            raise WireError("a numpy array of no known dtype")
        count, (start, size) = _count(shape), self.blob(place)
        if count * np.dtype(name).itemsize != size:
            raise WireError("an array has fewer or more values than its shape says")
        if not count:
            return np.empty(shape, dtype=name)
        flat = np.frombuffer(self.message, dtype=name, count=count, offset=start)
        if name == "bool" and flat.view(np.uint8).max() > 1:
            raise WireError("an array of bool holds a value that is neither")
        return flat.reshape(shape)

    def dataclass(self, data: Any, depth: int) -> Any:
        name, pairs = data
        kind = self.hooks.dataclass(name) if type(name) is str else None
        if kind is None:
            raise WireError("a message holds a dataclass that may not cross")
        given = {key: self.open(each, depth + 1) for key, each in pairs}
        names, whole = _fields(kind)
        if given.keys() != names or not whole:
            raise WireError(f"a {kind.__name__} came with other fields than its own")
        if self.hooks.believes:  # its checks ran where it was made
            made: Any = object.__new__(kind)
            for key, value in given.items():
                object.__setattr__(made, key, value)
            return made
        try:
            return kind(**given)
        except Exception as error:  # its own checks, on values that never passed through its constructor
            raise WireError(f"{kind.__name__} refuses its values: {error}") from None

    def bytes(self, place: Any) -> bytes:
        start, size = self.blob(place)
        return bytes(memoryview(self.message)[start : start + size])

    def blob(self, place: Any) -> tuple[int, int]:
        """Return where a blob lies. It is given out once: two values never share their memory."""
        if type(place) is not int or not 0 <= place < len(self.places):
            raise WireError("a message names a tensor that it does not hold")
        found, self.places[place] = self.places[place], None
        if found is None:
            raise WireError("a message names one tensor twice")
        return found


@cache
def _fields(kind: type) -> tuple[set[str], bool]:
    """Return the names of a dataclass's fields, and whether its constructor takes all of them."""
    fields = dataclasses.fields(kind)
    return {field.name for field in fields}, all(field.init for field in fields)


def _count(shape: Any) -> int:
    """Check a shape and return how many values it holds."""
    if type(shape) is not list or len(shape) > MOST_AXES:
        raise WireError("a tensor has a shape that is none")
    count = extent = 1
    for size in shape:
        if type(size) is not int or not 0 <= size <= LARGEST_SIZE:
            raise WireError("a tensor has a shape that is none")
        count, extent = count * size, extent * (size or 1)
    if extent > LARGEST_SIZE:
        raise WireError("a tensor has a shape that is too large")
    return count


def _integer(data: Any) -> int:
    if type(data) is not str or len(data) > LONGEST_INTEGER:
        raise WireError("an integer is too long")
    return int(data, 16)


_OPEN: dict[str, Callable[[Opener, Any, int], Any]] = {
    "i": lambda opener, data, depth: _integer(data),
    "c": lambda opener, data, depth: complex(*[_real(each) for each in data]),
    "t": lambda opener, data, depth: tuple(opener.each(data, depth)),
    "z": lambda opener, data, depth: torch.Size([_natural(each) for each in data]),
    "S": lambda opener, data, depth: set(opener.each(data, depth)),
    "F": lambda opener, data, depth: frozenset(opener.each(data, depth)),
    "d": lambda opener, data, depth: dict(opener.pairs(data, depth)),
    "o": lambda opener, data, depth: OrderedDict(opener.pairs(data, depth)),
    "b": lambda opener, data, depth: opener.bytes(data),
    "r": lambda opener, data, depth: range(*[_whole(each) for each in data]),
    "x": lambda opener, data, depth: slice(*opener.each(data, depth)),
    "q": lambda opener, data, depth: Fraction(_integer(data[0]), _integer(data[1])),
    "e": lambda opener, data, depth: Ellipsis,
    "y": lambda opener, data, depth: DTYPES[data],
    "v": lambda opener, data, depth: torch.device(_device(data)),
    "T": lambda opener, data, depth: opener.tensor(data),
    "P": lambda opener, data, depth: _parameter(opener.tensor(data)),
    "n": lambda opener, data, depth: opener.array(data),
    "s": lambda opener, data, depth: opener.array(data)[()],
    "D": lambda opener, data, depth: opener.dataclass(data, depth),
}


def _real(value: Any) -> float:
    if type(value) is not float:
        raise WireError("a part of a complex number is no real number")
    return value


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= LARGEST_SIZE:
        raise WireError("a size is not a whole number from 0")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise WireError("a range holds what is not a whole number")
    return value


def _device(value: Any) -> str:
    if value != "cpu":
        raise WireError("only the CPU is passed on as a device")
    return value


def _parameter(tensor: torch.Tensor) -> torch.nn.Parameter:
    real = tensor.is_floating_point() or tensor.is_complex()
    return torch.nn.Parameter(tensor.detach(), requires_grad=real)
