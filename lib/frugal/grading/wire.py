"""The wire between student and judge: plain data and tensors, nothing that could act.

    frame   8 bytes: length of the message
    message 4 bytes: length of the head, 4 bytes: number of blobs, then the head and each blob after its 8-byte length
    head    a JSON tree; what JSON lacks is {"tag": ...}, a tensor {"T": [dtype, shape, strides, blob, extra]}

No pickle. A value is built only from the exact types below; every message has a limit on its bytes, its depth and its
nodes, every read a deadline, and shapes, strides and lengths are checked before a tensor is made of them.

What else may cross (objects that stay where they are, functions passed as arguments) is decided by the two ``hooks``.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from frugal.grading.errors import WireError
from frugal.grading.limits import Limits

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
    )
}
NUMPY = (
    "float16",
    "float32",
    "float64",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "bool",
)
MOST_AXES, LARGEST_SIZE, LARGEST_STRIDE = 16, 1 << 40, 1 << 40
LONGEST_INTEGER = 4096  # bits
SENDABLE = "return numbers, strings, lists, tuples, dicts or tensors"


class Hooks:
    """What a side does with values that are not plain; by default nothing else crosses."""

    def pack(self, value: Any, pack: Callable[[Any], Any]) -> dict[str, Any] | None:
        """Return ``{tag: data}`` for an object, its parts through ``pack``; or None to refuse it."""
        return None

    def unpack(self, tag: str, data: Any, open_: Callable[[Any], Any]) -> Any:
        """Return what ``pack`` of the other side said, its parts through ``open_``."""
        raise WireError(f"a message holds the unknown kind {tag!r}")

    def note(self, tensor: torch.Tensor) -> Any:
        """Return what to say of a tensor beside its values; None for nothing."""
        return None

    def made(self, tensor: torch.Tensor, extra: Any) -> torch.Tensor:
        """Return what to use in place of a tensor that came in with ``extra``."""
        return tensor

    def dataclass(self, name: str) -> type | None:
        """Return the dataclass of this name, where it may cross."""
        return None


class Codec:
    """Values to bytes and back, with one side's limits and hooks."""

    def __init__(self, limits: Limits, hooks: Hooks | None = None) -> None:
        self.limits, self.hooks = limits, hooks or Hooks()

    def encode(self, value: Any) -> bytes:
        packer = _Packer(self)
        tree = packer.pack(value, 0)
        head = json.dumps(tree, separators=(",", ":")).encode()
        size = 8 + len(head) + sum(8 + len(blob) for blob in packer.blobs)
        if size > self.limits.frame_bytes:
            raise WireError(
                f"a value of {size:,} bytes is too large to pass on; {self.limits.frame_bytes:,} are allowed"
            )
        parts = [struct.pack("!II", len(head), len(packer.blobs)), head]
        for blob in packer.blobs:
            parts += [struct.pack("!Q", len(blob)), blob]
        return b"".join(parts)

    def decode(self, message: bytes | bytearray) -> Any:
        try:
            head, blobs = _take_apart(memoryview(message))
            return _Opener(self, blobs).open(json.loads(bytes(head)), 0)
        except WireError:
            raise
        except (
            *(ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError),
            *(RecursionError, RuntimeError, MemoryError, struct.error),
        ) as error:
            raise WireError(f"a message cannot be read: {type(error).__name__}") from None


def send(sock: socket.socket, message: bytes, seconds: float | None = None) -> None:
    """Send one frame; raise TimeoutError where the other side does not take it in time."""
    sock.settimeout(seconds)
    sock.sendall(struct.pack("!Q", len(message)) + message)


def receive(sock: socket.socket, most: int, deadline: float | None = None) -> bytearray:
    """Read one frame before ``deadline``, a time of ``time.monotonic``.

    Raises:
        WireError: the frame says that it is longer than ``most`` bytes.
        EOFError: the other side is gone.
        TimeoutError: the deadline has passed.
    """
    (size,) = struct.unpack("!Q", _read(sock, 8, deadline))
    if size > most:
        raise WireError(f"a message of {size:,} bytes is too large; {most:,} are allowed")
    return _read(sock, size, deadline)


def _read(sock: socket.socket, size: int, deadline: float | None) -> bytearray:
    found = bytearray()
    while len(found) < size:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the deadline has passed")
            sock.settimeout(left)
        else:
            sock.settimeout(None)
        piece = sock.recv(min(1 << 20, size - len(found)))
        if not piece:
            raise EOFError("the other side is gone")
        found += piece
    return found


