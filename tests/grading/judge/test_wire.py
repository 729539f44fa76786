"""Whatever bytes come over the wire, they are plain data of a known type, or they are refused by name."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections import OrderedDict
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frugal.core.digest import digest
from frugal.grading.errors import WireError
from frugal.grading.limits import Limits
from frugal.grading.plain import DTYPES, NUMPY
from frugal.grading.wire import Codec, Hooks, receive, send

CODEC = Codec(Limits(frame_bytes=1 << 20, frame_depth=12, frame_nodes=2000))

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 80), 1 << 80),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(),
)
keys = st.one_of(st.booleans(), st.integers(), st.text())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(keys, inner), st.sets(keys), st.frozensets(keys)
    ),
    max_leaves=30,
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(st.one_of(st.sampled_from("ictzSFdobrxqeyvTPnsDHMC"), st.text()), inner)
    ),
    max_leaves=20,
)


def message(head: object, *blobs: bytes) -> bytes:
    text = json.dumps(head).encode()
    made = struct.pack(f"!II{len(blobs)}Q", len(text), len(blobs), *map(len, blobs)) + text
    for blob in blobs:
        made += bytes(-len(made) % 16) + blob
    return made


@settings(deadline=None)
@given(values)
def test_plain_values_arrive_as_they_were(value) -> None:
    assert digest(CODEC.decode(CODEC.encode(value))) == digest(value)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_nothing_else_happens(raw: bytes) -> None:
    with contextlib.suppress(WireError):
        CODEC.decode(raw)


@settings(max_examples=300, deadline=None)
@given(json_values, st.lists(st.binary(max_size=16), max_size=3))
def test_any_json_is_data_or_is_refused(head, blobs: list[bytes]) -> None:
    try:
        found = CODEC.decode(message(head, *blobs))
    except WireError:
        return
    assert type(found).__module__ in ("builtins", "fractions", "collections", "torch", "torch.nn.parameter", "numpy")


@settings(deadline=None)
@given(values, st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_a_message_with_wrong_bytes_in_it_is_data_or_is_refused(value, place: int, bad: bytes) -> None:
    raw = bytearray(CODEC.encode([value, torch.ones(2, 3)]))
    raw[place % len(raw) : place % len(raw) + len(bad)] = bad
    with contextlib.suppress(WireError):
        CODEC.decode(raw)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=list(DTYPES))
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_tensors_of_every_dtype_keep_bits_shape_and_type(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = (torch.randn(shape) * 10).to(dtype)
    came = CODEC.decode(CODEC.encode(x))
    assert (type(came), came.dtype, came.shape) == (torch.Tensor, dtype, x.shape)
    assert torch.equal(came, x)


def test_strides_cross_so_that_view_fails_where_it_would_in_a_notebook() -> None:
    x = torch.arange(24.0).reshape(4, 6)
    for laid in (x.T, x[:, ::2], x.T[1:, ::3], torch.ones(1).expand(3, 4), x.unsqueeze(0).permute(2, 0, 1)):
        came = CODEC.decode(CODEC.encode(laid))
        assert torch.equal(came, laid)
        assert came.is_contiguous() == laid.is_contiguous()
        assert came.stride() == laid.stride() or laid.is_contiguous()


@pytest.mark.parametrize("name", NUMPY)
def test_arrays_and_numpy_scalars_keep_their_type(name: str) -> None:
    x = np.arange(6).reshape(2, 3).astype(name)
    came = CODEC.decode(CODEC.encode([x, x[1, 1]]))
    assert came[0].dtype == x.dtype
    assert type(came[1]) is type(x[1, 1])
    assert np.array_equal(came[0], x)


def test_the_kinds_that_answers_return_arrive_as_their_own_type() -> None:
    given = [
        torch.Size([2, 3]),
        OrderedDict(a=1),
        Fraction(1, 3),
        torch.int8,
        torch.device("cpu"),
        range(1, 9, 2),
        slice(1, None),
    ]
    came = CODEC.decode(CODEC.encode(given))
    assert [(type(each), each) for each in came] == [(type(each), each) for each in given]
    assert type(CODEC.decode(CODEC.encode(torch.nn.Parameter(torch.ones(2))))) is torch.nn.Parameter
    assert CODEC.decode(CODEC.encode(torch.ones(2, 3).max(dim=1)))[1].tolist() == [0, 0]


class Sub(torch.Tensor):
    pass


@pytest.mark.parametrize(
    "value",
    [
        object(),
        print,
        Sub([1.0]),
        torch.ones(2).to_sparse(),
        torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    ],
    ids=["object", "function", "subclass", "sparse", "quantized"],
)
def test_what_is_no_plain_data_is_refused_with_what_to_return(value) -> None:
    with pytest.raises(WireError, match=r"cannot pass on|return"):
        CODEC.encode(value)


def test_values_that_are_too_deep_too_wide_or_too_long_are_refused() -> None:
    deep: list = []
    for _ in range(50):
        deep = [deep]
    loop: list = []
    loop.append(loop)
    for value in (deep, loop, list(range(5000)), torch.ones(1 << 20), "x" * (1 << 21), 1 << 10_000):
        with pytest.raises(WireError):
            CODEC.encode(value)


@pytest.mark.parametrize(
    "raw",
    [
        message({"T": ["float32", [1 << 40], None, 0, None]}, b"\0" * 4),
        message({"T": ["float32", [1 << 62, 1 << 62], None, 0, None]}, b""),
        message({"T": ["float32", [0, 1 << 40, 1 << 40], None, 0, None]}, b""),
        message({"T": ["float32", [2], [-1], 0, None]}, b"\0" * 8),
        message({"T": ["float32", [2], [1 << 50], 0, None]}, b"\0" * 8),
        message({"T": ["float32", [2, 2], [1], 0, None]}, b"\0" * 8),
        message({"T": ["qint8", [2], None, 0, None]}, b"\0" * 2),
        message({"T": ["bool", [2], None, 0, None]}, b"\0\7"),
        message({"T": ["float32", [1], None, 3, None]}, b"\0" * 4),
        message({"T": ["float32", [True], None, 0, None]}, b"\0" * 4),
        message([{"T": ["float32", [1], None, 0, None]}, {"T": ["float32", [1], None, 0, None]}], b"\0" * 4),
        message([{"T": ["float32", [1], None, 0, None]}, {"b": 0}], b"\0" * 4),
        message({"c": ["1", 2.0]}),
        message({"n": ["object", [1], 0]}, b"\0" * 8),
        message({"D": ["os:system", []]}),
        message({"q": ["1", "0"]}),
        message({"i": "9" * 100_000}),
        message({"d": [[], 1]}),
        message({"d": ["a", 1, "b"]}),
        message({"r": [0, 1, 0]}),
        b"\0\0\0\2\0\0\0\0[[" + b"[" * 100_000,
        struct.pack("!II", 100_000, 0) + b"[" * 100_000,
        message(["x"])[:-1],
        message(["x"]) + b"more",
        struct.pack("!II", 1 << 31, 1 << 31),
    ],
)
def test_messages_made_by_hand_to_do_harm_are_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        CODEC.decode(raw)


@dataclass(frozen=True)
class Range:
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low exceeds high")


class Known(Hooks):
    def dataclass(self, name: str) -> type | None:
        return Range if name.endswith(":Range") else None


def test_a_known_dataclass_crosses_field_by_field_through_its_own_checks() -> None:
    codec = Codec(Limits(), Known())
    assert codec.decode(codec.encode(Range(1, 2))) == Range(1, 2)
    refused = Range(1, 2)
    object.__setattr__(refused, "low", 9)
    with pytest.raises(WireError, match="low exceeds high"):
        codec.decode(codec.encode(refused))
    for fields in ([["low", 1]], [["low", 1], ["high", 2], ["more", 3]]):
        with pytest.raises(WireError, match="other fields"):
            codec.decode(message({"D": ["x:Range", fields]}))


def test_a_frame_has_a_limit_and_a_deadline() -> None:
    ours, theirs = socket.socketpair()
    send(theirs, b"four")
    assert receive(ours, 4) == b"four"
    theirs.sendall(struct.pack("!Q", 1 << 63))
    with pytest.raises(WireError, match="too large"):
        receive(ours, 1 << 20)
    theirs.sendall(struct.pack("!Q", 100) + b"a byte at a time")
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        receive(ours, 1 << 20, began + 0.1)
    assert time.monotonic() - began < 1
    theirs.close()
    with pytest.raises(EOFError):
        receive(ours, 1 << 20)
