"""Digest: sixteen hex digits that name a value, so that two answers can be compared without keeping either.

A lab's check digests everything an answer returned. A catalogued wrong answer that returns the same has the same
digest, and so its name can be told to the student.

What counts as the same value:

    every NaN is one NaN, and -0.0 is 0.0       as a check compares them
    int8 3, int32 3, 3 and 3.0 all differ       the type is part of an answer
    a tensor and its non-contiguous twin agree  strides, device and requires_grad are not part of it
    an exception counts by its type alone       its words may hold addresses
    a network counts by its type and state_dict
    anything else counts by the name of its type
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import struct
import sys
from collections.abc import Iterable
from typing import Any

DEPTH = 40  # deeper than any answer; a list that holds itself ends here


def digest(value: Any, *, significant_bits: int | None = None) -> str:
    """Name a value by 16 hex digits, the same on every run and machine.

    Args:
        value: tensors, numbers, strings, None, tuples, lists, dicts, sets, dataclasses, exceptions, modules, nested.
        significant_bits: round floats to this many leading bits first, so that two ways of writing one formula, which
            differ in their last bits, share a digest. Integers are never rounded.

    >>> digest((1, "a")) == digest((1, "a")), digest(1) == digest(1.0)
    (True, False)
    >>> digest(1 / 3, significant_bits=12) == digest(0.333333, significant_bits=12)
    True
    """
    if significant_bits is not None and not 1 <= significant_bits <= 53:
        raise ValueError(f"significant_bits must be from 1 to 53, got {significant_bits}")
    return _hash(value, significant_bits, DEPTH).hex()[:16]


def _hash(value: Any, bits: int | None, depth: int) -> bytes:
    """Hash one node of the tree: its kind, then its parts, each of a known length."""
    kind, parts = _open(value, bits, depth - 1) if depth else ("too deep", [])
    node = hashlib.sha256()
    for part in (kind.encode(), *parts):
        node.update(struct.pack(">Q", len(part)) + part)
    return node.digest()


def _open(value: Any, bits: int | None, depth: int) -> tuple[str, Iterable[bytes]]:
    """Take a value apart: the word for its kind, and the bytes of its parts."""
    name = type(value).__name__

    def parts(values: Iterable[Any]) -> list[bytes]:
        return [_hash(each, bits, depth) for each in values]

    if value is None or isinstance(value, (bool, int)):
        return name, [str(value).encode()]
    if isinstance(value, float):
        return name, [_float_bytes(value, bits)]
    if isinstance(value, complex):
        return name, [_float_bytes(value.real, bits), _float_bytes(value.imag, bits)]
    if isinstance(value, str):
        return name, [value.encode("utf-8", "surrogatepass")]
    if isinstance(value, bytes):
        return name, [value]
    if isinstance(value, (tuple, list)):
        return name, parts(value)
    if isinstance(value, (set, frozenset)):
        return name, sorted(parts(value))
    if isinstance(value, dict):
        return name, sorted(parts(value.items()))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return name, parts((field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value))
    if isinstance(value, BaseException):
        return "exception", [name.encode()]
    return _open_torch(value, bits, depth) or (f"a {name}", [])


def _open_torch(value: Any, bits: int | None, depth: int) -> tuple[str, list[bytes]] | None:
    """Take apart what torch makes; where nobody imported torch, nothing is torch's."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if isinstance(value, (torch.dtype, torch.device)):
        return "torch", [str(value).encode()]
    if isinstance(value, torch.Tensor):
        words = [str(value.dtype).encode(), str(list(value.shape)).encode()]
        return type(value).__name__, [*words, _tensor_bytes(value, bits)]
    if isinstance(value, torch.nn.Module):
        return f"module {type(value).__name__}", [_hash(dict(value.state_dict()), bits, depth)]
    return None


def _float_bytes(value: float, bits: int | None) -> bytes:
    if math.isnan(value):
        value = math.nan
    elif bits is not None and math.isfinite(value):
        fraction, exponent = math.frexp(value)  # 0.5 <= |fraction| < 1
        value = math.ldexp(round(math.ldexp(fraction, bits)), exponent - bits)
    return struct.pack(">d", value + 0.0)  # -0.0 + 0.0 is 0.0


def _tensor_bytes(x: Any, bits: int | None) -> bytes:
    """Give the values of a tensor in row order, floats in their canonical form."""
    import torch

    x = x.detach()
    if x.layout != torch.strided or x.is_quantized or x.device.type == "meta":
        return str(x.layout).encode()
    x = x.resolve_conj().resolve_neg().cpu().as_subclass(torch.Tensor)
    if x.is_complex():
        x = torch.view_as_real(x)
    if x.is_floating_point():
        dtype = x.dtype
        x = x.double()  # exact for every narrower dtype
        if bits is not None:
            fraction, exponent = torch.frexp(x)
            rounded = torch.ldexp(torch.round(torch.ldexp(fraction, torch.tensor(bits))), exponent - bits)
            x = torch.where(torch.isfinite(x), rounded, x)
        x = torch.where(torch.isnan(x), torch.full_like(x, math.nan), x + 0.0)
        x = x if bits is not None else x.to(dtype)
    return x.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