def _take_apart(message: memoryview) -> tuple[memoryview, list[memoryview]]:
    head_size, count = struct.unpack_from("!II", message)
    place = 8 + head_size
    head, blobs = message[8:place], []
    for _ in range(count):
        (size,) = struct.unpack_from("!Q", message, place)
        place += 8
        if place + size > len(message):
            raise WireError("a message ends in the middle of a tensor")
        blobs.append(message[place : place + size])
        place += size
    if place != len(message):
        raise WireError("a message is longer than what it holds")
    return head, blobs


# ---- out -------------------------------------------------------------------------------------------------------------


class _Packer:
    def __init__(self, codec: Codec) -> None:
        self.codec, self.hooks = codec, codec.hooks
        self.blobs: list[bytes] = []
        self.nodes = 0

    def pack(self, value: Any, depth: int) -> Any:
        limits = self.codec.limits
        self.nodes += 1
        if depth > limits.frame_depth or self.nodes > limits.frame_nodes:
            raise WireError(
                f"a value is nested deeper than {limits.frame_depth} or has over {limits.frame_nodes:,} parts"
            )
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            if value.bit_length() > LONGEST_INTEGER:
                raise WireError(f"an integer of {value.bit_length():,} bits is too long")
            return value if -(1 << 53) < value < 1 << 53 else {"i": hex(value)}
        pack = _PACK.get(kind)
        if pack is not None:
            return pack(self, value, depth)
        return self._other(value, depth)

    def _other(self, value: Any, depth: int) -> Any:
        packed = self.hooks.pack(value, lambda part: self.pack(part, depth + 1))
        if packed is not None:
            return packed
        if isinstance(value, torch.Tensor):
            raise WireError(f"a {type(value).__name__} is a subclass of torch.Tensor; return a plain tensor")
        if isinstance(value, np.generic):
            return self._numpy(np.asarray(value), "s")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            name = f"{type(value).__module__}:{type(value).__qualname__}"
            if self.hooks.dataclass(name) is type(value):
                fields = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
                return {"D": [name, [[key, self.pack(each, depth + 1)] for key, each in fields]]}
        if isinstance(value, tuple):  # a named tuple, torch.return_types
            return {"t": [self.pack(each, depth + 1) for each in tuple.__iter__(value)]}
        if isinstance(value, dict):
            return self._pairs("d", value, depth)
        raise WireError(f"cannot pass on a {type(value).__module__}.{type(value).__qualname__}; {SENDABLE}")

    def _pairs(self, tag: str, value: dict, depth: int) -> dict:
        return {tag: [[self.pack(key, depth + 1), self.pack(each, depth + 1)] for key, each in value.items()]}

    def _tensor(self, value: torch.Tensor, tag: str) -> dict:
        name = str(value.dtype).removeprefix("torch.")
        if name not in DTYPES or value.layout is not torch.strided or value.device.type != "cpu":
            raise WireError(
                f"cannot pass on a tensor of {name}, {value.layout}, on {value.device}; use a plain dtype on the CPU"
            )
        if value.ndim > MOST_AXES:
            raise WireError(f"a tensor of {value.ndim} axes is too deep; {MOST_AXES} are allowed")
        x = value.detach().resolve_conj().resolve_neg()
        strides, span = _layout(x)
        if span * x.element_size() > self.codec.limits.frame_bytes:
            raise WireError(f"a tensor of {span * x.element_size():,} bytes is too large to pass on")
        flat = x.reshape(-1) if strides is None else x.as_strided((span,), (1,))
        self.blobs.append(flat.contiguous().view(torch.uint8).numpy().tobytes() if span else b"")
        return {tag: [name, list(x.shape), strides, len(self.blobs) - 1, self.hooks.note(value)]}

    def _numpy(self, value: np.ndarray, tag: str) -> dict:
        if value.dtype.name not in NUMPY or value.ndim > MOST_AXES:
            raise WireError(f"cannot pass on a numpy array of {value.dtype.name}, {value.ndim} axes")
        if value.nbytes > self.codec.limits.frame_bytes:
            raise WireError(f"an array of {value.nbytes:,} bytes is too large to pass on")
        self.blobs.append(np.ascontiguousarray(value).tobytes())
        return {tag: [value.dtype.name, list(value.shape), len(self.blobs) - 1]}

    def _bytes(self, value: bytes) -> dict:
        self.blobs.append(value)
        return {"b": len(self.blobs) - 1}


