"""The wire between student and judge: plain data and tensors, nothing that could act.

    frame   8 bytes: length of the message
    message 4 bytes: length of the head, 4 bytes: number of blobs, 8 bytes for the length of each,
            the head, then the blobs, each at the next multiple of 16 bytes
    head    a JSON tree; what JSON lacks is {"tag": ...}, a tensor {"T": [dtype, shape, strides, blob, extra]}

No pickle. A value is built only from exact types (frugal.grading.opening); every message has a limit on its bytes, its
depth and its nodes, every read a deadline, and shapes, strides and lengths are checked before a tensor is made of them.

What else may cross (objects that stay where they are, functions passed as arguments) is decided by the two ``hooks``.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import torch

from frugal.grading.errors import WireError
from frugal.grading.limits import Limits
from frugal.grading.opening import Opener
from frugal.grading.packing import Packer
from frugal.grading.plain import padding

_TEXT = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_TREE = json.JSONDecoder().raw_decode
_ZEROS = [bytes(size) for size in range(16)]
_AT_ONCE = 1 << 20  # bytes of one read


class Hooks:
    """What a side does with values that are not plain; by default nothing else crosses.

    believes: the other side's dataclasses are not checked once more. Only a worker believes its judge.
    """

    believes = False

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
        packer = Packer(self.limits, self.hooks)
        head = _TEXT(packer.pack(value, 0)).encode()
        sizes = [blob.nbytes if hasattr(blob, "nbytes") else len(blob) for blob in packer.blobs]
        place = 8 + 8 * len(sizes) + len(head)
        parts: list[Any] = [struct.pack(f"!II{len(sizes)}Q", len(head), len(sizes), *sizes), head]
        for blob, size in zip(packer.blobs, sizes, strict=True):
            gap = padding(place)
            parts += [_ZEROS[gap], blob]
            place += gap + size
        if place > self.limits.frame_bytes:
            raise WireError(
                f"a value of {place:,} bytes is too large to pass on; {self.limits.frame_bytes:,} are allowed"
            )
        return b"".join(parts)

    def decode(self, message: bytes | bytearray) -> Any:
        """Read a message. The tensors in it lie in the memory of ``message`` where that can be written to."""
        message = message if isinstance(message, bytearray) else bytearray(message)
        try:
            head, places = _take_apart(message)
            tree, end = _TREE(head)
            if end != len(head):
                raise WireError("a message has something after its head")
            return Opener(self.limits, self.hooks, message, places).open(tree, 0)
        except WireError:
            raise
        except (
            *(ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError),
            *(RecursionError, RuntimeError, MemoryError, struct.error),
        ) as error:
            raise WireError(f"a message cannot be read: {type(error).__name__}") from None


def _take_apart(message: bytearray) -> tuple[str, list[tuple[int, int]]]:
    """Return the head, and where each blob begins and how long it is."""
    head_size, count = struct.unpack_from("!II", message)
    if 8 + 8 * count + head_size > len(message):
        raise WireError("a message is shorter than its head says")
    sizes = struct.unpack_from(f"!{count}Q", message, 8)
    place = 8 + 8 * count + head_size
    head, places = message[place - head_size : place].decode("ascii"), []
    for size in sizes:
        place += padding(place)
        if place + size > len(message):
            raise WireError("a message ends in the middle of a tensor")
        places.append((place, size))
        place += size
    if place != len(message):
        raise WireError("a message is longer than what it holds")
    return head, places


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
        elif sock.gettimeout() is not None:
            sock.settimeout(None)
        piece = sock.recv(min(_AT_ONCE, size - len(found)))
        if not piece:
            raise EOFError("the other side is gone")
        found += piece
    return found