def _layout(x: torch.Tensor) -> tuple[list[int] | None, int]:
    """Return the strides of a tensor and how many elements lie between its first and its last; None for row order.

    Strides cross because a student's ``view`` must fail where it would in a notebook.
    """
    if x.is_contiguous() or not x.numel():
        return None, x.numel()
    span = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return (list(x.stride()), span) if span <= 16 * x.numel() + 1024 else (None, x.numel())


_PACK: dict[type, Callable[[_Packer, Any, int], Any]] = {
    float: lambda packer, value, depth: {"f": value.hex()},
    complex: lambda packer, value, depth: {"c": [value.real.hex(), value.imag.hex()]},
    list: lambda packer, value, depth: {"l": [packer.pack(each, depth + 1) for each in value]},
    tuple: lambda packer, value, depth: {"t": [packer.pack(each, depth + 1) for each in value]},
    torch.Size: lambda packer, value, depth: {"z": list(value)},
    set: lambda packer, value, depth: {"S": [packer.pack(each, depth + 1) for each in value]},
    frozenset: lambda packer, value, depth: {"F": [packer.pack(each, depth + 1) for each in value]},
    dict: lambda packer, value, depth: packer._pairs("d", value, depth),
    OrderedDict: lambda packer, value, depth: packer._pairs("o", value, depth),
    bytes: lambda packer, value, depth: packer._bytes(value),
    range: lambda packer, value, depth: {"r": [value.start, value.stop, value.step]},
    slice: lambda packer, value, depth: {
        "x": [packer.pack(each, depth + 1) for each in (value.start, value.stop, value.step)]
    },
    Fraction: lambda packer, value, depth: {"q": [hex(value.numerator), hex(value.denominator)]},
    type(Ellipsis): lambda packer, value, depth: {"e": 0},
    torch.dtype: lambda packer, value, depth: {"y": str(value).removeprefix("torch.")},
    torch.device: lambda packer, value, depth: {"v": str(value)},
    torch.Tensor: lambda packer, value, depth: packer._tensor(value, "T"),
    torch.nn.Parameter: lambda packer, value, depth: packer._tensor(value, "P"),
    np.ndarray: lambda packer, value, depth: packer._numpy(value, "n"),
}


# ---- in --------------------------------------------------------------------------------------------------------------


class _Opener:
    def __init__(self, codec: Codec, blobs: list[memoryview]) -> None:
        self.codec, self.hooks, self.blobs = codec, codec.hooks, blobs
        self.nodes = 0

    def open(self, node: Any, depth: int) -> Any:
        limits = self.codec.limits
        self.nodes += 1
        if depth > limits.frame_depth or self.nodes > limits.frame_nodes:
            raise WireError("a message is nested too deep or has too many parts")
        if node is None or type(node) in (bool, int, str):
            return node
        if type(node) is not dict or len(node) != 1:
            raise WireError("a message holds a node of no known kind")
        ((tag, data),) = node.items()
        opener = _OPEN.get(tag)
        if opener:
            return opener(self, data, depth)
        return self.hooks.unpack(tag, data, lambda part: self.open(part, depth + 1))

    def _each(self, data: Any, depth: int) -> list:
        if type(data) is not list:
            raise WireError("a message holds a list that is none")
        return [self.open(each, depth + 1) for each in data]

    def _pairs(self, data: Any, depth: int) -> list[tuple[Any, Any]]:
        return [(self.open(key, depth + 1), self.open(each, depth + 1)) for key, each in data]

    def _tensor(self, data: Any) -> torch.Tensor:
        name, shape, strides, place, extra = data
        dtype, blob = DTYPES[name], self._blob(place)
        size = torch.empty((), dtype=dtype).element_size()
        count = _count(shape)
        if strides is None:
            span = count
        else:
            if len(strides) != len(shape) or not all(
                type(each) is int and 0 <= each < LARGEST_STRIDE for each in strides
            ):
                raise WireError("a tensor has strides that do not fit its shape")
            span = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) if count else 0
        if span * size != len(blob):
            raise WireError("a tensor has fewer or more values than its shape says")
        if not count:
            return self.hooks.made(torch.empty(shape, dtype=dtype), extra)
        raw = torch.frombuffer(bytearray(blob), dtype=torch.uint8)
        if dtype is torch.bool and int(raw.max()) > 1:
            raise WireError("a tensor of bool holds a value that is neither")
        flat = raw.view(dtype)
        return self.hooks.made(flat.reshape(shape) if strides is None else flat.as_strided(shape, strides), extra)

    def _numpy(self, data: Any) -> np.ndarray:
        name, shape, place = data
        if name not in NUMPY:
            raise WireError("a numpy array of no known dtype")
        count, blob = _count(shape), self._blob(place)
        if count * np.dtype(name).itemsize != len(blob):
            raise WireError("an array has fewer or more values than its shape says")
        if name == "bool" and any(each > 1 for each in bytes(blob)):
            raise WireError("an array of bool holds a value that is neither")
        return np.frombuffer(bytearray(blob), dtype=name).reshape(shape)

    def _dataclass(self, data: Any, depth: int) -> Any:
        name, pairs = data
        kind = self.hooks.dataclass(name) if type(name) is str else None
        if kind is None:
            raise WireError("a message holds a dataclass that may not cross")
        given = {key: self.open(each, depth + 1) for key, each in pairs}
        fields = {field.name for field in dataclasses.fields(kind)}
        if given.keys() != fields or not all(field.init for field in dataclasses.fields(kind)):
            raise WireError(f"a {kind.__name__} came with other fields than its own")
        try:
            return kind(**given)
        except Exception as error:  # its own checks, on values that never passed through its constructor
            raise WireError(f"{kind.__name__} refuses its values: {error}") from None

    def _blob(self, place: Any) -> memoryview:
        if type(place) is not int or not 0 <= place < len(self.blobs):
            raise WireError("a message names a tensor that it does not hold")
        return self.blobs[place]


def _count(shape: Any) -> int:
    """Check a shape and return how many values it holds."""
    if type(shape) is not list or len(shape) > MOST_AXES:
        raise WireError("a tensor has a shape that is none")
    count = extent = 1
    for size in shape:
        if type(size) is not int or not 0 <= size <= LARGEST_SIZE:
            raise WireError("a tensor has a shape that is none")
        count, extent = count * size, extent * max(size, 1)
    if extent > LARGEST_SIZE:
        raise WireError("a tensor has a shape that is too large")
    return count


def _integer(data: Any) -> int:
    if type(data) is not str or len(data) > LONGEST_INTEGER:
        raise WireError("an integer is too long")
    return int(data, 16)


_OPEN: dict[str, Callable[[_Opener, Any, int], Any]] = {
    "i": lambda opener, data, depth: _integer(data),
    "f": lambda opener, data, depth: float.fromhex(data),
    "c": lambda opener, data, depth: complex(float.fromhex(data[0]), float.fromhex(data[1])),
    "l": lambda opener, data, depth: opener._each(data, depth),
    "t": lambda opener, data, depth: tuple(opener._each(data, depth)),
    "z": lambda opener, data, depth: torch.Size([_natural(each) for each in data]),
    "S": lambda opener, data, depth: set(opener._each(data, depth)),
    "F": lambda opener, data, depth: frozenset(opener._each(data, depth)),
    "d": lambda opener, data, depth: dict(opener._pairs(data, depth)),
    "o": lambda opener, data, depth: OrderedDict(opener._pairs(data, depth)),
    "b": lambda opener, data, depth: bytes(opener._blob(data)),
    "r": lambda opener, data, depth: range(*[_whole(each) for each in data]),
    "x": lambda opener, data, depth: slice(*opener._each(data, depth)),
    "q": lambda opener, data, depth: Fraction(_integer(data[0]), _integer(data[1])),
    "e": lambda opener, data, depth: Ellipsis,
    "y": lambda opener, data, depth: DTYPES[data],
    "v": lambda opener, data, depth: torch.device(_device(data)),
    "T": lambda opener, data, depth: opener._tensor(data),
    "P": lambda opener, data, depth: _parameter(opener._tensor(data)),
    "n": lambda opener, data, depth: opener._numpy(data),
    "s": lambda opener, data, depth: opener._numpy(data)[()],
    "D": lambda opener, data, depth: opener._dataclass(data, depth),
}


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
